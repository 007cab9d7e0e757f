// SPDX-License-Identifier: Apache-2.0
// A small model on a device, and sequences that it reads and decodes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "cuda/cuda_backend.h"
#include "engine/state_layout.h"
#include "tests/cuda/device_config.h"
#include "tests/random.h"

namespace ttt::test {

using Bytes = std::vector<std::byte>;

inline ModelConfig conversation_config() {
  ModelConfig config = device_config(LayerType::kTttLinear, 1, 64);
  config.vocab_size = 40;
  config.num_hidden_layers = 2;
  return config;
}

// Who draws the token that follows.
enum class Sample { kGreedy, kDrawn, kByHost, kNothing };

// All that a backend answered, bit by bit.
class Conversation {
 public:
  static constexpr std::size_t kSlots = 4;

  Conversation(const Model& model, const cuda::CudaOptions& options)
      : config_(model.config), backend_(cuda::make_cuda_backend(model, options)) {
    greedy_.temperature = 0.0F;
    drawn_.temperature = 0.9F;
    drawn_.top_p = 0.95F;
    drawn_.seed = 7;
    by_host_ = drawn_;
    by_host_.typical_p = 0.9F;
    for (SlotId slot = 0; slot < static_cast<SlotId>(kSlots); ++slot) backend_->reset(slot);
  }

  void add_prompt(SlotId slot, std::size_t num_tokens, Sample sample) {
    tokens_.push_back(Random(static_cast<std::uint64_t>(slot) + 50).tokens(num_tokens, config_.vocab_size));
    Segment& segment = add(slot, sample);
    segment.tokens = tokens_.back();
  }
  // The token sampled last.
  void add_decode(SlotId slot, Sample sample) { add(slot, sample).token_from_last_sample = true; }
  Segment& last() { return batch_.back(); }

  void step() {
    std::vector<Segment> batch = std::exchange(batch_, {});
    for (const Segment& segment : batch) {
      position_of(segment.slot) += static_cast<std::int64_t>(segment.num_tokens());
    }
    backend_->submit(batch);
    for (const SegmentResult& result : backend_->wait()) {
      append(std::span(&result.sampled, 1));
      append(result.top);
      append(result.target_log_probs);
      append(result.logits);
      append(result.inner_losses);
    }
  }
  // A step in which slots 0 to count - 1 each read what they sampled last.
  void decode(std::size_t count, Sample sample) {
    for (SlotId slot = 0; slot < static_cast<SlotId>(count); ++slot) add_decode(slot, sample);
    step();
  }
  void read_prompts(Sample sample) {
    for (SlotId slot = 0; slot < static_cast<SlotId>(kSlots); ++slot) {
      add_prompt(slot, 3 + 7 * static_cast<std::size_t>(slot), sample);
    }
    step();
  }

  Bytes state(SlotId slot) {
    Bytes bytes(state_bytes(config_, position_of(slot)));
    backend_->save(slot, position_of(slot), bytes);
    return bytes;
  }
  // All answers so far, then all states: long, so that a check of it shows no bytes.
  Bytes whole() {
    Bytes bytes = answers_;
    for (SlotId slot = 0; slot < static_cast<SlotId>(kSlots); ++slot) {
      const Bytes part = state(slot);
      bytes.insert(bytes.end(), part.begin(), part.end());
    }
    return bytes;
  }
  Backend& backend() { return *backend_; }

 private:
  Segment& add(SlotId slot, Sample sample) {
    Segment segment;
    segment.slot = slot;
    segment.position = position_of(slot);
    const SamplingParams* const params[] = {&greedy_, &drawn_, &by_host_, nullptr};
    segment.wanted.sample = params[static_cast<std::size_t>(sample)];
    batch_.push_back(segment);
    return batch_.back();
  }
  std::int64_t& position_of(SlotId slot) { return positions_[static_cast<std::size_t>(slot)]; }

  template <typename T>
  void append(std::span<T> part) {
    const auto bytes = std::as_bytes(part);
    answers_.insert(answers_.end(), bytes.begin(), bytes.end());
  }

  const ModelConfig& config_;
  std::unique_ptr<Backend> backend_;
  SamplingParams greedy_, drawn_, by_host_;
  std::int64_t positions_[kSlots] = {};
  std::vector<std::vector<TokenId>> tokens_;
  std::vector<Segment> batch_;
  Bytes answers_;
};

inline cuda::CudaOptions conversation_options(bool graphs,
                                              cuda::Precision precision = cuda::Precision::kFast) {
  return {.num_slots = Conversation::kSlots,
          .max_batch_tokens = 64,
          .max_logits_rows = 8,
          .precision = precision,
          .graphs = graphs};
}

}  // namespace ttt::test
