// SPDX-License-Identifier: Apache-2.0
// Matrices of block types on the device: their values, and products with them.
#include "cuda/kernels/product_quantised.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "cuda/kernels/elementwise.h"
#include "cuda/kernels/expand_weights.h"
#include "cuda/kernels/product_exact.h"
#include "cuda/kernels/product_few.h"
#include "tests/cuda/device_array.h"
#include "tests/cuda/quantised_matrix.h"
#include "tests/random.h"
#include "tests/same_bits.h"
#include "weights/block_types.h"
#include "weights/element_type.h"
#include "weights/float16.h"

using namespace ttt;
using cuda::MatrixType;
using test::BlockType;
using test::halves;
using test::kBlockTypes;
using test::QuantisedMatrix;

namespace {

std::vector<float> exact_product(const cuda::Matrix& matrix, const std::vector<float>& x) {
  const std::size_t rows = x.size() / matrix.inputs;
  const test::DeviceArray<float> device_x(x);
  const test::DeviceArray<float> y(std::vector<float>(rows * matrix.outputs));
  cuda::launch_product_exact({.weight = matrix,
                              .x = device_x.get(),
                              .y = y.get(),
                              .num_rows = static_cast<std::uint32_t>(rows),
                              .adds = false},
                             nullptr);
  return y.read();
}

std::vector<float> embedding(const cuda::Matrix& table, const std::vector<cuda::RowEntry>& rows) {
  const test::DeviceArray<cuda::RowEntry> device_rows(rows);
  const test::DeviceArray<float> x(std::vector<float>(rows.size() * table.inputs));
  cuda::launch_embed({.rows = device_rows.get(),
                      .table = table,
                      .x = x.get(),
                      .num_rows = static_cast<std::uint32_t>(rows.size())},
                     nullptr);
  return x.read();
}

// [rows, n] of x [rows, k] in fp16; `launch` gets the parameters but for W.
template <typename Launch>
std::vector<float> half_product(const QuantisedMatrix& matrix, const std::vector<std::uint16_t>& x,
                                Launch&& launch) {
  const std::size_t rows = x.size() / matrix.inputs;
  const test::DeviceArray<std::uint16_t> device_x(x);
  const test::DeviceArray<float> out(std::vector<float>(rows * matrix.outputs));
  launch(cuda::ProductMmaParams{.x = device_x.get(),
                                .out = out.get(),
                                .x_stride = matrix.inputs,
                                .out_stride = matrix.outputs,
                                .rows = static_cast<std::int32_t>(rows),
                                .n = static_cast<std::int32_t>(matrix.outputs),
                                .k = static_cast<std::int32_t>(matrix.inputs)});
  return out.read();
}

std::vector<std::uint16_t> random_halves(test::Random& random, std::size_t count) {
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(random.symmetric());
  return halves(values);
}

}  // namespace

TEST_CASE("a quantised matrix on the device has the values of its file, bit by bit") {
  test::Random random(1);
  for (const BlockType& type : kBlockTypes) {
    const QuantisedMatrix matrix(random, type, 37, 512);
    const test::DeviceArray<std::byte> planes(matrix.planes);
    const test::DeviceArray<float> values(matrix.values);
    const cuda::Matrix expanded = matrix.with(values.get(), MatrixType::kF32);
    std::vector<cuda::RowEntry> rows;
    for (const std::int32_t token : {0, 36, 5, 5, 17}) rows.push_back({token, 0});
    std::vector<float> wanted;
    for (const cuda::RowEntry& row : rows) {
      const auto begin = matrix.values.begin() + row.token * 512;
      wanted.insert(wanted.end(), begin, begin + 512);
    }
    CHECK(test::same_bits(embedding(matrix.with(planes.get()), rows), wanted));
    std::vector<float> x(3 * 512);
    for (float& value : x) value = static_cast<float>(random.symmetric());
    CHECK(test::same_bits(exact_product(matrix.with(planes.get()), x), exact_product(expanded, x)));
  }
}

