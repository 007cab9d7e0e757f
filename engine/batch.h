// SPDX-License-Identifier: Apache-2.0
// What crosses the seam: token ids down, small results up.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "engine/sampler.h"
#include "tokenizer/tokenizer.h"

namespace ttt {

using tokenizer::TokenId;
using SlotId = std::int32_t;  // a place for one sequence's state, 0 ... num_slots - 1

// For which rows (tokens) of a segment something is wanted.
enum class Rows : std::uint8_t { kNone, kLast, kAll };

struct Wanted {
  // Raw logits, [rows, V]: for tests and inspection; everything else is small.
  Rows logits = Rows::kNone;

  // Log-probabilities under the softmax: of given ids, and the most probable ones.
  Rows log_probs = Rows::kNone;
  std::span<const TokenId> targets;  // [rows, targets_per_row]
  std::size_t targets_per_row = 0;
  std::size_t top_n = 0;

  // Draw the next token from the last row, as engine/sampler.h defines; null: none. Its position, which keys
  // the draw, is Segment::position + num_tokens(). A row that is not finite gives some id in [0, V).
  const SamplingParams* sample = nullptr;
  // Read only with `sample`.
  std::span<const TokenCount> counts;  // what the sequence has said, for the penalties; each id once
  std::span<const TokenId> banned;     // in this step, besides sample->banned: end of text before min_tokens

  // The inner loop's loss of each token at the committed fast weights: 1/2 |N(z) - (v - k)|^2 summed over f.
  bool inner_losses = false;
};

// Consecutive tokens of one sequence. 1 token = decode, more = prefill; nothing else tells them apart.
struct Segment {
  SlotId slot = 0;
  std::int64_t position = 0;  // tokens that the slot has read before these
  std::span<const TokenId> tokens;
  // Instead of `tokens` (then empty): read the one token that this slot sampled last.
  bool token_from_last_sample = false;
  Wanted wanted;

  std::size_t num_tokens() const { return token_from_last_sample ? 1 : tokens.size(); }
  std::size_t num_rows(Rows rows) const {
    return rows == Rows::kNone ? 0 : rows == Rows::kLast ? 1 : num_tokens();
  }
};

struct SegmentResult {
  std::span<const float> logits;            // [rows, V]
  std::span<const float> target_log_probs;  // [rows, targets_per_row]
  std::span<const TokenLogProb> top;        // [rows, top_n], best first
  TokenLogProb sampled;                     // id -1 where none was asked for
  std::span<const float> inner_losses;      // [tokens, L, H]
};

// What a sequence with results that are not finite numbers ends with: the model's own are.
inline constexpr const char* kNotFinite =
    "the model computes numbers that are not finite: its weights, or the saved state that it goes on from, "
    "are "
    "damaged or were never fit to be used ('ttt info MODEL --check' reads all weights)";

}  // namespace ttt
