// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "cpu/kernels.h"
#include "cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/conv.cpp"
#include <hwy/foreach_target.h>

#include "cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ttt::cpu::HWY_NAMESPACE {
namespace {

void depthwise_conv(const ConvInput& input, std::span<const float> weight, std::span<const float> bias,
                    std::size_t begin, std::size_t end, float* y) {
  const std::size_t width = input.width;
  const std::size_t taps = weight.size() / width;
  for (std::size_t row = 0; row < input.num_rows; ++row) {
    for (std::size_t ch = begin; ch < end; ch += kLanes) {
      const std::size_t n = at_most(end - ch, kLanes);
      V sums = load(bias.data() + ch, n);
      for (std::size_t tap = 0; tap < taps; ++tap) {
        // Row of (history, x) that this tap reads: the last tap multiplies the current token.
        const std::size_t from = input.history_rows + row + tap - (taps - 1);
        const float* in = from < input.history_rows ? input.history + from * width
                                                    : input.x + (from - input.history_rows) * width;
        sums = hn::MulAdd(load(weight.data() + tap * width + ch, n), load(in + ch, n), sums);
      }
      store(sums, y + row * width + ch, n);
    }
  }
}

}  // namespace
}  // namespace ttt::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ttt::cpu {

HWY_EXPORT(depthwise_conv);

void depthwise_conv(const ConvInput& input, std::span<const float> weight, std::span<const float> bias,
                    std::size_t begin, std::size_t end, float* y) {
  HWY_DYNAMIC_DISPATCH(depthwise_conv)(input, weight, bias, begin, end, y);
}

void fetch_history(const float* history, std::size_t history_rows, std::size_t taps, std::size_t width,
                   std::size_t begin, std::size_t end) {
  constexpr std::size_t kLineFloats = 16;  // of a cache line
  for (std::size_t row = history_rows - (taps - 1); row < history_rows; ++row) {
    for (std::size_t ch = begin; ch < end; ch += kLineFloats) __builtin_prefetch(history + row * width + ch);
  }
}

void advance_history(float* history, std::size_t history_rows, const float* x, std::size_t num_rows,
                     std::size_t keep_rows, std::size_t width, std::size_t begin, std::size_t end) {
  const std::size_t first = history_rows + num_rows - keep_rows;  // of (history, x)
  const std::size_t size = (end - begin) * sizeof(float);
  for (std::size_t row = 0; row < keep_rows; ++row) {
    const std::size_t from = first + row;
    const float* source = from < history_rows ? history + from * width : x + (from - history_rows) * width;
    float* target = history + row * width;
    if (source != target) std::memcpy(target + begin, source + begin, size);
  }
}

}  // namespace ttt::cpu
#endif  // HWY_ONCE
