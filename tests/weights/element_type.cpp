// SPDX-License-Identifier: Apache-2.0
#include "weights/element_type.h"

#include <catch2/catch.hpp>
#include <stdexcept>

#include "weights/float16.h"

namespace ttt::weights {
namespace {

TEST_CASE("element type: floats go to each type and back, from bytes at any alignment") {
  const std::vector<float> values = {0.0F, -1.5F, 32512.0F, 0x1p-14F, 3.0F};  // exact in all three types
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    REQUIRE(is_weight_type(dtype));
    const std::size_t size = values.size() * dtype_info(dtype).block_bytes;
    std::vector<std::byte> buffer(size + 1);
    const std::span<std::byte> unaligned = std::span(buffer).subspan(1);
    std::vector<float> back(values.size());
    from_floats(dtype, values, unaligned);
    to_floats(dtype, unaligned, back);
    CHECK(back == values);
  }
}

TEST_CASE("element type: other types and wrong sizes are the caller's mistake") {
  std::vector<float> values(2);
  std::vector<std::byte> bytes(8);
  CHECK_FALSE(is_weight_type(DType::kF64));
  CHECK_FALSE(is_weight_type(DType::kQ8_1));
  CHECK_THROWS_AS(to_floats(DType::kI32, bytes, values), std::logic_error);
  CHECK_THROWS_AS(to_floats(DType::kF16, bytes, values), std::logic_error);
  CHECK_THROWS_AS(from_floats(DType::kF32, values, std::span(bytes).first(7)), std::logic_error);
  std::vector<std::byte> block(34);
  CHECK_THROWS_AS(to_floats(DType::kQ8_0, block, values), std::logic_error);  // not a whole block
}

}  // namespace
}  // namespace ttt::weights
