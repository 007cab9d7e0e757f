// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "cpu/kernels.h"
#include "cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/rope.cpp"
#include <hwy/foreach_target.h>

#include "cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ttt::cpu::HWY_NAMESPACE {
namespace {

// kLanes pairs (even, odd) by as many (cos, sin).
HWY_INLINE void rotate(float* pairs, const float* angles) {
  V even, odd, cos, sin;
  hn::LoadInterleaved2(D(), pairs, even, odd);
  hn::LoadInterleaved2(D(), angles, cos, sin);
  hn::StoreInterleaved2(hn::NegMulAdd(odd, sin, hn::Mul(even, cos)), hn::MulAdd(even, sin, hn::Mul(odd, cos)),
                        D(), pairs);
}

void rope(float* row, std::size_t width, std::size_t head_size, std::size_t phase,
          std::span<const float> table) {
  const float* angles = table.data() + phase * head_size;
  for (std::size_t head = 0; head < width; head += head_size) {
    float* const x = row + head;
    std::size_t i = 0;
    for (; i + 2 * kLanes <= head_size; i += 2 * kLanes) rotate(x + i, angles + i);
    if (i < head_size) {
      const std::size_t size = (head_size - i) * sizeof(float);
      float last_pairs[2 * kLanes] = {};
      float last_angles[2 * kLanes] = {};
      std::memcpy(last_pairs, x + i, size);
      std::memcpy(last_angles, angles + i, size);
      rotate(last_pairs, last_angles);
      std::memcpy(x + i, last_pairs, size);
    }
  }
}

}  // namespace
}  // namespace ttt::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ttt::cpu {

HWY_EXPORT(rope);

void rope(float* row, std::size_t width, std::size_t head_size, std::size_t phase,
          std::span<const float> table) {
  HWY_DYNAMIC_DISPATCH(rope)(row, width, head_size, phase, table);
}

}  // namespace ttt::cpu
#endif  // HWY_ONCE
