// SPDX-License-Identifier: Apache-2.0
#include "weights/block_types.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

#include "weights/element_type.h"

namespace ttt::weights {
namespace {

template <typename T>
std::vector<T> from_hex(const std::string& text) {
  std::vector<unsigned char> bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    bytes.push_back(static_cast<unsigned char>(std::stoi(text.substr(i, 2), nullptr, 16)));
  }
  std::vector<T> values(bytes.size() / sizeof(T));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
  return values;
}

// Infinity times 0 is a NaN whose sign differs between processors.
bool same_bits(float a, float b) {
  return std::memcmp(&a, &b, sizeof(float)) == 0 || (std::isnan(a) && std::isnan(b));
}

std::vector<float> ramp(float step) {
  std::vector<float> values(kBlockWeights);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = step * (static_cast<float>(i) - 11.0F);
  return values;
}

}  // namespace

TEST_CASE("block types: bytes and values are those of the Python package gguf, bit by bit") {
  std::ifstream file(TTT_TEST_DATA "/weights/block_cases.txt");
  std::string values_hex, name, block_hex, back_hex;
  int cases = 0;
  for (; file >> values_hex >> name >> block_hex >> back_hex; ++cases) {
    const DType dtype = dtype_from_name(name).value();
    const auto values = from_hex<float>(values_hex);
    const auto wanted = from_hex<std::byte>(block_hex);
    const auto wanted_back = from_hex<float>(back_hex);
    INFO("case " << cases << ", " << name);
    std::vector<std::byte> buffer(wanted.size() + 1);
    const auto block = std::span(buffer).subspan(1);  // at an odd address
    from_floats(dtype, values, block);
    CHECK(std::memcmp(block.data(), wanted.data(), wanted.size()) == 0);
    std::vector<float> back(kBlockWeights);
    to_floats(dtype, block, back);
    for (std::size_t i = 0; i < kBlockWeights; ++i) REQUIRE(same_bits(back[i], wanted_back[i]));
  }
  CHECK(cases == 44);
}

TEST_CASE("block types: several blocks follow each other, each with its own scale") {
  for (const DType dtype : {DType::kQ8_0, DType::kQ4_0}) {
    std::vector<float> values = ramp(1.0F);
    const std::vector<float> small = ramp(0.001F);
    values.insert(values.end(), small.begin(), small.end());
    std::vector<std::byte> bytes(2 * dtype_info(dtype).block_bytes);
    from_floats(dtype, values, bytes);
    std::vector<float> back(values.size());
    to_floats(dtype, bytes, back);
    const float step = dtype == DType::kQ8_0 ? 1.0F / 254.0F : 1.0F / 8.0F;  // of the largest magnitude
    for (std::size_t i = 0; i < back.size(); ++i) {
      CHECK(std::abs(back[i] - values[i]) <= 20.1F * step * (i < kBlockWeights ? 1.0F : 0.001F));
    }
  }
}

TEST_CASE("block types: magnitudes too small for a reciprocal become zeros") {
  for (const DType dtype : {DType::kQ8_0, DType::kQ4_0}) {
    const std::vector<float> values = ramp(std::numeric_limits<float>::denorm_min());
    std::vector<std::byte> bytes(dtype_info(dtype).block_bytes);
    from_floats(dtype, values, bytes);
    std::vector<float> back(kBlockWeights, 1.0F);
    to_floats(dtype, bytes, back);
    for (const float value : back) CHECK(value == 0.0F);
  }
}

TEST_CASE("block types: the extremes that a foreign file may hold are read") {
  BlockQ8_0 block{.scale = 0x3C00, .quants = {-128, 127}};
  std::vector<float> back(kBlockWeights);
  dequantise(DType::kQ8_0, std::as_bytes(std::span(&block, 1)), back);
  CHECK(back[0] == -128.0F);
  CHECK(back[1] == 127.0F);
  BlockQ4_0 nibbles{.scale = 0x3C00, .nibbles = {0xF0, 0x08}};
  dequantise(DType::kQ4_0, std::as_bytes(std::span(&nibbles, 1)), back);
  CHECK(back[0] == -8.0F);
  CHECK(back[16] == 7.0F);
  CHECK(back[1] == 0.0F);
  CHECK(back[17] == -8.0F);
}

}  // namespace ttt::weights
