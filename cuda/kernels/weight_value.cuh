// SPDX-License-Identifier: Apache-2.0
// Weights as they lie in device memory, and their values. Every conversion is exact.
#pragma once

#include <cstdint>

#include "cuda/kernels/device.cuh"

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

}  // namespace ttt::cuda
