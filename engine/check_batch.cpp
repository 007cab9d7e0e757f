// SPDX-License-Identifier: Apache-2.0
#include "engine/check_batch.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <utility>

#include "engine/sampling_params.h"
#include "weights/checked.h"

namespace ttt {
namespace {

constexpr auto require = require_precondition;

void check_wanted(const Segment& segment, std::size_t vocab_size) {
  const auto in_vocabulary = [&](TokenId id) { return id >= 0 && static_cast<std::size_t>(id) < vocab_size; };
  require(std::ranges::all_of(segment.tokens, in_vocabulary), "submit: a token id out of range");
  const Wanted& wanted = segment.wanted;
  require(std::ranges::all_of(wanted.targets, in_vocabulary), "submit: a target id out of range");
  const auto num_targets = weights::checked_mul(segment.num_rows(wanted.log_probs), wanted.targets_per_row);
  require(num_targets == wanted.targets.size(), "submit: targets.size() is not rows * targets_per_row");
  require(wanted.top_n <= vocab_size, "submit: top_n is larger than the vocabulary");
  if (wanted.sample == nullptr) return;
  require(!find_fault(*wanted.sample, vocab_size), "submit: a sampling parameter out of range");
  require(std::ranges::all_of(wanted.counts, in_vocabulary, &TokenCount::id),
          "submit: a counted id out of range");
  require(std::ranges::all_of(wanted.banned, in_vocabulary), "submit: a banned id out of range");
}

void check_segment(const Segment& segment, std::size_t vocab_size,
                   std::span<const std::optional<TokenId>> last_sampled) {
  require(segment.slot >= 0 && static_cast<std::size_t>(segment.slot) < last_sampled.size(),
          "submit: slot out of range");
  constexpr std::int64_t kMaxPosition = std::numeric_limits<std::int64_t>::max();
  require(segment.position >= 0 && std::cmp_less_equal(segment.num_tokens(), kMaxPosition - segment.position),
          "submit: a position out of range");
  if (segment.token_from_last_sample) {
    require(segment.tokens.empty(), "submit: both tokens and token_from_last_sample");
    require(last_sampled[static_cast<std::size_t>(segment.slot)].has_value(),
            "submit: nothing was sampled in this slot");
  }
  require(segment.num_tokens() > 0, "submit: a segment without tokens");
  check_wanted(segment, vocab_size);
}

}  // namespace

void require_precondition(bool condition, const char* what) {
  if (!condition) throw std::logic_error(what);
}

void check_batch(std::span<const Segment> batch, const ModelConfig& config, const BackendInfo& info,
                 std::span<const std::optional<TokenId>> last_sampled) {
  require(!batch.empty() && batch.size() <= info.num_slots,
          "submit: no segment, or more than there are slots");
  std::size_t num_tokens = 0;
  std::size_t num_logits_rows = 0;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    check_segment(batch[i], config.vocab_size, last_sampled);
    num_tokens += batch[i].num_tokens();
    num_logits_rows += batch[i].num_rows(batch[i].wanted.logits);
    for (std::size_t j = 0; j < i; ++j)
      require(batch[i].slot != batch[j].slot, "submit: the same slot twice");
  }
  require(num_tokens <= info.max_batch_tokens, "submit: more than max_batch_tokens");
  require(num_logits_rows <= info.max_logits_rows, "submit: more than max_logits_rows");
}

}  // namespace ttt
