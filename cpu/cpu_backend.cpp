// SPDX-License-Identifier: Apache-2.0
#include "cpu/cpu_backend.h"

#include <algorithm>
#include <optional>
#include <span>
#include <vector>

#include "cpu/cpu_weights.h"
#include "cpu/dispatch.h"
#include "cpu/forward.h"
#include "cpu/processors.h"
#include "cpu/state_pool.h"
#include "cpu/thread_pool.h"
#include "engine/check_batch.h"
#include "engine/mini_batch.h"
#include "engine/sampler.h"
#include "engine/state_layout.h"

namespace ttt::cpu {
namespace {

constexpr auto require = require_precondition;

std::size_t num_threads(const CpuOptions& options) {
  return options.num_threads == 0 ? available_processors() : options.num_threads;
}

std::size_t workspace_bytes(const ModelConfig& config, const CpuOptions& options, std::size_t num_threads) {
  return Workspace::bytes(config, options.max_batch_tokens, num_threads) +
         options.max_logits_rows * config.vocab_size * sizeof(float) +
         num_threads * Sampler::bytes(config.vocab_size);
}

// A row of the batch of which the logits are needed.
struct OutputRow {
  std::size_t segment = 0;
  std::size_t row = 0;  // within the segment
};

class CpuBackend final : public Backend {
 public:
  CpuBackend(const Model& model, const CpuOptions& options);

  const BackendInfo& info() const override { return info_; }
  void reset(SlotId slot) override;
  void copy(SlotId from, SlotId to, std::int64_t position) override;
  void rewind(SlotId slot, std::int64_t from, std::int64_t to) override;
  void save(SlotId slot, std::int64_t position, std::span<std::byte> bytes) const override;
  void load(SlotId slot, std::int64_t position, std::span<const std::byte> bytes) override;
  void submit(std::span<const Segment> batch) override;
  std::span<const SegmentResult> wait() override;

 private:
  void require_slot(SlotId slot) const;
  void resolve(std::span<const Segment> batch);
  void lay_out_results(std::span<const Segment> batch);
  void compute_outputs();
  void finish_row(const OutputRow& output, std::span<const float> logits, Sampler& sampler);

  // Where a segment's results begin in the buffers below.
  struct ResultPlaces {
    std::size_t logits, targets, top;
  };

  const ModelConfig& config_;
  BackendInfo info_;
  ThreadPool pool_;
  CpuWeights weights_;
  StatePool states_;
  Forward forward_;
  std::vector<Sampler> samplers_;  // one per thread

