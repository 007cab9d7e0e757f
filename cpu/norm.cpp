// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "cpu/kernels.h"
#include "cpu/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/norm.cpp"
#include <hwy/foreach_target.h>

#include "cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ttt::cpu::HWY_NAMESPACE {
namespace {

constexpr float kLayerNormEps = 1e-6F;  // of every LayerNorm in the model, whatever rms_norm_eps says

// zhat = (z - mean) / s; returns s = sqrt(var + eps).
HWY_INLINE float normalise(const float* z, std::size_t size, float* zhat) {
  const auto count = static_cast<float>(size);
  const V mean = set(sum(z, size) / count);
  for (std::size_t i = 0; i < size; i += kLanes) {
    const std::size_t n = at_most(size - i, kLanes);
    store(hn::Sub(load(z + i, n), mean), zhat + i, n);
  }
  const float s = std::sqrt(dot(zhat, zhat, size) / count + kLayerNormEps);
  for (std::size_t i = 0; i < size; i += kLanes) {
    const std::size_t n = at_most(size - i, kLanes);
    store(hn::Div(load(zhat + i, n), set(s)), zhat + i, n);
  }
  return s;
}

void rms_norm(std::span<const float> x, std::span<const float> weight, float eps, float* out) {
  const std::size_t size = x.size();
  const float mean_square = dot(x.data(), x.data(), size) / static_cast<float>(size);
  const V scale = set(1.0F / std::sqrt(mean_square + eps));
  for (std::size_t i = 0; i < size; i += kLanes) {
    const std::size_t n = at_most(size - i, kLanes);
    const V scaled = hn::Mul(load(x.data() + i, n), scale);
    store(hn::Mul(scaled, load(weight.data() + i, n)), out + i, n);
  }
}

// out = x normalised, and q added where there is a q.
HWY_INLINE void layer_norm_of(const float* x, std::size_t size, const float* weight, const float* bias,
                              const float* q, float* out) {
  normalise(x, size, out);
  for (std::size_t i = 0; i < size; i += kLanes) {
    const std::size_t n = at_most(size - i, kLanes);
    const V normed = hn::MulAdd(load(out + i, n), load(weight + i, n), load(bias + i, n));
    store(q == nullptr ? normed : hn::Add(load(q + i, n), normed), out + i, n);
  }
}

HWY_INLINE float loss_gradient_of(const float* z, std::size_t size, const float* weight, const float* bias,
                                  const float* k, const float* v, float alpha, float* zhat, float* gradient) {
  const auto count = static_cast<float>(size);
  const float s = normalise(z, size, zhat);
  V squares = set(0.0F);
  for (std::size_t i = 0; i < size; i += kLanes) {
    const std::size_t n = at_most(size - i, kLanes);
    const V gain = load(weight + i, n);
    const V normed = hn::MulAdd(load(zhat + i, n), gain, load(bias + i, n));
    const V target = hn::Sub(load(v + i, n), load(k + i, n));
    const V difference = hn::Sub(normed, target);
    squares = hn::MulAdd(difference, difference, squares);
    store(hn::Mul(difference, gain), gradient + i, n);
  }
  const V mean_e = set(sum(gradient, size) / count);
  const V mean_e_zhat = set(dot(gradient, zhat, size) / count);
  for (std::size_t i = 0; i < size; i += kLanes) {
    const std::size_t n = at_most(size - i, kLanes);
    const V centred = hn::Sub(load(gradient + i, n), mean_e);
    const V projected = hn::NegMulAdd(load(zhat + i, n), mean_e_zhat, centred);
    store(hn::Mul(hn::Div(projected, set(s)), set(alpha)), gradient + i, n);
  }
  return 0.5F * sum_of_lanes(squares);
}

// The usual head: its loops are unrolled.
constexpr std::size_t kUsualSize = 64;

void layer_norm(std::span<const float> x, std::span<const float> weight, std::span<const float> bias,
                const float* q, float* out) {
  if (x.size() == kUsualSize) {
    layer_norm_of(x.data(), kUsualSize, weight.data(), bias.data(), q, out);
  } else {
    layer_norm_of(x.data(), x.size(), weight.data(), bias.data(), q, out);
  }
}

float layer_norm_loss_gradient(std::span<const float> z, std::span<const float> weight,
                               std::span<const float> bias, const float* k, const float* v, float alpha,
                               float* zhat, float* gradient) {
  if (z.size() == kUsualSize) {
    return loss_gradient_of(z.data(), kUsualSize, weight.data(), bias.data(), k, v, alpha, zhat, gradient);
  }
  return loss_gradient_of(z.data(), z.size(), weight.data(), bias.data(), k, v, alpha, zhat, gradient);
}

}  // namespace
}  // namespace ttt::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ttt::cpu {

HWY_EXPORT(rms_norm);
HWY_EXPORT(layer_norm);
HWY_EXPORT(layer_norm_loss_gradient);

void rms_norm(std::span<const float> x, std::span<const float> weight, float eps, float* out) {
  HWY_DYNAMIC_DISPATCH(rms_norm)(x, weight, eps, out);
}

void layer_norm(std::span<const float> x, std::span<const float> weight, std::span<const float> bias,
                float* out) {
  HWY_DYNAMIC_DISPATCH(layer_norm)(x, weight, bias, nullptr, out);
}

void layer_norm_add(std::span<const float> x, std::span<const float> weight, std::span<const float> bias,
                    const float* q, float* out) {
  HWY_DYNAMIC_DISPATCH(layer_norm)(x, weight, bias, q, out);
}

float layer_norm_loss_gradient(std::span<const float> z, std::span<const float> weight,
                               std::span<const float> bias, const float* k, const float* v, float alpha,
                               float* zhat, float* gradient) {
  return HWY_DYNAMIC_DISPATCH(layer_norm_loss_gradient)(z, weight, bias, k, v, alpha, zhat, gradient);
}

}  // namespace ttt::cpu
#endif  // HWY_ONCE
