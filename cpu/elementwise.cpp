// SPDX-License-Identifier: Apache-2.0
#include "cpu/kernels.h"
#include "cpu/vector_math.h"

namespace ttt::cpu {

void add(std::span<float> x, const float* y) {
  for (std::size_t i = 0; i < x.size(); ++i) x[i] += y[i];
}

void silu_multiply(std::span<float> gate, const float* up) {
  for (std::size_t i = 0; i < gate.size(); ++i) gate[i] = silu(gate[i]) * up[i];
}

void gelu_multiply(std::span<float> x, const float* gate) {
  for (std::size_t i = 0; i < x.size(); ++i) x[i] *= gelu(gate[i]);
}

}  // namespace ttt::cpu