  std::vector<std::optional<TokenId>> last_sampled_;  // of each slot
  bool in_flight_ = false;
  std::vector<ResolvedSegment> segments_;
  std::vector<TokenId> fed_back_;  // [segments] ids of token_from_last_sample
  std::vector<OutputRow> output_rows_;
  std::vector<std::size_t> head_rows_;
  std::vector<ResultPlaces> places_;
  // Results; they grow to what was asked for and stay.
  std::vector<SegmentResult> results_;
  std::vector<float> logits_;
  std::vector<float> target_log_probs_;
  std::vector<TokenLogProb> top_;
};

CpuBackend::CpuBackend(const Model& model, const CpuOptions& options)
    : config_(model.config),
      pool_(num_threads(options), options.min_parallel_work, options.pin_threads),
      weights_(model, pool_, options.packed_cache),
      states_(model.config, options.num_slots),
      forward_(weights_, states_, pool_, options.max_batch_tokens),
      samplers_(pool_.num_threads(), Sampler(model.config.vocab_size)),
      last_sampled_(options.num_slots),
      logits_(options.max_logits_rows * model.config.vocab_size) {
  require(options.num_slots > 0 && options.max_batch_tokens > 0,
          "make_cpu_backend: needs a slot and room for a token");
  segments_.reserve(options.num_slots);
  fed_back_.reserve(options.num_slots);
  places_.reserve(options.num_slots);
  results_.reserve(options.num_slots);
  output_rows_.reserve(options.max_batch_tokens);
  head_rows_.reserve(kHeadRows);
  info_.device = "cpu";
  info_.device_name = processor_name();
  info_.dispatch_target = dispatch_target();
  info_.num_slots = options.num_slots;
  info_.max_batch_tokens = options.max_batch_tokens;
  info_.max_logits_rows = options.max_logits_rows;
  info_.num_threads = pool_.num_threads();
  info_.slot_bytes = states_.slot_bytes();
  info_.weights_bytes = weights_.bytes;
  info_.workspace_bytes = workspace_bytes(config_, options, pool_.num_threads());
}

void CpuBackend::require_slot(SlotId slot) const {
  require(slot >= 0 && static_cast<std::size_t>(slot) < info_.num_slots, "Backend: slot out of range");
  require(!in_flight_, "Backend: a batch is in flight");
}

void CpuBackend::reset(SlotId slot) {
  require_slot(slot);
  states_.reset(slot, weights_);
  last_sampled_[static_cast<std::size_t>(slot)].reset();
}

void CpuBackend::copy(SlotId from, SlotId to, std::int64_t position) {
  require_slot(from);
  require_slot(to);
  require(position >= 0, "copy: negative position");
  states_.copy(from, to);
  last_sampled_[static_cast<std::size_t>(to)] = last_sampled_[static_cast<std::size_t>(from)];
}

// Open rows and convolution inputs lie in the order of their tokens, and the number that counts follows
// from the position: there is nothing to do but to check.
void CpuBackend::rewind(SlotId slot, std::int64_t from, std::int64_t to) {
  require_slot(slot);
  require(same_mini_batch(from, to, config_.mini_batch_size), "rewind: only inside the open mini-batch");
  if (from != to) last_sampled_[static_cast<std::size_t>(slot)].reset();
}

void CpuBackend::save(SlotId slot, std::int64_t position, std::span<std::byte> bytes) const {
  require_slot(slot);
  require(position >= 0 && bytes.size() == state_bytes(config_, position), "save: wrong number of bytes");
  states_.save(slot, position, bytes);
}

void CpuBackend::load(SlotId slot, std::int64_t position, std::span<const std::byte> bytes) {
  require_slot(slot);
  require(position >= 0 && bytes.size() == state_bytes(config_, position), "load: wrong number of bytes");
  states_.load(slot, position, bytes);
  last_sampled_[static_cast<std::size_t>(slot)].reset();
}

void CpuBackend::submit(std::span<const Segment> batch) {
  require(!in_flight_, "submit: a batch is in flight");
  check_batch(batch, config_, info_, last_sampled_);
  lay_out_results(batch);
  resolve(batch);
  forward_.run(segments_);
  compute_outputs();
  in_flight_ = true;
}

std::span<const SegmentResult> CpuBackend::wait() {
  require(in_flight_, "wait: no batch in flight");
  in_flight_ = false;
  return results_;
}

void CpuBackend::resolve(std::span<const Segment> batch) {
  segments_.clear();
  fed_back_.clear();  // its capacity was reserved: the spans below stay valid
  output_rows_.clear();
  std::size_t first_row = 0;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const Segment& segment = batch[i];
    std::span<const TokenId> tokens = segment.tokens;
    std::optional<TokenId>& last = last_sampled_[static_cast<std::size_t>(segment.slot)];
    if (segment.token_from_last_sample) {
      fed_back_.push_back(*last);
      tokens = std::span(fed_back_).last(1);
    }
    last.reset();
    segments_.push_back({segment, tokens, first_row});
    first_row += tokens.size();
    const Wanted& wanted = segment.wanted;
    const bool all = wanted.logits == Rows::kAll || wanted.log_probs == Rows::kAll;
    const bool any =
        all || wanted.logits == Rows::kLast || wanted.log_probs == Rows::kLast || wanted.sample != nullptr;
    for (std::size_t row = all ? 0 : tokens.size() - 1; any && row < tokens.size(); ++row)
      output_rows_.push_back({i, row});
  }
}

// May throw std::bad_alloc, and changes no slot.
void CpuBackend::lay_out_results(std::span<const Segment> batch) {
  places_.clear();
  ResultPlaces next{};
  for (const Segment& segment : batch) {
    places_.push_back(next);
    next.logits += segment.num_rows(segment.wanted.logits) * config_.vocab_size;
    next.targets += segment.wanted.targets.size();
    next.top += segment.num_rows(segment.wanted.log_probs) * segment.wanted.top_n;
  }
  target_log_probs_.resize(std::max(target_log_probs_.size(), next.targets));
  top_.resize(std::max(top_.size(), next.top));
  results_.clear();
  std::size_t first_row = 0;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const Segment& segment = batch[i];
    const Wanted& wanted = segment.wanted;
    SegmentResult result;
    result.logits =
        std::span(logits_).subspan(places_[i].logits, segment.num_rows(wanted.logits) * config_.vocab_size);
    result.target_log_probs = std::span(target_log_probs_).subspan(places_[i].targets, wanted.targets.size());
    result.top = std::span(top_).subspan(places_[i].top, segment.num_rows(wanted.log_probs) * wanted.top_n);
    if (wanted.inner_losses) result.inner_losses = forward_.losses(first_row, segment.num_tokens());
    results_.push_back(result);
    first_row += segment.num_tokens();
  }
}

