// SPDX-License-Identifier: Apache-2.0
// What is asked of cuBLASLt, by the values that it computes: the emulated one, or on a GPU the real one.
#include "cuda/library_products.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "tests/cuda/device_array.h"
#include "tests/cuda/installed_library.h"
#include "tests/cuda/launches.h"
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

cuda::Matrix half_matrix(const void* data, std::uint32_t outputs, std::uint32_t inputs, MatrixType type) {
  return {.data = data, .outputs = outputs, .inputs = inputs, .type = type};
}

}  // namespace

TEST_CASE("the library multiplies rows with matrices of either 16-bit type, and adds") {
  const test::InstalledLibrary installed;
  if (cuda::cublas_lt() == nullptr) {
    WARN("not run: no cuBLASLt on this machine");
    return;
  }
  const test::DeviceArray<std::byte> workspace(std::vector<std::byte>(cuda::kLibraryWorkspaceBytes));
  cuda::LibraryProducts products(*cuda::cublas_lt(), workspace.get());
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
    const std::vector<float> found = y.read();
    for (std::size_t row = 0; row < rows; ++row) {
      for (std::size_t column = 0; column < n; ++column) {
        double sum = adds ? 5.0 : 0.0, magnitude = sum;
        for (std::size_t i = 0; i < k; ++i) {
          const double term = static_cast<double>(half_of(type, x[row * k + i])) *
                              static_cast<double>(half_of(type, W[column * k + i]));
          sum += term;
          magnitude += std::abs(term);
        }
        // Products are exact; k + 1 sums lose less than a last bit each: tensor cores may cut off.
        REQUIRE(std::abs(static_cast<double>(found[row * n + column]) - sum) <=
                (k + 1) * 0x1p-23 * magnitude);
      }
    }
  }
}

#ifndef TTT_ON_DEVICE

TEST_CASE("what the library is not asked or does not do is left to others, and nothing is started") {
  const test::InstalledLibrary installed;
  const test::DeviceArray<std::byte> workspace(std::vector<std::byte>(cuda::kLibraryWorkspaceBytes));
  cuda::LibraryProducts products(*cuda::cublas_lt(), workspace.get());
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
  emulator::reset_counters();
  CHECK_FALSE(products.run(product(64, MatrixType::kF16, 32), nullptr));   // few rows
  CHECK_FALSE(products.run(product(64, MatrixType::kF16, 129), nullptr));  // more than was prepared
  CHECK_FALSE(products.run(product(64, MatrixType::kBF16, 64), nullptr));
  CHECK_FALSE(products.run(product(48, MatrixType::kF16, 64), nullptr));
  CHECK_FALSE(products.run(product(16, MatrixType::kF32, 64), nullptr));
  CHECK_FALSE(products.run(product(32, MatrixType::kF16, 33), nullptr));
  cuda::Product shifted = product(64, MatrixType::kF16, 64);
  shifted.x = x.get() + 64;
  CHECK_FALSE(products.run(shifted, nullptr));
  CHECK(emulator::counters().num_launches() == 0);
  CHECK(products.run(product(64, MatrixType::kF16, 33), nullptr));
  CHECK(products.run(product(64, MatrixType::kF16, 128), nullptr));
}

TEST_CASE("the library's version is told") {
  const test::InstalledLibrary installed;
  CHECK(cuda::version_of(*cuda::cublas_lt()) == "13.0.1");
}

#endif
