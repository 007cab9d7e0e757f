// SPDX-License-Identifier: Apache-2.0
#include "engine/best_logits.h"

#include <array>

#include "engine/wide_vectors.h"

namespace ttt {

TTT_WIDE_VECTORS float largest_logit(std::span<const float> logits) {
  std::array<float, kLogitBlock> largest;
  largest.fill(-std::numeric_limits<float>::infinity());
  std::size_t id = 0;
  for (; id + kLogitBlock <= logits.size(); id += kLogitBlock) {
    const float* block = logits.data() + id;
    for (std::size_t j = 0; j < kLogitBlock; ++j) largest[j] = block[j] > largest[j] ? block[j] : largest[j];
  }
  for (; id < logits.size(); ++id) largest[0] = logits[id] > largest[0] ? logits[id] : largest[0];
  return *std::ranges::max_element(largest);
}

TTT_WIDE_VECTORS std::size_t first_logit_above(std::span<const float> logits, float bound) {
  std::size_t id = 0;
  for (; id + kLogitBlock <= logits.size(); id += kLogitBlock) {
    const float* block = logits.data() + id;
    int above = 0;
    for (std::size_t j = 0; j < kLogitBlock; ++j) above |= block[j] > bound ? 1 : 0;
    if (above != 0) break;
  }
  while (id < logits.size() && !(logits[id] > bound)) ++id;
  return id;
}

TTT_WIDE_VECTORS void copy_finite(std::span<const float> logits, float* to) {
  for (std::size_t id = 0; id < logits.size(); ++id) to[id] = finite(logits[id]);
}

}  // namespace ttt
