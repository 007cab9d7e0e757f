// SPDX-License-Identifier: Apache-2.0
#include "weights/block_types.h"

#include <algorithm>
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
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
  return values;
}

// Infinity times 0 is a NaN whose sign differs between processors.
bool same_bits(float a, float b) {
  return std::memcmp(&a, &b, sizeof(float)) == 0 || (std::isnan(a) && std::isnan(b));
}

// A block of a type.
std::vector<float> ramp(DType dtype, float step) {
  std::vector<float> values(dtype_info(dtype).block_elements);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = step * (static_cast<float>(i % 32) - 11.0F);
  return values;
}

constexpr DType kAllBlockTypes[] = {DType::kQ8_0, DType::kQ4_0, DType::kQ4_K, DType::kQ6_K};

}  // namespace

TEST_CASE("block types: bytes and values are those of the Python package gguf, bit by bit") {
  std::ifstream file(TTT_TEST_DATA "/weights/block_cases.txt");
  std::string values_hex, name, block_hex, back_hex;
  int cases = 0;
  for (; file >> values_hex >> name >> block_hex >> back_hex; ++cases) {
    const DType dtype = dtype_from_name(name).value();
    const auto values = from_hex<float>(values_hex == "-" ? "" : values_hex);
    const auto wanted = from_hex<std::byte>(block_hex);
    const auto wanted_back = from_hex<float>(back_hex);
    INFO("case " << cases << ", " << name);
    std::vector<std::byte> buffer(wanted.size() + 1);
    const auto block = std::span(buffer).subspan(1);  // at an odd address
    std::ranges::copy(wanted, block.begin());
    std::vector<float> back(dtype_info(dtype).block_elements);
    to_floats(dtype, block, back);
    for (std::size_t i = 0; i < back.size(); ++i) REQUIRE(same_bits(back[i], wanted_back[i]));
    if (values_hex == "-") continue;  // a type that the package only reads
    std::ranges::fill(block, std::byte{0xAA});
    from_floats(dtype, values, block);
    CHECK(std::memcmp(block.data(), wanted.data(), wanted.size()) == 0);
  }
  CHECK(cases == 60);
}

TEST_CASE("block types: several blocks follow each other, each with its own scale") {
  for (const DType dtype : kAllBlockTypes) {
    CAPTURE(dtype_info(dtype).name);
    std::vector<float> values = ramp(dtype, 1.0F);
    const std::vector<float> small = ramp(dtype, 0.001F);
    values.insert(values.end(), small.begin(), small.end());
    std::vector<std::byte> bytes(2 * dtype_info(dtype).block_bytes);
    from_floats(dtype, values, bytes);
    std::vector<float> back(values.size());
    to_floats(dtype, bytes, back);
    // Of the largest magnitude.
    const float step = dtype == DType::kQ8_0   ? 1.0F / 254.0F
                       : dtype == DType::kQ6_K ? 1.0F / 32.0F
                                               : 1.0F / 8.0F;
    for (std::size_t i = 0; i < back.size(); ++i) {
      CHECK(std::abs(back[i] - values[i]) <= 20.1F * step * (i < small.size() ? 1.0F : 0.001F));
    }
  }
}

TEST_CASE("block types: magnitudes too small for a reciprocal become zeros") {
  for (const DType dtype : kAllBlockTypes) {
    CAPTURE(dtype_info(dtype).name);
    const std::vector<float> values = ramp(dtype, std::numeric_limits<float>::denorm_min());
    std::vector<std::byte> bytes(dtype_info(dtype).block_bytes);
    from_floats(dtype, values, bytes);
    std::vector<float> back(values.size(), 1.0F);
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

TEST_CASE("block types: every part and every quant of a block of 256 is read back from its place") {
  BlockQ4_K fours{.scale = 0x3C00, .minimum = 0x3C00, .parts = {}, .nibbles = {}};
  BlockQ6_K sixes{.nibbles = {}, .crumbs = {}, .part_scales = {}, .scale = 0x3C00};
  const auto scale_of = [](std::size_t part) { return 63 - static_cast<int>(7 * part); };
  const auto minimum_of = [](std::size_t part) { return static_cast<int>(9 * part); };
  for (std::size_t part = 0; part < 8; ++part) {
    set_part(fours, part, static_cast<unsigned>(scale_of(part)), static_cast<unsigned>(minimum_of(part)));
  }
  for (std::size_t i = 0; i < kKBlockWeights; ++i) {
    set_quant(fours, i, static_cast<int>(i * 7 % 16));
    set_quant(sixes, i, static_cast<int>(i * 11 % 64) - 32);
  }
  for (std::size_t part = 0; part < 8; ++part) {
    CHECK(part_scale(fours, part) == scale_of(part));
    CHECK(part_minimum(fours, part) == minimum_of(part));
  }
  for (std::size_t i = 0; i < kKBlockWeights; ++i) {
    REQUIRE(quant(fours, i) == static_cast<int>(i * 7 % 16));
    REQUIRE(quant(sixes, i) == static_cast<int>(i * 11 % 64) - 32);
  }
}

}  // namespace ttt::weights