TEST_CASE(
    "a quantised matrix is expanded to its values in fp16, bit by bit, and nothing behind it is written") {
  struct Shape {
    std::size_t outputs, inputs;
  };
  // A row; a share of a block and a piece; several shares.
  const Shape shape = GENERATE(Shape{1, 256}, Shape{37, 256}, Shape{37, 768});
  constexpr std::uint16_t kUntouched = 0xBEEF;
  test::Random random(8);
  for (const BlockType& type : kBlockTypes) {
    const QuantisedMatrix matrix(random, type, shape.outputs, shape.inputs);
    const test::DeviceArray<std::byte> planes(matrix.planes);
    const test::DeviceArray<std::uint16_t> expanded(
        std::vector<std::uint16_t>(matrix.values.size() + 8, kUntouched));
    cuda::launch_expand_weights(
        type.type, {.planes = planes.get(), .halves = expanded.get(), .count = matrix.values.size()},
        nullptr);
    std::vector<std::uint16_t> wanted = halves(matrix.values);
    wanted.insert(wanted.end(), 8, kUntouched);
    CHECK(test::same_bits(expanded.read(), wanted));
  }
}

TEST_CASE("a product with a quantised matrix is that with the matrix in fp16, bit by bit") {
  struct Shape {
    std::size_t rows, n, k;
  };
  const Shape shape = GENERATE(Shape{1, 1, 256}, Shape{16, 130, 512}, Shape{17, 9, 768}, Shape{65, 40, 256});
  test::Random random(2);
  for (const BlockType& type : kBlockTypes) {
    const QuantisedMatrix matrix(random, type, shape.n, shape.k);
    const test::DeviceArray<std::byte> planes(matrix.planes);
    const test::DeviceArray<std::uint16_t> rounded(halves(matrix.values));
    const std::vector<std::uint16_t> x = random_halves(random, shape.rows * shape.k);
    const auto y = half_product(matrix, x, [&](cuda::ProductMmaParams params) {
      params.W = planes.get();
      cuda::launch_product_quantised(type.type, params, nullptr);
    });
    const auto wanted = half_product(matrix, x, [&](cuda::ProductMmaParams params) {
      params.W = rounded.get();
      cuda::launch_product_mma(cuda::ProductType::kFp16, params, nullptr);
    });
    REQUIRE(test::same_bits(y, wanted));
    for (std::size_t row = 0; row < shape.rows; ++row) {
      for (std::size_t column = 0; column < shape.n; ++column) {
        double sum = 0.0, magnitude = 0.0, inputs = 0.0;
        for (std::size_t i = 0; i < shape.k; ++i) {
          const double of_x = static_cast<double>(weights::f16_to_float(x[row * shape.k + i]));
          const double term = of_x * static_cast<double>(matrix.values[column * shape.k + i]);
          sum += term;
          magnitude += std::abs(term);
          inputs += std::abs(of_x);
        }
        // Each weight is rounded once, by half a unit of 11 bits or of the smallest fp16; k sums are rounded.
        const double tolerance =
            (0x1p-11 + static_cast<double>(shape.k) * 0x1p-24) * magnitude * 1.001 + 0x1p-25 * inputs;
        REQUIRE(std::abs(static_cast<double>(y[row * shape.n + column]) - sum) <= tolerance);
      }
    }
  }
}

TEST_CASE("a product with a quantised matrix that has 32 inputs") {
  test::Random random(3);
  for (const BlockType& type : {kBlockTypes[0], kBlockTypes[1]}) {
    const QuantisedMatrix matrix(random, type, 5, 32);
    const test::DeviceArray<std::byte> planes(matrix.planes);
    const test::DeviceArray<std::uint16_t> rounded(halves(matrix.values));
    const std::vector<std::uint16_t> x = random_halves(random, 3 * 32);
    const auto y = half_product(matrix, x, [&](cuda::ProductMmaParams params) {
      params.W = planes.get();
      cuda::launch_product_quantised(type.type, params, nullptr);
    });
    const auto wanted = half_product(matrix, x, [&](cuda::ProductMmaParams params) {
      params.W = rounded.get();
      cuda::launch_product_mma(cuda::ProductType::kFp16, params, nullptr);
    });
    CHECK(test::same_bits(y, wanted));
  }
}

