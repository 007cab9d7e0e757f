// SPDX-License-Identifier: Apache-2.0
// What is asked of cuBLASLt, by the values that it computes: the emulated one, or on a GPU the real one.
#include "cuda/library_products.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <optional>
#include <vector>

#include "tests/cuda/device_array.h"
#include "tests/cuda/installed_library.h"
#include "tests/cuda/launches.h"
#include "tests/cuda/quantised_matrix.h"
#include "tests/random.h"
#include "weights/float16.h"

using namespace ttt;
using cuda::MatrixType;

namespace {

float half_of(MatrixType type, std::uint16_t bits) {
  return type == MatrixType::kF16 ? weights::f16_to_float(bits) : weights::bf16_to_float(bits);
}

std::vector<std::uint16_t> random_operands(test::Random& random, MatrixType type, std::size_t count) {
  std::vector<std::uint16_t> bits(count);
  for (std::uint16_t& each : bits) {
    const auto value = static_cast<float>(random.symmetric());
    each = type == MatrixType::kF16 ? weights::float_to_f16(value) : weights::float_to_bf16(value);
  }
  return bits;
}

// y = x W^T, or added to `before` where `adds`, in double; W and x in the values that are multiplied.
// Products of two 16-bit numbers are exact in fp32; k + 1 sums lose less than a last bit each: tensor cores
// may cut off.
void check_product(const std::vector<float>& y, const std::vector<float>& x, const std::vector<float>& W,
                   std::size_t k, std::optional<float> before) {
  const std::size_t n = W.size() / k, rows = x.size() / k;
  for (std::size_t row = 0; row < rows; ++row) {
    for (std::size_t column = 0; column < n; ++column) {
      double sum = static_cast<double>(before.value_or(0.0F)), magnitude = std::abs(sum);
      for (std::size_t i = 0; i < k; ++i) {
        const double term = static_cast<double>(x[row * k + i]) * static_cast<double>(W[column * k + i]);
        sum += term;
        magnitude += std::abs(term);
      }
      REQUIRE(std::abs(static_cast<double>(y[row * n + column]) - sum) <=
              static_cast<double>(k + 1) * 0x1p-23 * magnitude);
    }
  }
}

std::vector<float> values_of(MatrixType type, const std::vector<std::uint16_t>& halves) {
  std::vector<float> values;
  for (const std::uint16_t bits : halves) values.push_back(half_of(type, bits));
  return values;
}

// What the products need, `num_expanded` weights of room among it.
class LibraryRoom {
 public:
  explicit LibraryRoom(std::size_t num_expanded = 0)
      : workspace_(std::vector<std::byte>(cuda::kLibraryWorkspaceBytes)),
        expanded_(std::vector<std::uint16_t>(num_expanded)),
        num_expanded_(num_expanded) {}

  cuda::LibraryMemory memory() const {
    return {.workspace = workspace_.get(), .expanded = expanded_.get(), .num_expanded = num_expanded_};
  }

 private:
  test::DeviceArray<std::byte> workspace_;
  test::DeviceArray<std::uint16_t> expanded_;
  std::size_t num_expanded_;
};

cuda::Matrix half_matrix(const void* data, std::uint32_t outputs, std::uint32_t inputs, MatrixType type) {
  return {.data = data, .outputs = outputs, .inputs = inputs, .type = type};
}

}  // namespace

TEST_CASE("the library multiplies rows with matrices of either 16-bit type, and adds") {
  const test::InstalledLibrary installed;
  if (!installed.is_there()) return;
  const LibraryRoom room;
  cuda::LibraryProducts products(*cuda::cublas_lt(), room.memory());
  const MatrixType type = GENERATE(MatrixType::kF16, MatrixType::kBF16);
  const bool adds = GENERATE(false, true);
  const std::uint32_t n = 24, k = 40;
  test::Random random(1);
  const auto W = random_operands(random, type, n * k);
  const test::DeviceArray<std::uint16_t> device_W(W);
  products.prepare(half_matrix(device_W.get(), n, k, type), 200);
  for (const std::uint32_t rows : {33U, 64U, 65U, 200U}) {
    const auto x = random_operands(random, type, rows * k);
    const test::DeviceArray<std::uint16_t> device_x(x);
    const test::DeviceArray<float> y(std::vector<float>(rows * n, 5.0F));
    const test::Launches launches;
    REQUIRE(products.run({.weight = half_matrix(device_W.get(), n, k, type),
                          .x = device_x.get(),
                          .y = y.get(),
                          .num_rows = rows,
                          .adds = adds},
                         nullptr));
    launches.check({{"cublas_lt_multiply", 1}});
    check_product(y.read(), values_of(type, x), values_of(type, W), k,
                  adds ? std::optional(5.0F) : std::nullopt);
  }
}

