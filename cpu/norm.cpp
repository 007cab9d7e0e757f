// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "cpu/kernels.h"
#include "cpu/vector_math.h"

namespace ttt::cpu {
namespace {

constexpr float kLayerNormEps = 1e-6F;  // of every LayerNorm in the model, whatever rms_norm_eps says

// zhat = (z - mean) / s; returns s = sqrt(var + eps).
float normalise(std::span<const float> z, float* zhat) {
  const auto size = static_cast<float>(z.size());
  const float mean = sum(z.data(), z.size()) / size;
  for (std::size_t i = 0; i < z.size(); ++i) zhat[i] = z[i] - mean;
  const float variance = dot(zhat, zhat, z.size()) / size;
  const float s = std::sqrt(variance + kLayerNormEps);
  for (std::size_t i = 0; i < z.size(); ++i) zhat[i] /= s;
  return s;
}

}  // namespace

void rms_norm(std::span<const float> x, std::span<const float> weight, float eps, float* out) {
  const float mean_square = dot(x.data(), x.data(), x.size()) / static_cast<float>(x.size());
  const float scale = 1.0F / std::sqrt(mean_square + eps);
  for (std::size_t i = 0; i < x.size(); ++i) out[i] = x[i] * scale * weight[i];
}

void layer_norm(std::span<const float> x, std::span<const float> weight, std::span<const float> bias,
                float* out) {
  normalise(x, out);
  for (std::size_t i = 0; i < x.size(); ++i) out[i] = out[i] * weight[i] + bias[i];
}

float layer_norm_loss_gradient(std::span<const float> z, std::span<const float> target,
                               std::span<const float> weight, std::span<const float> bias, float* zhat,
                               float* gradient) {
  const std::size_t size = z.size();
  const float s = normalise(z, zhat);
  for (std::size_t i = 0; i < size; ++i) gradient[i] = zhat[i] * weight[i] + bias[i] - target[i];
  const float loss = 0.5F * dot(gradient, gradient, size);
  for (std::size_t i = 0; i < size; ++i) gradient[i] *= weight[i];
  const float mean_e = sum(gradient, size) / static_cast<float>(size);
  const float mean_e_zhat = dot(gradient, zhat, size) / static_cast<float>(size);
  for (std::size_t i = 0; i < size; ++i) gradient[i] = (gradient[i] - mean_e - zhat[i] * mean_e_zhat) / s;
  return loss;
}

}  // namespace ttt::cpu