TEST_CASE("a product of few rows with a quantised matrix has the bits of a product of many") {
  struct Shape {
    std::size_t rows, n, k;
  };
#ifdef TTT_ON_DEVICE  // more tiles than a GPU has blocks, slices longer than a ring
  const Shape shape = GENERATE(Shape{1, 9'000, 4'096}, Shape{9, 5'000, 2'304}, Shape{32, 20, 1'536});
#else
  const Shape shape = GENERATE(Shape{1, 1, 256}, Shape{1, 33, 2'048}, Shape{8, 40, 768}, Shape{9, 17, 512},
                               Shape{32, 20, 1'536});
#endif
  test::Random random(6);
  for (const BlockType& type : kBlockTypes) {
    INFO(static_cast<int>(type.type) << ": " << shape.rows << " rows, " << shape.n << " x " << shape.k);
    const QuantisedMatrix matrix(random, type, shape.n, shape.k);
    const test::DeviceArray<std::byte> planes(matrix.planes);
    const std::vector<std::uint16_t> x = random_halves(random, shape.rows * shape.k);
    const auto few = half_product(matrix, x, [&](const cuda::ProductMmaParams& params) {
      cuda::ProductFewParams few_params;
      few_params.x = params.x;
      few_params.rows = params.rows;
      few_params.k = params.k;
      few_params.num_matrices = 1;
      few_params.matrices[0] = {
          .W = planes.get(), .out = {.data = params.out, .type = cuda::OperandType::kF32}, .n = params.n};
      cuda::launch_product_few(type.type, few_params, nullptr);
    });
    const auto many = half_product(matrix, x, [&](cuda::ProductMmaParams params) {
      params.W = planes.get();
      cuda::launch_product_quantised(type.type, params, nullptr);
    });
    REQUIRE(test::same_bits(few, many));
  }
}

TEST_CASE("a gated product with quantised matrices takes its rows from both") {
  constexpr std::size_t kInputs = 512, kOutputs = 13, kRows = 3;
  test::Random random(7);
  for (const BlockType& type : kBlockTypes) {
    const QuantisedMatrix gate(random, type, kOutputs, kInputs), up(random, type, kOutputs, kInputs);
    const test::DeviceArray<std::byte> gate_planes(gate.planes), up_planes(up.planes);
    const std::vector<std::uint16_t> x = random_halves(random, kRows * kInputs);
    const auto product = [&](const QuantisedMatrix& matrix, const void* planes, const void* others) {
      return half_product(matrix, x, [&](const cuda::ProductMmaParams& params) {
        cuda::ProductFewParams few_params;
        few_params.x = params.x;
        few_params.rows = params.rows;
        few_params.k = params.k;
        few_params.num_matrices = 1;
        few_params.matrices[0] = {.W = planes,
                                  .up = others,
                                  .out = {.data = params.out, .type = cuda::OperandType::kF32},
                                  .n = params.n};
        cuda::launch_product_few(type.type, few_params, nullptr);
      });
    };
    const auto gated = product(gate, gate_planes.get(), up_planes.get());
    const auto gates = product(gate, gate_planes.get(), nullptr), ups = product(up, up_planes.get(), nullptr);
    for (std::size_t i = 0; i < gated.size(); ++i) {
      const float silu = gates[i] * (1.0F / (1.0F + std::exp(-gates[i])));
      REQUIRE(gated[i] == Approx(silu * ups[i]).epsilon(1e-5).margin(1e-6));
    }
  }
}

// Why tiles of quantised weights are fp16: bf16 has three bits less.
TEST_CASE("a quantised matrix loses far less in fp16 than in bf16") {
  test::Random random(5);
  for (const BlockType& type : kBlockTypes) {
    std::vector<float> originals(64 * 256), values(64 * 256);
    for (float& value : originals) value = static_cast<float>(0.02 * random.symmetric());
    std::vector<std::byte> blocks(cuda::matrix_bytes(type.type, originals.size()));
    weights::from_floats(type.dtype, originals, blocks);
    weights::to_floats(type.dtype, blocks, values);
    double of_half = 0.0, of_bf16 = 0.0;
    for (const float value : values) {
      const double half = static_cast<double>(weights::f16_to_float(weights::float_to_f16(value)) - value);
      const double bf16 = static_cast<double>(weights::bf16_to_float(weights::float_to_bf16(value)) - value);
      of_half += half * half;
      of_bf16 += bf16 * bf16;
    }
    CHECK(std::sqrt(of_half / of_bf16) < 0.2);
  }
}
