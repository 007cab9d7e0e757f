// SPDX-License-Identifier: Apache-2.0
// Which sequences read how many tokens in the next step. A pure function: the policy of continuous batching
// in one place, for tables of tests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace ttt {

struct SequenceLoad {
  std::int64_t position = 0;    // tokens read
  std::size_t prompt_left = 0;  // tokens of the prompt to read; 0: it decodes one token
  std::uint64_t last_step = 0;  // number of the step that served it last, or before which it was admitted
};

struct StepBudget {
  std::size_t tokens = 512;  // of one step; >= 2 where there can be two sequences
  // Most prompt tokens in a step in which a sequence decodes, or a prompt ends and others go on: somebody
  // waits for a token of that step.
  std::size_t prefill_beside_decode = 512;
  std::size_t mini_batch_size = 16;
};

struct PlannedSegment {
  std::size_t sequence = 0;  // index into the loads
  std::size_t num_tokens = 0;

  friend bool operator==(const PlannedSegment&, const PlannedSegment&) = default;
};

// Every decoding sequence reads its token first; prompts share what the budget leaves. Where not all of a
// kind find room, those come first that waited longest, so that with s sequences each is served every s steps
// or oftener, whoever else comes and goes. A prompt's part ends with a mini-batch where it can, which spares
// the next step an open one. Prompts get at least a mini-batch each, so only as many are read at once as the
// budget has mini-batches; among those a short prompt leaves its room to longer ones. A prompt that ends is
// not cut for prefill_beside_decode, and those that go on beside it get a mini-batch each at least.
//
// Decoding sequences leave room for one mini-batch of a prompt (a quarter of the budget at most), so that
// neither kind can starve the other. The plan is empty only if there are no sequences.
// `plan` is overwritten.
void plan_step(std::span<const SequenceLoad> loads, const StepBudget& budget,
               std::vector<PlannedSegment>& plan);

}  // namespace ttt
