// SPDX-License-Identifier: Apache-2.0
// Runs a prefill kernel over sequences that are cut anyhow, in memory of the emulated device, and compares
// with the oracle.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "cuda/kernels/ttt_prefill.h"
#include "tests/cuda/inner_oracle.h"

namespace ttt::test {

// The canonical order of one layer: W1, b1 (W2, b2), then 16 open rows.
struct PrefillLayout {
  std::size_t head_size, inner_size, num_heads;
  bool mlp;
  std::size_t W1() const { return 0; }
  std::size_t b1() const { return num_heads * head_size * inner_size; }
  std::size_t W2() const { return b1() + num_heads * inner_size; }
  std::size_t b2() const { return W2() + num_heads * head_size * inner_size; }
  std::size_t open_rows() const { return mlp ? b2() + num_heads * head_size : W2(); }
  std::size_t open_row_floats() const {
    return num_heads * (mlp ? 2 * head_size + 2 * inner_size : head_size + inner_size);
  }
  std::size_t slot_stride() const { return open_rows() + kInnerK * open_row_floats(); }
};

// One sequence in a slot: a problem for each head, all of the same length.
struct PrefillSequence {
  std::size_t slot = 0;
  std::vector<InnerProblem> heads;
  std::vector<std::size_t> cuts;  // lengths of the calls that read it; a call of 0 tokens reads none of it
};

// Random, as long as the cuts say.
PrefillSequence random_sequence(Random& random, const PrefillLayout& layout, std::size_t slot,
                                const std::vector<std::size_t>& cuts);
// All sequences of a call share the parameters of the layer, all heads the token_eta.
void share_parameters(std::vector<PrefillSequence>& sequences);

struct PrefillResult {
  std::vector<std::vector<float>> out, losses;  // of each sequence: [tokens, H, f], [tokens, H]
  std::vector<float> state;                     // [slots][slot_stride]
};

using PrefillKernel = std::function<void(const cuda::TttPrefillParams& params, cudaStream_t stream)>;

// Call i reads cuts[i] tokens of every sequence.
PrefillResult run_prefill(const PrefillKernel& kernel, const PrefillLayout& layout,
                          const std::vector<PrefillSequence>& sequences);

struct PrefillError {
  double out = 0.0;        // relative L2 of o - q
  double out_max = 0.0;    // max / (0.05 rms(o) + 0.03)
  double weights = 0.0;    // the largest of W1, b1, W2, b2, each relative to what was learned
  double open_rows = 0.0;  // relative L2 of keys and gradients
  double losses = 0.0;     // relative L2
};

// The worst of all heads.
PrefillError compare_prefill(const PrefillResult& result, const PrefillLayout& layout,
                             const std::vector<PrefillSequence>& sequences);

}  // namespace ttt::test