TEST_CASE("the library multiplies many rows with quantised matrices, one after the other in the same room") {
  const test::InstalledLibrary installed;
  if (!installed.is_there()) return;
  const std::uint32_t n = 24, k = 256;
  const LibraryRoom room(n * k);
  cuda::LibraryProducts products(*cuda::cublas_lt(), room.memory());
  test::Random random(2);
  for (const test::BlockType& type : test::kBlockTypes) {
    const bool adds = type.type == MatrixType::kQ4_K;
    const test::QuantisedMatrix matrix(random, type, n, k);
    const test::DeviceArray<std::byte> planes(matrix.planes);
    products.prepare(matrix.with(planes.get()), 200);
    for (const std::uint32_t rows : {128U, 200U}) {
      const auto x = random_operands(random, MatrixType::kF16, rows * k);
      const test::DeviceArray<std::uint16_t> device_x(x);
      const test::DeviceArray<float> y(std::vector<float>(rows * n, 5.0F));
      const test::Launches launches;
      REQUIRE(products.run({.weight = matrix.with(planes.get()),
                            .x = device_x.get(),
                            .y = y.get(),
                            .num_rows = rows,
                            .adds = adds},
                           nullptr));
      launches.check({{"expand_weights", 1}, {"cublas_lt_multiply", 1}});
      check_product(y.read(), values_of(MatrixType::kF16, x),
                    values_of(MatrixType::kF16, test::halves(matrix.values)), k,
                    adds ? std::optional(5.0F) : std::nullopt);
    }
  }
}

#ifndef TTT_ON_DEVICE

TEST_CASE("what the library is not asked or does not do is left to others, and nothing is started") {
  const test::InstalledLibrary installed;
  const LibraryRoom room;
  cuda::LibraryProducts products(*cuda::cublas_lt(), room.memory());
  const test::DeviceArray<std::uint16_t> W(std::vector<std::uint16_t>(64 * 64));
  const test::DeviceArray<std::uint16_t> x(std::vector<std::uint16_t>(300 * 64));
  const test::DeviceArray<float> y(std::vector<float>(300 * 64));
  const auto product = [&](std::uint32_t outputs, MatrixType type, std::uint32_t rows) {
    return cuda::Product{
        .weight = half_matrix(W.get(), outputs, 64, type), .x = x.get(), .y = y.get(), .num_rows = rows};
  };
  const auto prepare = [&](std::uint32_t outputs, MatrixType type, std::uint32_t max_rows) {
    products.prepare(half_matrix(W.get(), outputs, 64, type), max_rows);
  };
  emulator::refuse_outputs(48);
  prepare(64, MatrixType::kF16, 100);
  prepare(48, MatrixType::kF16, 100);
  prepare(16, MatrixType::kF32, 100);
  prepare(32, MatrixType::kF16, 32);
  test::reset_runtime_calls();
  CHECK_FALSE(products.run(product(64, MatrixType::kF16, 32), nullptr));   // few rows
  CHECK_FALSE(products.run(product(64, MatrixType::kF16, 129), nullptr));  // more than was prepared
  CHECK_FALSE(products.run(product(64, MatrixType::kBF16, 64), nullptr));
  CHECK_FALSE(products.run(product(48, MatrixType::kF16, 64), nullptr));
  CHECK_FALSE(products.run(product(16, MatrixType::kF32, 64), nullptr));
  CHECK_FALSE(products.run(product(32, MatrixType::kF16, 33), nullptr));
  cuda::Product shifted = product(64, MatrixType::kF16, 64);
  shifted.x = x.get() + 64;
  CHECK_FALSE(products.run(shifted, nullptr));
  CHECK(test::runtime_calls().num_launches() == 0);
  CHECK(products.run(product(64, MatrixType::kF16, 33), nullptr));
  CHECK(products.run(product(64, MatrixType::kF16, 128), nullptr));
}

TEST_CASE("a quantised matrix of few rows, or without room to expand it, is left to others unexpanded") {
  const test::InstalledLibrary installed;
  const LibraryRoom room(32 * 256);
  cuda::LibraryProducts products(*cuda::cublas_lt(), room.memory());
  test::Random random(3);
  const test::QuantisedMatrix fits(random, test::kBlockTypes[0], 32, 256);
  const test::QuantisedMatrix large(random, test::kBlockTypes[0], 33, 256);
  const test::DeviceArray<std::byte> planes(fits.planes), large_planes(large.planes);
  const test::DeviceArray<std::uint16_t> halves(std::vector<std::uint16_t>(33 * 256));
  const test::DeviceArray<std::uint16_t> x(std::vector<std::uint16_t>(128 * 256));
  const test::DeviceArray<float> y(std::vector<float>(128 * 33));
  const auto product = [&](const cuda::Matrix& weight, std::uint32_t rows) {
    return cuda::Product{.weight = weight, .x = x.get(), .y = y.get(), .num_rows = rows};
  };
  const cuda::Matrix matrix = fits.with(planes.get()), too_large = large.with(large_planes.get());
  products.prepare(matrix, 127);
  test::reset_runtime_calls();
  CHECK_FALSE(products.run(product(matrix, 128), nullptr));  // not prepared: never so many rows
  products.prepare(matrix, 128);
  products.prepare(too_large, 128);
  products.prepare(half_matrix(halves.get(), 33, 256, MatrixType::kF16), 128);  // of the same shape
  CHECK_FALSE(products.run(product(matrix, 127), nullptr));
  CHECK_FALSE(products.run(product(too_large, 128), nullptr));
  CHECK(test::runtime_calls().num_launches() == 0);
  CHECK(products.run(product(matrix, 128), nullptr));
  CHECK(test::runtime_calls().num_launches() == 2);
}

TEST_CASE("the library's version is told") {
  const test::InstalledLibrary installed;
  CHECK(cuda::version_of(*cuda::cublas_lt()) == "13.0.1");
}

#endif
