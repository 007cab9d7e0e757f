// SPDX-License-Identifier: Apache-2.0
// What --deterministic promises of products: a row has the same bits alone and among 1 to 600 rows, whichever
// kernel multiplies so many.
#include <catch2/catch.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "cuda/products.h"
#include "tests/cuda/device_array.h"
#include "tests/cuda/quantised_matrix.h"
#include "tests/random.h"
#include "tests/same_bits.h"
#include "tests/sanitized.h"
#include "weights/float16.h"

using namespace ttt;
using cuda::MatrixType;
using cuda::OperandType;

namespace {

constexpr std::size_t kMostRows = 600;
constexpr float kBeforeRows = 7.0F;  // in an output that nobody writes
// More columns than a tile has on a GPU; slices of k (ProductOrder) of several steps there, in the emulator
// of one.
#ifdef TTT_ON_DEVICE
constexpr std::size_t kRowOutputs = 136, kHalfInputs = 1'032, kBlockInputs = 768;
#else
constexpr std::size_t kRowOutputs = 9, kHalfInputs = 136, kBlockInputs = 256;
#endif

// A random matrix [kRowOutputs, k] and kMostRows rows that it multiplies, on the device.
class RowProducts {
 public:
  RowProducts(test::Random& random, MatrixType type) {
    matrix_.type = type;
    matrix_.operands = type == MatrixType::kBF16 ? OperandType::kBF16 : OperandType::kF16;
    matrix_.outputs = kRowOutputs;
    matrix_.inputs = static_cast<std::uint32_t>(cuda::is_block_type(type) ? kBlockInputs : kHalfInputs);
    for (const test::BlockType& block : test::kBlockTypes) {
      if (block.type != type) continue;
      planes_ = std::make_unique<test::DeviceArray<std::byte>>(
          test::QuantisedMatrix(random, block, kRowOutputs, kBlockInputs).planes);
      matrix_.data = planes_->get();
    }
    if (planes_ == nullptr) {
      halves_ = std::make_unique<test::DeviceArray<std::uint16_t>>(operands(random, kRowOutputs));
      matrix_.data = halves_->get();
    }
    x_ = std::make_unique<test::DeviceArray<std::uint16_t>>(operands(random, kMostRows));
  }

  // [count, kRowOutputs] of rows [first, first + count), and the row behind them, which is not to be written.
  std::vector<float> of_rows(std::size_t first, std::size_t count) const {
    const test::DeviceArray<float> y(std::vector<float>((count + 1) * kRowOutputs, kBeforeRows));
    cuda::Products(nullptr, nullptr)
        .run({.weight = matrix_,
              .x = x_->get() + first * matrix_.inputs,
              .y = y.get(),
              .num_rows = static_cast<std::uint32_t>(count)});
    return y.read();
  }

 private:
  std::vector<std::uint16_t> operands(test::Random& random, std::size_t rows) const {
    std::vector<std::uint16_t> bits(rows * matrix_.inputs);
    for (std::uint16_t& half : bits) {
      const auto x = static_cast<float>(random.symmetric());
      half = matrix_.operands == OperandType::kF16 ? weights::float_to_f16(x) : weights::float_to_bf16(x);
    }
    return bits;
  }

  cuda::Matrix matrix_;
  std::unique_ptr<test::DeviceArray<std::byte>> planes_;
  std::unique_ptr<test::DeviceArray<std::uint16_t>> halves_, x_;
};

// On a GPU all. In the emulator all of 16-bit weights; of quantised ones those to 200, and from there on
// those beside the edges of tiles, of 64 rows.
#ifdef TTT_ON_DEVICE
constexpr bool is_row_count_checked(MatrixType, std::size_t) { return true; }
#else
bool is_row_count_checked(MatrixType type, std::size_t count) {
  const bool beside_edge = (count + 1) % 64 <= 2;
  if (test::kSanitized) return count <= 130 && (beside_edge || (count <= 40 && (count + 1) % 8 <= 2));
  return !cuda::is_block_type(type) || count <= 200 || beside_edge || count == kMostRows;
}
#endif

void check_rows(MatrixType type) {
  test::Random random(11);
  const RowProducts products(random, type);
  std::vector<float> alone;  // [kMostRows, kRowOutputs]
  for (std::size_t row = 0; row < kMostRows; ++row) {
    const std::vector<float> one = products.of_rows(row, 1);
    alone.insert(alone.end(), one.begin(), one.end() - kRowOutputs);
  }
  for (std::size_t count = 1; count <= kMostRows; ++count) {
    if (!is_row_count_checked(type, count)) continue;
    INFO("type " << static_cast<int>(type) << ", " << count << " rows");
    const std::size_t first = random.below(kMostRows - count + 1);
    const std::vector<float> some = products.of_rows(first, count);
    REQUIRE(test::same_bits(std::span(some).first(count * kRowOutputs),
                            std::span(alone).subspan(first * kRowOutputs, count * kRowOutputs)));
    REQUIRE(test::same_bits(std::span(some).last(kRowOutputs), std::vector(kRowOutputs, kBeforeRows)));
  }
}

}  // namespace

TEST_CASE("a row's product has the same bits alone and among any number of rows to 600: 16-bit weights") {
  for (const MatrixType type : {MatrixType::kBF16, MatrixType::kF16}) check_rows(type);
}

TEST_CASE("a row's product has the same bits alone and among any number of rows to 600: quantised weights",
          "[slow]") {
  for (const test::BlockType& block : test::kBlockTypes) check_rows(block.type);
}
