// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "cpu/kernels.h"

namespace ttt::cpu {

void make_rope_table(std::size_t mini_batch_size, std::size_t head_size, double theta,
                     std::span<float> table) {
  for (std::size_t phase = 0; phase < mini_batch_size; ++phase) {
    for (std::size_t pair = 0; pair < head_size / 2; ++pair) {
      const double exponent = -2.0 * static_cast<double>(pair) / static_cast<double>(head_size);
      const double angle = static_cast<double>(phase) * std::pow(theta, exponent);
      table[phase * head_size + 2 * pair] = static_cast<float>(std::cos(angle));
      table[phase * head_size + 2 * pair + 1] = static_cast<float>(std::sin(angle));
    }
  }
}

void rope(float* row, std::size_t width, std::size_t head_size, std::size_t phase,
          std::span<const float> table) {
  const float* angles = table.data() + phase * head_size;
  for (std::size_t head = 0; head < width; head += head_size) {
    float* x = row + head;
    for (std::size_t i = 0; i < head_size; i += 2) {
      const float even = x[i] * angles[i] - x[i + 1] * angles[i + 1];
      const float odd = x[i] * angles[i + 1] + x[i + 1] * angles[i];
      x[i] = even;
      x[i + 1] = odd;
    }
  }
}

}  // namespace ttt::cpu
