// SPDX-License-Identifier: Apache-2.0
// Matrices of block types, made of random blocks, with the values that they stand for.
#pragma once

#include <catch2/catch.hpp>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "cuda/block_planes.h"
#include "cuda/kernels/matrix.h"
#include "tests/random.h"
#include "weights/block_types.h"
#include "weights/element_type.h"
#include "weights/float16.h"

namespace ttt::test {

struct BlockType {
  cuda::MatrixType type = cuda::MatrixType::kQ8_0;
  weights::DType dtype = weights::DType::kQ8_0;
};
inline constexpr BlockType kBlockTypes[] = {{cuda::MatrixType::kQ8_0, weights::DType::kQ8_0},
                                            {cuda::MatrixType::kQ4_0, weights::DType::kQ4_0},
                                            {cuda::MatrixType::kQ4_K, weights::DType::kQ4_K},
                                            {cuda::MatrixType::kQ6_K, weights::DType::kQ6_K}};

template <typename Block>
void set_scale(std::byte* block, std::uint16_t scale, std::uint16_t minimum) {
  std::memcpy(block + offsetof(Block, scale), &scale, sizeof scale);
  if constexpr (requires { Block::minimum; }) {
    std::memcpy(block + offsetof(Block, minimum), &minimum, sizeof minimum);
  }
}

// Blocks of any bits, with scales that make weights of about 1.
struct QuantisedMatrix {
  BlockType type;
  std::size_t outputs, inputs;
  std::vector<float> values;  // [outputs, inputs]
  std::vector<std::byte> planes;

  QuantisedMatrix(Random& random, BlockType block_type, std::size_t num_outputs, std::size_t num_inputs)
      : type(block_type), outputs(num_outputs), inputs(num_inputs), values(outputs * inputs) {
    const cuda::BlockShape& shape = cuda::block_shape(type.type);
    std::vector<std::byte> blocks(outputs * inputs / shape.weights * shape.bytes);
    for (std::byte& byte : blocks) byte = static_cast<std::byte>(random.below(256));
    for (std::size_t at = 0; at < blocks.size(); at += shape.bytes) {
      const auto half = [&](double size) {
        return weights::float_to_f16(static_cast<float>(size * random.symmetric()));
      };
      std::byte* const block = blocks.data() + at;
      if (type.dtype == weights::DType::kQ8_0) set_scale<weights::BlockQ8_0>(block, half(1.0 / 128), 0);
      if (type.dtype == weights::DType::kQ4_0) set_scale<weights::BlockQ4_0>(block, half(1.0 / 8), 0);
      if (type.dtype == weights::DType::kQ4_K)
        set_scale<weights::BlockQ4_K>(block, half(1.0 / 512), half(1.0 / 64));
      if (type.dtype == weights::DType::kQ6_K) set_scale<weights::BlockQ6_K>(block, half(1.0 / 2048), 0);
    }
    weights::to_floats(type.dtype, blocks, values);
    for (const cuda::BlockPart& part : shape.planes) {
      std::vector<std::byte> plane(blocks.size() / shape.bytes * part.bytes);
      cuda::gather_plane(shape, part, blocks, plane);
      planes.insert(planes.end(), plane.begin(), plane.end());
    }
    REQUIRE(planes.size() == cuda::matrix_bytes(type.type, values.size()));
  }

  // As it is, or with `data` of another type.
  cuda::Matrix with(const void* data) const { return with(data, type.type); }
  cuda::Matrix with(const void* data, cuda::MatrixType data_type) const {
    return {.data = data,
            .outputs = static_cast<std::uint32_t>(outputs),
            .inputs = static_cast<std::uint32_t>(inputs),
            .type = data_type};
  }
};

// Each rounded to fp16.
inline std::vector<std::uint16_t> halves(const std::vector<float>& values) {
  std::vector<std::uint16_t> bits;
  for (const float value : values) bits.push_back(weights::float_to_f16(value));
  return bits;
}

}  // namespace ttt::test