void CpuBackend::compute_outputs() {
  for (std::size_t first = 0; first < output_rows_.size(); first += kHeadRows) {
    const std::size_t count = std::min(kHeadRows, output_rows_.size() - first);
    head_rows_.clear();
    for (const OutputRow& output : std::span(output_rows_).subspan(first, count)) {
      head_rows_.push_back(segments_[output.segment].first_row + output.row);
    }
    const std::span<const float> logits = forward_.head(head_rows_);
    pool_.for_tasks(count, config_.vocab_size, [&](std::size_t i, std::size_t thread) {
      finish_row(output_rows_[first + i], logits.subspan(i * config_.vocab_size, config_.vocab_size),
                 samplers_[thread]);
    });
  }
}

// Everything that is wanted of one row; rows write to places of their own.
void CpuBackend::finish_row(const OutputRow& output, std::span<const float> logits, Sampler& sampler) {
  const ResolvedSegment& resolved = segments_[output.segment];
  const Wanted& wanted = resolved.segment.wanted;
  const ResultPlaces& places = places_[output.segment];
  const bool is_last = output.row + 1 == resolved.tokens.size();
  // Index of this row among those for which `rows` asks, if it is one of them.
  const auto index_in = [&](Rows rows) -> std::optional<std::size_t> {
    if (rows == Rows::kAll) return output.row;
    if (rows == Rows::kLast && is_last) return 0;
    return std::nullopt;
  };
  if (const auto index = index_in(wanted.logits)) {
    std::ranges::copy(
        logits, logits_.begin() + static_cast<std::ptrdiff_t>(places.logits + *index * config_.vocab_size));
  }
  const bool draws = is_last && wanted.sample != nullptr;
  const auto log_probs_index = index_in(wanted.log_probs);
  const double normaliser = draws || log_probs_index ? log_sum_exp(logits) : 0.0;
  if (const auto index = log_probs_index) {
    for (std::size_t t = *index * wanted.targets_per_row; t < (*index + 1) * wanted.targets_per_row; ++t)
      target_log_probs_[places.targets + t] = log_prob(logits, wanted.targets[t], normaliser);
    top_log_probs(logits, normaliser,
                  std::span(top_).subspan(places.top + *index * wanted.top_n, wanted.top_n));
  }
  if (draws) {
    const std::int64_t position =
        resolved.segment.position + static_cast<std::int64_t>(resolved.tokens.size());
    const TokenId id = sampler.sample(logits, *wanted.sample, wanted.counts, wanted.banned, position);
    results_[output.segment].sampled = {id, log_prob(logits, id, normaliser)};
    last_sampled_[static_cast<std::size_t>(resolved.segment.slot)] = id;
  }
}

}  // namespace

MemoryPlan plan_memory(const Model& model, const CpuOptions& options) {
  return {.weights = CpuWeights::planned_bytes(model),
          .fetched = CpuWeights::planned_fetch_bytes(model),
          .states = options.num_slots * StatePool::slot_bytes(model.config),
          .workspace = workspace_bytes(model.config, options, num_threads(options))};
}

std::unique_ptr<Backend> make_cpu_backend(const Model& model, const CpuOptions& options) {
  choose_target(options.cpu_target);
  return std::make_unique<CpuBackend>(model, options);
}

}  // namespace ttt::cpu
