// SPDX-License-Identifier: Apache-2.0
#include "cpu/inner_loop.h"

#include <algorithm>

#include "cpu/vector_math.h"

namespace ttt::cpu {

std::size_t inner_loop_scratch_floats(std::size_t head_size, std::size_t inner_size) {
  // target, zhat, z; the widest sums; two rows of the inner layer.
  return 3 * head_size + std::max(head_size, inner_size) + 2 * inner_size;
}

void affine(const float* x, const float* W, const float* b, std::size_t in, std::size_t out_size,
            float* out) {
  std::fill(out, out + out_size, 0.0F);
  for (std::size_t i = 0; i < in; ++i) add_scaled(x[i], W + i * out_size, out, out_size);
  for (std::size_t o = 0; o < out_size; ++o) out[o] += b[o];
}

void subtract_open_rows(const float* x, const float* keys, std::size_t in, const float* gradients,
                        std::size_t out_size, std::size_t stride, std::size_t count, float eta, float* sums,
                        float* out) {
  std::fill(sums, sums + out_size, 0.0F);
  for (std::size_t j = 0; j < count; ++j) {
    add_scaled(dot(x, keys + j * stride, in) + 1.0F, gradients + j * stride, sums, out_size);
  }
  add_scaled(-eta, sums, out, out_size);
}

void commit_rows(const float* keys, std::size_t in, const float* gradients, std::size_t out_size,
                 std::size_t stride, std::size_t count, float eta, float* sums, float* W, float* b) {
  for (std::size_t i = 0; i < in; ++i) {
    std::fill(sums, sums + out_size, 0.0F);
    for (std::size_t j = 0; j < count; ++j)
      add_scaled(keys[j * stride + i], gradients + j * stride, sums, out_size);
    add_scaled(-eta, sums, W + i * out_size, out_size);
  }
  std::fill(sums, sums + out_size, 0.0F);
  for (std::size_t j = 0; j < count; ++j) add_scaled(1.0F, gradients + j * stride, sums, out_size);
  add_scaled(-eta, sums, b, out_size);
}

}  // namespace ttt::cpu
