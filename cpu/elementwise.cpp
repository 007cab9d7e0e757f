// SPDX-License-Identifier: Apache-2.0
#include "cpu/kernels.h"
#include "cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/elementwise.cpp"
#include <hwy/foreach_target.h>

#include "cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ttt::cpu::HWY_NAMESPACE {
namespace {

void add(std::span<float> x, const float* y) {
  for (std::size_t i = 0; i < x.size(); i += kLanes) {
    const std::size_t n = at_most(x.size() - i, kLanes);
    store(hn::Add(load(x.data() + i, n), load(y + i, n)), x.data() + i, n);
  }
}

void silu_multiply(std::span<float> gate, const float* up) {
  for (std::size_t i = 0; i < gate.size(); i += kLanes) {
    const std::size_t n = at_most(gate.size() - i, kLanes);
    store(hn::Mul(silu(load(gate.data() + i, n)), load(up + i, n)), gate.data() + i, n);
  }
}

void gelu_multiply(std::span<float> x, const float* gate) {
  for (std::size_t i = 0; i < x.size(); i += kLanes) {
    const std::size_t n = at_most(x.size() - i, kLanes);
    store(hn::Mul(load(x.data() + i, n), gelu(load(gate + i, n))), x.data() + i, n);
  }
}

void gelu_of(std::span<const float> x, float* out) {
  for (std::size_t i = 0; i < x.size(); i += kLanes) {
    const std::size_t n = at_most(x.size() - i, kLanes);
    store(gelu(load(x.data() + i, n)), out + i, n);
  }
}

void gelu_and_derivative_of(std::span<float> a, float* out) {
  for (std::size_t i = 0; i < a.size(); i += kLanes) {
    const std::size_t n = at_most(a.size() - i, kLanes);
    const Gelu g = gelu_and_derivative(load(a.data() + i, n));
    store(g.value, out + i, n);
    store(g.derivative, a.data() + i, n);
  }
}

void scaled_sigmoid(std::span<float> x, const float* bias, float scale) {
  for (std::size_t i = 0; i < x.size(); i += kLanes) {
    const std::size_t n = at_most(x.size() - i, kLanes);
    const V rate = sigmoid(hn::Add(load(x.data() + i, n), load(bias + i, n)));
    store(hn::Mul(set(scale), rate), x.data() + i, n);
  }
}

}  // namespace
}  // namespace ttt::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ttt::cpu {

HWY_EXPORT(add);
HWY_EXPORT(silu_multiply);
HWY_EXPORT(gelu_multiply);
HWY_EXPORT(gelu_of);
HWY_EXPORT(gelu_and_derivative_of);
HWY_EXPORT(scaled_sigmoid);

void add(std::span<float> x, const float* y) { HWY_DYNAMIC_DISPATCH(add)(x, y); }

void silu_multiply(std::span<float> gate, const float* up) { HWY_DYNAMIC_DISPATCH(silu_multiply)(gate, up); }

void gelu_multiply(std::span<float> x, const float* gate) { HWY_DYNAMIC_DISPATCH(gelu_multiply)(x, gate); }

void gelu(std::span<const float> x, float* out) { HWY_DYNAMIC_DISPATCH(gelu_of)(x, out); }

void gelu_and_derivative(std::span<float> a, float* out) {
  HWY_DYNAMIC_DISPATCH(gelu_and_derivative_of)(a, out);
}

void scaled_sigmoid(std::span<float> x, const float* bias, float scale) {
  HWY_DYNAMIC_DISPATCH(scaled_sigmoid)(x, bias, scale);
}

}  // namespace ttt::cpu
#endif  // HWY_ONCE
