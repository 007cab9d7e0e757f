// SPDX-License-Identifier: Apache-2.0
#include "tests/engine/simulated_backend.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <set>
#include <stdexcept>
#include <utility>

#include "engine/state_layout.h"
#include "tests/random.h"

namespace ttt::test {
namespace {

constexpr std::size_t kVocabSize = 50;

void require(bool condition, const char* what) {
  if (!condition) throw std::logic_error(std::string("SimulatedBackend: ") + what);
}

std::uint64_t mix(std::uint64_t a, std::uint64_t b) { return Random(a * 31 + b).bits(); }

float log_prob_of(std::uint64_t hash, TokenId id) {
  return -static_cast<float>(mix(hash, static_cast<std::uint64_t>(id) + 7) % 4096) / 256.0F;
}

}  // namespace

SimulatedBackend::SimulatedBackend(std::size_t num_slots, std::size_t max_batch_tokens, SimulatedCost cost)
    : cost_(cost), slots_(num_slots) {
  info_.device = "simulated";
  info_.num_slots = num_slots;
  info_.max_batch_tokens = max_batch_tokens;
}

ModelConfig SimulatedBackend::config() {
  ModelConfig config;
  config.vocab_size = kVocabSize;
  config.num_hidden_layers = config.num_attention_heads = 1;  // a state has room for a hash
  config.hidden_size = config.intermediate_size = 2;
  config.mini_batch_size = 16;
  return config;
}

SimulatedBackend::Slot& SimulatedBackend::defined_slot(SlotId slot, std::int64_t position) {
  require(slot >= 0 && static_cast<std::size_t>(slot) < slots_.size(), "slot out of range");
  Slot& found = slots_[static_cast<std::size_t>(slot)];
  require(found.defined, "a slot whose contents are undefined");
  require(found.position == position, "the caller's position is not the slot's");
  return found;
}

void SimulatedBackend::reset(SlotId slot) {
  require(!in_flight_, "a batch is in flight");
  slots_.at(static_cast<std::size_t>(slot)) = {1, 0, std::nullopt, true, num_steps_};
}

void SimulatedBackend::copy(SlotId from, SlotId to, std::int64_t position) {
  require(!in_flight_, "a batch is in flight");
  slots_.at(static_cast<std::size_t>(to)) = defined_slot(from, position);
  slots_[static_cast<std::size_t>(to)].last_step = num_steps_;
}

void SimulatedBackend::rewind(SlotId, std::int64_t, std::int64_t) {
  require(false, "rewind is not simulated");
}

void SimulatedBackend::save(SlotId slot, std::int64_t position, std::span<std::byte> bytes) const {
  require(bytes.size() == state_bytes(config(), position), "save: wrong size");
  if (on_save) on_save();
  const Slot& found = const_cast<SimulatedBackend*>(this)->defined_slot(slot, position);
  std::memcpy(bytes.data(), &found.hash, sizeof found.hash);
}

void SimulatedBackend::load(SlotId slot, std::int64_t position, std::span<const std::byte> bytes) {
  require(bytes.size() == state_bytes(config(), position), "load: wrong size");
  Slot& loaded = slots_.at(static_cast<std::size_t>(slot));
  loaded = {0, position, std::nullopt, true, num_steps_};
  std::memcpy(&loaded.hash, bytes.data(), sizeof loaded.hash);
}

void SimulatedBackend::submit(std::span<const Segment> batch) {
  require(!in_flight_ && !batch.empty(), "a batch in flight, or an empty one");
  std::set<SlotId> seen;
  std::size_t num_tokens = 0;
  for (const Segment& segment : batch) {
    require(seen.insert(segment.slot).second, "the same slot twice");
    require(segment.num_tokens() > 0, "a segment without tokens");
    num_tokens += segment.num_tokens();
    const Slot& slot = defined_slot(segment.slot, segment.position);
    require(!segment.token_from_last_sample || slot.last_sampled, "nothing was sampled in this slot");
  }
  require(num_tokens <= info_.max_batch_tokens, "more than max_batch_tokens");
  in_flight_ = true;
  failure_ = nullptr;
  ++num_steps_;
  for (const Segment& segment : batch) {
    Slot& slot = slots_[static_cast<std::size_t>(segment.slot)];
    longest_wait_ = std::max(longest_wait_, num_steps_ - std::exchange(slot.last_step, num_steps_));
  }
  now_ += cost_.per_step + cost_.per_token * static_cast<std::int64_t>(num_tokens);
  try {
    if (on_step) on_step(batch);
  } catch (const std::exception&) {
    failure_ = std::current_exception();
    for (const Segment& segment : batch) slots_[static_cast<std::size_t>(segment.slot)].defined = false;
    return;
  }
  results_.assign(batch.size(), {});
  target_log_probs_.assign(batch.size(), {});
  top_.assign(batch.size(), {});
  for (std::size_t i = 0; i < batch.size(); ++i) compute(batch[i], i);
}

std::span<const SegmentResult> SimulatedBackend::wait() {
  require(in_flight_, "no batch in flight");
  in_flight_ = false;
  if (failure_ != nullptr) std::rethrow_exception(failure_);
  return results_;
}

void SimulatedBackend::compute(const Segment& segment, std::size_t index) {
  Slot& slot = slots_[static_cast<std::size_t>(segment.slot)];
  const Wanted& wanted = segment.wanted;
  const float broken = is_broken && is_broken(segment) ? std::numeric_limits<float>::quiet_NaN() : 0.0F;
  for (std::size_t row = 0; row < segment.num_tokens(); ++row) {
    const TokenId id = segment.token_from_last_sample ? *slot.last_sampled : segment.tokens[row];
    slot.hash = mix(slot.hash, static_cast<std::uint64_t>(id));
    const bool last = row + 1 == segment.num_tokens();
    if (wanted.log_probs == Rows::kNone || (wanted.log_probs == Rows::kLast && !last)) continue;
    const std::size_t first_target = target_log_probs_[index].size();
    for (std::size_t t = 0; t < wanted.targets_per_row; ++t) {
      target_log_probs_[index].push_back(log_prob_of(slot.hash, wanted.targets[first_target + t]) + broken);
    }
    for (std::size_t n = 0; n < wanted.top_n; ++n) {
      const auto id_n = static_cast<TokenId>(mix(slot.hash, n) % kVocabSize);
      top_[index].push_back({id_n, log_prob_of(slot.hash, id_n)});
    }
  }
  slot.position += static_cast<std::int64_t>(segment.num_tokens());
  slot.last_sampled.reset();
  SegmentResult& result = results_[index];
  result.target_log_probs = target_log_probs_[index];
  result.top = top_[index];
  if (wanted.sample == nullptr) return;
  result.sampled.id = draw(slot, wanted);
  result.sampled.log_prob = log_prob_of(slot.hash, result.sampled.id) + broken;
  slot.last_sampled = result.sampled.id;
}

// Depends on everything that a real draw depends on.
TokenId SimulatedBackend::draw(const Slot& slot, const Wanted& wanted) const {
  std::uint64_t key = mix(slot.hash, wanted.sample->seed);
  key = mix(key, wanted.sample->choice);
  key = mix(key, static_cast<std::uint64_t>(slot.position));
  for (const TokenCount& count : wanted.counts) {
    key = mix(key, static_cast<std::uint64_t>(count.id) + count.in_window + 100 * count.in_output);
  }
  TokenId id = static_cast<TokenId>(key % kVocabSize);
  while (std::ranges::find(wanted.banned, id) != wanted.banned.end()) id = (id + 1) % TokenId{kVocabSize};
  return id;
}

}  // namespace ttt::test
