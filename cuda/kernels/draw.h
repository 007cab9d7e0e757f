// SPDX-License-Identifier: Apache-2.0
// Draws tokens from rows of logits as engine/sampler.h defines it, for parameters without logit_bias, allowed
// and typical_p. Sums of probabilities in double have an order of their own here, and exp() its own last bit:
// an id differs from the host's where a sum comes within some 1e-14 of what it is compared with, and never
// else.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace ttt::cuda {

// As engine/token_counts.h has it.
struct CountEntry {
  std::int32_t id;
  std::uint32_t in_window, in_output;
};

struct DrawnEntry {
  std::int32_t id;
  float logit;  // as it was before penalties
};

struct DrawEntry {
  std::uint32_t row;   // of the logits
  std::int32_t top_k;  // 0: all
  float temperature;   // 0: the largest
  float top_p, min_p;  // 1 and 0: all
  float repetition_penalty, presence_penalty, frequency_penalty;
  double uniform;              // the draw, in [0, 1)
  const CountEntry* counts;    // [num_counts], each id once
  const std::int32_t* banned;  // [num_banned], each id once; not all ids
  std::uint32_t num_counts, num_banned;
  DrawnEntry* drawn;
};

struct DrawParams {
  const DrawEntry* entries;  // [num_entries]
  const float* logits;       // [.., V]
  float* adjusted;           // [num_entries, V] scratch
  double* weights;           // [num_entries, V] scratch
  std::uint32_t num_entries, vocab_size;
};
void launch_draw(const DrawParams& params, cudaStream_t stream);

}  // namespace ttt::cuda
