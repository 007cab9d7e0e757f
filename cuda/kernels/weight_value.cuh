// SPDX-License-Identifier: Apache-2.0
// The values of a matrix in device memory, in fp32: of 16 bits exactly, of a block type as weights/ has them.
#pragma once

#include <cstdint>

#include "cuda/kernels/block_weights.cuh"
#include "cuda/kernels/device.cuh"
#include "cuda/kernels/matrix.h"

namespace ttt::cuda {

struct Half {
  std::uint16_t bits;
};
struct Bfloat16 {
  std::uint16_t bits;
};

TTT_DEVICE float value_of(float weight) { return weight; }
TTT_DEVICE float value_of(Half weight) { return load_half(weight.bits); }
TTT_DEVICE float value_of(Bfloat16 weight) { return load_bf16(weight.bits); }

// Plain<Half>(matrix)[i], Blocks<Q8_0Weights>(matrix)[i]: weight i of the whole matrix.
template <typename Weight>
class Plain {
 public:
  TTT_DEVICE explicit Plain(const Matrix& matrix) : weights_(static_cast<const Weight*>(matrix.data)) {}
  TTT_DEVICE float operator[](std::size_t i) const { return value_of(weights_[i]); }

 private:
  const Weight* weights_;
};

template <typename Weights>
class Blocks {
 public:
  TTT_DEVICE explicit Blocks(const Matrix& matrix)
      : weights_(matrix.data, std::size_t{matrix.outputs} * matrix.inputs) {}
  TTT_DEVICE float operator[](std::size_t i) const {
    return weights_.eight(i - i % 8).value(static_cast<int>(i % 8));
  }

 private:
  Weights weights_;
};

}  // namespace ttt::cuda
