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
float normalise(const float* z, std::size_t size, float* zhat) {
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

void layer_norm(std::span<const float> x, std::span<const float> weight, std::span<const float> bias,
                float* out) {
  const std::size_t size = x.size();
  normalise(x.data(), size, out);
  for (std::size_t i = 0; i < size; i += kLanes) {
    const std::size_t n = at_most(size - i, kLanes);
    store(hn::MulAdd(load(out + i, n), load(weight.data() + i, n), load(bias.data() + i, n)), out + i, n);
  }
}

float layer_norm_loss_gradient(std::span<const float> z, std::span<const float> target,
                               std::span<const float> weight, std::span<const float> bias, float* zhat,
                               float* gradient) {
  const std::size_t size = z.size();
  const auto count = static_cast<float>(size);
  const float s = normalise(z.data(), size, zhat);
  V squares = set(0.0F);
  for (std::size_t i = 0; i < size; i += kLanes) {
    const std::size_t n = at_most(size - i, kLanes);
    const V gain = load(weight.data() + i, n);
    const V normed = hn::MulAdd(load(zhat + i, n), gain, load(bias.data() + i, n));
    const V difference = hn::Sub(normed, load(target.data() + i, n));
    squares = hn::MulAdd(difference, difference, squares);
    store(hn::Mul(difference, gain), gradient + i, n);
  }
  const V mean_e = set(sum(gradient, size) / count);
  const V mean_e_zhat = set(dot(gradient, zhat, size) / count);
  for (std::size_t i = 0; i < size; i += kLanes) {
    const std::size_t n = at_most(size - i, kLanes);
    const V centred = hn::Sub(load(gradient + i, n), mean_e);
    const V projected = hn::NegMulAdd(load(zhat + i, n), mean_e_zhat, centred);
    store(hn::Div(projected, set(s)), gradient + i, n);
  }
  return 0.5F * sum_of_lanes(squares);
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
  HWY_DYNAMIC_DISPATCH(layer_norm)(x, weight, bias, out);
}

float layer_norm_loss_gradient(std::span<const float> z, std::span<const float> target,
                               std::span<const float> weight, std::span<const float> bias, float* zhat,
                               float* gradient) {
  return HWY_DYNAMIC_DISPATCH(layer_norm_loss_gradient)(z, target, weight, bias, zhat, gradient);
}

}  // namespace ttt::cpu
#endif  // HWY_ONCE
