// SPDX-License-Identifier: Apache-2.0
// What the checks share: a backend with its model, results that own their numbers, and the way to report
// a violation.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "engine/state_layout.h"
#include "tests/contract/backend_contract.h"
#include "tests/random.h"
#include "tests/same_bits.h"

namespace ttt::contract {

using test::same_bits;

class Violation : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

template <typename... Args>
void require(bool condition, fmt::format_string<Args...> text, Args&&... args) {
  if (!condition) throw Violation(fmt::format(text, std::forward<Args>(args)...));
}

// Calls `action`, which breaks a precondition.
template <typename Action>
void require_logic_error(Action&& action, const std::string& what) {
  try {
    action();
  } catch (const std::logic_error&) {
    return;
  } catch (const std::exception& error) {
    throw Violation(
        fmt::format("{}: wanted std::logic_error, got another exception: {}", what, error.what()));
  }
  throw Violation(fmt::format("{}: accepted", what));
}

using Bytes = std::vector<std::byte>;

struct Result {
  std::vector<float> logits, target_log_probs, inner_losses;
  std::vector<TokenLogProb> top;
  TokenLogProb sampled;
};

inline Result own(const SegmentResult& view) {
  const auto copy = [](auto span) { return std::vector(span.begin(), span.end()); };
  return {copy(view.logits), copy(view.target_log_probs), copy(view.inner_losses), copy(view.top),
          view.sampled};
}

inline Wanted all_logits() {
  Wanted wanted;
  wanted.logits = Rows::kAll;
  return wanted;
}

inline Segment segment(SlotId slot, std::int64_t position, std::span<const TokenId> tokens,
                       const Wanted& wanted = {}) {
  Segment result;
  result.slot = slot;
  result.position = position;
  result.tokens = tokens;
  result.wanted = wanted;
  return result;
}

struct Sizes {
  std::size_t num_slots = 4;
  std::size_t max_batch_tokens = 0;  // 0: five mini-batches and 16
  std::size_t max_logits_rows = 0;   // 0: as many
  std::size_t num_threads = 1;
};

class Driver {
 public:
  explicit Driver(const Subject& subject, Sizes sizes = {})
      : config(subject.model.config),
        K(static_cast<std::int64_t>(config.mini_batch_size)),
        V(config.vocab_size),
        max_tokens(sizes.max_batch_tokens == 0 ? 5 * config.mini_batch_size + 16 : sizes.max_batch_tokens),
        backend(subject.make(subject.model, sizes.num_slots, max_tokens,
                             sizes.max_logits_rows == 0 ? max_tokens : sizes.max_logits_rows,
                             sizes.num_threads)) {
    for (std::size_t slot = 0; slot < sizes.num_slots; ++slot) backend->reset(static_cast<SlotId>(slot));
  }

  std::vector<Result> step(std::span<const Segment> batch) const {
    backend->submit(batch);
    const std::span<const SegmentResult> views = backend->wait();
    require(views.size() == batch.size(), "{} results for {} segments", views.size(), batch.size());
    std::vector<Result> results;
    for (const SegmentResult& view : views) results.push_back(own(view));
    return results;
  }
  Result read(SlotId slot, std::int64_t position, std::span<const TokenId> tokens,
              const Wanted& wanted = {}) const {
    const Segment one = segment(slot, position, tokens, wanted);
    return step({&one, 1})[0];
  }
  // Reads from the beginning.
  Result start(SlotId slot, std::span<const TokenId> tokens, const Wanted& wanted = {}) const {
    backend->reset(slot);
    return tokens.empty() ? Result{} : read(slot, 0, tokens, wanted);
  }
  Bytes save(SlotId slot, std::int64_t position) const {
    Bytes bytes(state_bytes(config, position));
    backend->save(slot, position, bytes);
    return bytes;
  }

  const ModelConfig& config;
  const std::int64_t K;  // mini-batch size
  const std::size_t V;   // vocabulary
  const std::size_t max_tokens;
  const std::unique_ptr<Backend> backend;
};

inline std::int64_t length(std::span<const TokenId> tokens) {
  return static_cast<std::int64_t>(tokens.size());
}

// One sequence with what it must give: logits [tokens, V] of one undivided read, and the state after every
// number of tokens.
struct Reference {
  Reference(const Driver& driver, std::uint64_t seed, std::size_t num_tokens)
      : tokens(test::Random(seed).tokens(num_tokens, driver.V)), V(driver.V) {
    logits = driver.start(0, tokens, all_logits()).logits;
    driver.backend->reset(0);
    states.push_back(driver.save(0, 0));
    for (std::int64_t position = 0; position < length(tokens); ++position) {
      driver.read(0, position, part(position, position + 1));
      states.push_back(driver.save(0, position + 1));
    }
  }

  std::span<const TokenId> part(std::int64_t begin, std::int64_t end) const {
    return std::span(tokens).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
  }
  std::span<const float> logits_of(std::int64_t begin, std::int64_t end) const {
    return std::span(logits).subspan(static_cast<std::size_t>(begin) * V,
                                     static_cast<std::size_t>(end - begin) * V);
  }
  const Bytes& state_at(std::int64_t position) const { return states[static_cast<std::size_t>(position)]; }

  std::vector<TokenId> tokens;
  std::size_t V;
  std::vector<float> logits;
  std::vector<Bytes> states;
};

// The lists of all_checks(), by subject.
std::vector<Check> state_checks();
std::vector<Check> exactness_checks();
std::vector<Check> result_checks();
std::vector<Check> refusal_checks();
std::vector<Check> allocation_checks();

}  // namespace ttt::contract
