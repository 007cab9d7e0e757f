// SPDX-License-Identifier: Apache-2.0
// A backend without a model: a slot's state is a hash of the tokens it has read, what it "computes" a hash of
// that, and a step costs virtual time. It keeps its own count of every slot's tokens and throws where a
// caller loses track. For tests of what stands above the seam.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <optional>
#include <vector>

#include "engine/backend.h"
#include "engine/config.h"

namespace ttt::test {

struct SimulatedCost {
  std::chrono::microseconds per_step{20'000};
  std::chrono::microseconds per_token{500};
};

class SimulatedBackend final : public Backend {
 public:
  SimulatedBackend(std::size_t num_slots, std::size_t max_batch_tokens, SimulatedCost cost = {});

  static ModelConfig config();  // vocabulary 50, mini-batches of 16

  const BackendInfo& info() const override { return info_; }
  void reset(SlotId slot) override;
  void copy(SlotId from, SlotId to, std::int64_t position) override;
  void rewind(SlotId slot, std::int64_t from, std::int64_t to) override;
  void save(SlotId slot, std::int64_t position, std::span<std::byte> bytes) const override;
  void load(SlotId slot, std::int64_t position, std::span<const std::byte> bytes) override;
  void submit(std::span<const Segment> batch) override;
  std::span<const SegmentResult> wait() override;

  // Called with each batch before it is computed; what it throws, wait() throws.
  std::function<void(std::span<const Segment>)> on_step;
  std::function<void()> on_save;                  // what it throws, save() throws
  std::function<bool(const Segment&)> is_broken;  // its results are not finite
  std::chrono::steady_clock::time_point now() const { return now_; }
  void pass_time(std::chrono::microseconds time) { now_ += time; }
  std::size_t num_steps() const { return num_steps_; }
  // Steps from one that served a slot (or from its reset or copy) to the next that did, at most.
  std::size_t longest_wait() const { return longest_wait_; }

 private:
  struct Slot {
    std::uint64_t hash = 0;
    std::int64_t position = 0;
    std::optional<TokenId> last_sampled;
    bool defined = false;
    std::size_t last_step = 0;
  };
  Slot& defined_slot(SlotId slot, std::int64_t position);
  void compute(const Segment& segment, std::size_t index);
  TokenId draw(const Slot& slot, const Wanted& wanted) const;

  BackendInfo info_;
  SimulatedCost cost_;
  std::vector<Slot> slots_;
  bool in_flight_ = false;
  std::exception_ptr failure_;
  std::size_t num_steps_ = 0;
  std::size_t longest_wait_ = 0;
  std::chrono::steady_clock::time_point now_{};
  std::vector<SegmentResult> results_;
  std::vector<std::vector<float>> target_log_probs_;
  std::vector<std::vector<TokenLogProb>> top_;
};

}  // namespace ttt::test
