// SPDX-License-Identifier: Apache-2.0
#include "weights/tensor.h"

#include <catch2/catch.hpp>

namespace ttt::weights {
namespace {

TEST_CASE("tensor: block types have the sizes that ggml gives them") {
  const auto is = [](DType dtype, std::string_view name, std::uint32_t elements, std::uint32_t bytes) {
    const DTypeInfo& info = dtype_info(dtype);
    return info.name == name && info.block_elements == elements && info.block_bytes == bytes;
  };
  CHECK(is(DType::kF64, "F64", 1, 8));
  CHECK(is(DType::kF32, "F32", 1, 4));
  CHECK(is(DType::kF16, "F16", 1, 2));
  CHECK(is(DType::kBF16, "BF16", 1, 2));
  CHECK(is(DType::kI64, "I64", 1, 8));
  CHECK(is(DType::kI32, "I32", 1, 4));
  CHECK(is(DType::kI16, "I16", 1, 2));
  CHECK(is(DType::kI8, "I8", 1, 1));
  CHECK(is(DType::kU8, "U8", 1, 1));
  CHECK(is(DType::kBool, "BOOL", 1, 1));
  CHECK(is(DType::kQ4_0, "Q4_0", 32, 18));
  CHECK(is(DType::kQ4_1, "Q4_1", 32, 20));
  CHECK(is(DType::kQ5_0, "Q5_0", 32, 22));
  CHECK(is(DType::kQ5_1, "Q5_1", 32, 24));
  CHECK(is(DType::kQ8_0, "Q8_0", 32, 34));
  CHECK(is(DType::kQ8_1, "Q8_1", 32, 36));
  CHECK(is(DType::kQ2_K, "Q2_K", 256, 84));
  CHECK(is(DType::kQ3_K, "Q3_K", 256, 110));
  CHECK(is(DType::kQ4_K, "Q4_K", 256, 144));
  CHECK(is(DType::kQ5_K, "Q5_K", 256, 176));
  CHECK(is(DType::kQ6_K, "Q6_K", 256, 210));
  CHECK(is(DType::kQ8_K, "Q8_K", 256, 292));
}

TEST_CASE("tensor: every type is found by its name in any letter case") {
  for (int i = 0; i <= static_cast<int>(DType::kQ8_K); ++i) {
    const auto dtype = static_cast<DType>(i);
    CHECK(dtype_from_name(dtype_info(dtype).name) == dtype);
  }
  CHECK(dtype_from_name("q4_k") == DType::kQ4_K);
  CHECK(dtype_from_name("Bf16") == DType::kBF16);
  CHECK_FALSE(dtype_from_name(""));
  CHECK_FALSE(dtype_from_name("F3"));
  CHECK_FALSE(dtype_from_name("F32 "));
}

TEST_CASE("tensor: a shape prints as a list") {
  CHECK(to_string(Shape{768, 2048}) == "[768, 2048]");
  CHECK(to_string(Shape{}) == "[]");
}

TEST_CASE("tensor: the bytes of a tensor follow from type and shape") {
  CHECK(num_elements({}) == 1U);
  CHECK(tensor_bytes(DType::kF32, {}) == 4U);
  CHECK(tensor_bytes(DType::kF32, {2, 3}) == 24U);
  CHECK(tensor_bytes(DType::kBF16, {4, 0, 7}) == 0U);
  CHECK(tensor_bytes(DType::kQ8_0, {5, 64}) == 5U * 2 * 34);
  CHECK(tensor_bytes(DType::kQ6_K, {256}) == 210U);
}

TEST_CASE("tensor: a block type needs whole blocks in every row") {
  CHECK_FALSE(tensor_bytes(DType::kQ8_0, {32, 1}));  // 32 elements, but not in one row
  CHECK_FALSE(tensor_bytes(DType::kQ8_0, {2, 33}));
  CHECK_FALSE(tensor_bytes(DType::kQ4_K, {2, 128}));
  CHECK_FALSE(tensor_bytes(DType::kQ8_0, {}));
}

TEST_CASE("tensor: a size that does not fit 64 bits is none") {
  CHECK_FALSE(num_elements({1ULL << 32, 1ULL << 32}));
  CHECK_FALSE(tensor_bytes(DType::kI8, {1ULL << 32, 1ULL << 32}));
  CHECK_FALSE(tensor_bytes(DType::kF32, {1ULL << 62}));  // elements fit, bytes do not
  CHECK(tensor_bytes(DType::kF32, {1ULL << 61}) == 1ULL << 63);
}

}  // namespace
}  // namespace ttt::weights
