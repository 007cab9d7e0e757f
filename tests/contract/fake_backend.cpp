// SPDX-License-Identifier: Apache-2.0
#include "tests/contract/fake_backend.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>
#include <stdexcept>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/mini_batch.h"
#include "engine/sampler.h"
#include "engine/state_layout.h"
#include "tests/golden.h"

namespace ttt::contract {
namespace {

using Floats = std::vector<float>;

struct LayerState {
  Floats pre_conv, qk_conv, fast_weights, open_rows;
  std::array<Floats*, 4> parts() { return {&pre_conv, &qk_conv, &fast_weights, &open_rows}; }
};

struct Slot {
  std::vector<LayerState> layers;
  TokenId last_sample = -1;
};

struct OwnedResult {
  Floats logits, target_log_probs, inner_losses;
  std::vector<TokenLogProb> top;
  TokenLogProb sampled;
  void clear() {
    logits.clear();
    target_log_probs.clear();
    inner_losses.clear();
    top.clear();
    sampled = {};
  }
};

// Rules of submit_preconditions() and the parameter that each is about.
constexpr std::pair<const char*, const char*> kSampledRules[] = {
    {"a negative temperature", "temperature"},
    {"a top_p that is NaN", "top_p"},
    {"a negative top_k", "top_k"},
    {"a repetition penalty of 0", "repetition_penalty"},
    {"a bias past the vocabulary", "logit_bias"},
    {"a banned token past the vocabulary", "banned"},
    {"an allowed token below 0", "allowed"},
};

void drop_front(Floats& values, std::size_t keep) {
  if (values.size() > keep) values.erase(values.begin(), values.end() - static_cast<std::ptrdiff_t>(keep));
}

void drop_back(Floats& values, std::size_t count) {
  values.resize(values.size() - std::min(count, values.size()));
}

class FakeBackend : public Backend {
 public:
  FakeBackend(const Model& model, const BackendInfo& info, const FakeOptions& options)
      : model_(model),
        config_(model.config),
        options_(options),
        info_(info),
        sampler_(config_.vocab_size),
        results_(info.num_slots),
        views_(info.num_slots) {
    for (std::size_t slot = 0; slot < info.num_slots; ++slot) {
      slots_.push_back(std::make_shared<Slot>());
      slots_.back()->layers.resize(config_.num_hidden_layers);
      for (LayerState& layer : slots_.back()->layers) {
        const std::size_t conv = (config_.conv_kernel + config_.mini_batch_size) * config_.hidden_size;
        layer.pre_conv.reserve(conv);
        layer.qk_conv.reserve(conv);
        layer.open_rows.reserve(config_.mini_batch_size * open_row_floats(config_));
      }
    }
    for (OwnedResult& result : results_) {
      result.logits.reserve(info.max_logits_rows * config_.vocab_size);
      result.target_log_probs.reserve(3 * info.max_batch_tokens);
      result.top.reserve(info.max_batch_tokens * config_.vocab_size);
      result.inner_losses.reserve(info.max_batch_tokens * config_.num_hidden_layers *
                                  config_.num_attention_heads);
    }
    row_.resize(open_row_floats(config_));
    logits_.resize(config_.vocab_size);
    ids_.reserve(config_.vocab_size);
  }

  const BackendInfo& info() const override { return info_; }

  void reset(SlotId id) override {
    Slot& slot = at(id);
    for (std::size_t l = 0; l < slot.layers.size(); ++l) {
      LayerState& layer = slot.layers[l];
      const std::size_t conv = (config_.conv_kernel - 1) * config_.hidden_size;
      if (!has(Bug::kResetKeepsConvInputs) || layer.fast_weights.empty()) {
        layer.pre_conv.assign(config_.pre_conv ? conv : 0, 0.0F);
        layer.qk_conv.assign(config_.share_qk ? conv : 0, 0.0F);
      } else {
        drop_front(layer.pre_conv, conv);
        drop_front(layer.qk_conv, conv);
      }
      if (!has(Bug::kResetKeepsOpenRows)) layer.open_rows.clear();
      initial_fast_weights(model_.layers[l], layer.fast_weights);
    }
    slot.last_sample = -1;
    if (has(Bug::kResetClearsResults)) {
      for (OwnedResult& result : results_) std::ranges::fill(result.logits, 0.0F);
    }
  }

  void copy(SlotId from, SlotId to, std::int64_t) override {
    at(to);
    if (has(Bug::kCopyAliases)) slots_[index(to)] = slots_[index(from)];
    if (has(Bug::kCopyAllocates)) at(to).layers = std::vector<LayerState>(at(to).layers.size());
    for (std::size_t layer = 0; layer < config_.num_hidden_layers; ++layer)
      at(to).layers[layer] = at(from).layers[layer];
    if (!has(Bug::kCopyForgetsOpenRows)) return;
    for (LayerState& layer : at(to).layers) std::ranges::fill(layer.open_rows, 0.0F);
  }

  void rewind(SlotId id, std::int64_t from, std::int64_t to) override {
    if (!same_mini_batch(from, to, config_.mini_batch_size) && !has(Bug::kRewindAcrossCommit)) {
      throw std::logic_error("rewind crosses a commit");
    }
    auto count = static_cast<std::size_t>(std::max<std::int64_t>(from - to, 0));
    if (has(Bug::kRewindOneShort) && count > 2) --count;
    for (LayerState& layer : at(id).layers) {
      drop_back(layer.open_rows, count * row_.size());
      const std::size_t conv = count * config_.hidden_size;
      for (Floats* inputs : {&layer.pre_conv, &layer.qk_conv}) {
        if (has(Bug::kRewindNeedsOwnRows) && loaded_ == id) std::ranges::fill(*inputs, 0.0F);
        has(Bug::kRewindKeepsConvInputs)
            ? drop_front(*inputs, inputs->size() - std::min(conv, inputs->size()))
            : drop_back(*inputs, conv);
      }
    }
  }

  void save(SlotId id, std::int64_t position, std::span<std::byte> bytes) const override {
    check_size(bytes.size(), position);
    std::size_t offset = 0;
    for (LayerState& layer : at(id).layers) {
      for (Floats* part : layer.parts()) {
        const std::size_t size = std::min(part->size() * sizeof(float), bytes.size() - offset);
        if (size > 0) std::memcpy(bytes.data() + offset, part->data(), size);
        offset += size;
      }
      const std::size_t row = row_.size() * sizeof(float);
      if (has(Bug::kSaveOmitsLastOpenRow) && !layer.open_rows.empty())
        std::memset(bytes.data() + offset - row, 0, row);
      if (has(Bug::kSaveCommits)) commit(layer, 0.5F);
    }
  }

  void load(SlotId id, std::int64_t position, std::span<const std::byte> bytes) override {
    check_size(bytes.size(), position);
    std::size_t phase = phase_of(position, config_.mini_batch_size);
    Slot& slot = at(id);
    if (has(Bug::kLoadKeepsPhase) && !slot.layers[0].fast_weights.empty())
      phase = slot.layers[0].open_rows.size() / row_.size();
    const std::size_t conv = (config_.conv_kernel - 1 + phase) * config_.hidden_size;
    std::size_t offset = 0;
    for (LayerState& layer : slot.layers) {
      LayerState before;
      if (has(Bug::kLoadKeepsConvInputs)) before = layer;
      layer.pre_conv.resize(config_.pre_conv ? conv : 0);
      layer.qk_conv.resize(config_.share_qk ? conv : 0);
      layer.fast_weights.resize(fast_weight_floats(config_));
      layer.open_rows.resize(phase * row_.size());
      for (Floats* part : layer.parts()) {
        const std::size_t size = std::min(part->size() * sizeof(float), bytes.size() - offset);
        if (size > 0) std::memcpy(part->data(), bytes.data() + offset, size);
        offset += size;
      }
      if (before.pre_conv.size() == layer.pre_conv.size()) std::swap(layer.pre_conv, before.pre_conv);
    }
    slot.last_sample = -1;
    loaded_ = id;
  }

  void submit(std::span<const Segment> batch) override {
    if (in_flight_ && !has(Bug::kSecondBatchTaken)) throw std::logic_error("a batch is in flight");
    if (!has(Bug::kRulesCheckedLate)) check(batch);
    for (std::size_t i = 0; i < std::min(batch.size(), results_.size()); ++i) {
      if (has(Bug::kRulesCheckedLate) && i + 1 == batch.size()) check(batch);
      run(batch[i], i);
    }
    num_results_ = std::min(batch.size(), results_.size());
    in_flight_ = true;
  }

  std::span<const SegmentResult> wait() override {
    if (!in_flight_) throw std::logic_error("no batch is in flight");
    in_flight_ = false;
    for (std::size_t i = 0; i < num_results_; ++i) {
      const OwnedResult& result = results_[i];
      views_[i] = {result.logits, result.target_log_probs, result.top, result.sampled, result.inner_losses};
    }
    return std::span(views_).first(num_results_);
  }

 private:
  bool has(Bug bug) const { return options_.bug == bug; }

  std::size_t index(SlotId id) const { return static_cast<std::size_t>(id) % slots_.size(); }
  Slot& at(SlotId id) const {
    const bool in_range = id >= 0 && static_cast<std::size_t>(id) < slots_.size();
    if (!in_range && !has(Bug::kSlotUnchecked) && options_.skipped_rule.empty())
      throw std::logic_error("slot out of range");
    return *slots_[index(id)];
  }

  void check_size(std::size_t size, std::int64_t position) const {
    if (size != state_bytes(config_, position) && !has(Bug::kSizeUnchecked))
      throw std::logic_error("size of a state");
  }

  void rule(std::string_view name, bool kept) const {
    if (!kept && options_.skipped_rule != name) throw std::logic_error("refused: " + std::string(name));
  }

  // One rule for each name of submit_preconditions().
  void check(std::span<const Segment> batch) const {
    const auto vocabulary = static_cast<TokenId>(config_.vocab_size);
    std::size_t num_tokens = 0, num_logits_rows = 0;
    for (const Segment& segment : batch) {
      const Wanted& wanted = segment.wanted;
      const std::size_t num_targets = segment.num_rows(wanted.log_probs) * wanted.targets_per_row;
      rule("a slot below 0", segment.slot >= 0);
      rule("a slot past the last", segment.slot < static_cast<SlotId>(slots_.size()));
      rule("a slot named twice", std::ranges::count(batch, segment.slot, &Segment::slot) == 1);
      rule("a segment without tokens", segment.num_tokens() > 0);
      rule("a negative position", segment.position >= 0);
      rule("tokens beside a last sample", !segment.token_from_last_sample || segment.tokens.empty());
      rule("a last sample that was never drawn",
           !segment.token_from_last_sample || at(segment.slot).last_sample >= 0);
      for (const TokenId id : segment.tokens) {
        rule("a token below 0", id >= 0);
        rule("a token past the vocabulary", id < vocabulary);
      }
      rule("too few targets", wanted.targets.size() >= num_targets);
      rule("targets for no rows", wanted.targets.empty() || wanted.log_probs != Rows::kNone);
      rule("too many targets", wanted.targets.size() <= num_targets || wanted.log_probs == Rows::kNone);
      for (const TokenId id : wanted.targets) {
        rule("a target below 0", id >= 0);
        rule("a target past the vocabulary", id < vocabulary);
      }
      rule("a top longer than the vocabulary", wanted.top_n <= config_.vocab_size);
      check_sampled(wanted);
      num_tokens += segment.num_tokens();
      num_logits_rows += segment.num_rows(wanted.logits);
      if (has(Bug::kSmallResultsUseLogitsRows)) num_logits_rows += segment.num_rows(wanted.log_probs);
    }
    const std::size_t less = has(Bug::kLimitOneLess) ? 1 : 0;
    rule("more tokens than a batch holds", num_tokens <= info_.max_batch_tokens - less);
    rule("more rows of raw logits than a batch holds", num_logits_rows <= info_.max_logits_rows);
  }

  void check_sampled(const Wanted& wanted) const {
    if (wanted.sample == nullptr) return;
    const auto in_vocabulary = [this](TokenId id) {
      return id >= 0 && id < static_cast<TokenId>(config_.vocab_size);
    };
    const auto fault = find_fault(*wanted.sample, config_.vocab_size);
    for (const auto& [name, parameter] : kSampledRules) {
      rule(name, !fault || std::string_view(fault->parameter) != parameter);
    }
    rule("a counted id past the vocabulary",
         std::ranges::all_of(wanted.counts, in_vocabulary, &TokenCount::id));
    rule("a token banned in the step past the vocabulary", std::ranges::all_of(wanted.banned, in_vocabulary));
  }

  void initial_fast_weights(const LayerWeights& weights, Floats& fast_weights) const {
    fast_weights.clear();
    for (const auto* view :
         {&weights.inner_1_weight, &weights.inner_1_bias, &weights.inner_2_weight, &weights.inner_2_bias}) {
      const std::size_t size = fast_weights.size();
      fast_weights.resize(size + view->bytes.size() / sizeof(float));
      if (!view->bytes.empty())
        std::memcpy(fast_weights.data() + size, view->bytes.data(), view->bytes.size());
    }
    if (has(Bug::kResetToZeros)) std::ranges::fill(fast_weights, 0.0F);
  }

  void run(const Segment& segment, std::size_t place) {
    Slot& slot = at(segment.slot);
    OwnedResult& result = results_[place];
    const Wanted& wanted = segment.wanted;
    if (!has(Bug::kStaleResults)) result.clear();
    if (has(Bug::kAllocates)) row_ = Floats(row_.size());
    if (has(Bug::kSegmentsForgetConvInputs)) std::ranges::fill(slot.layers.back().qk_conv, 0.0F);
    if (has(Bug::kNeighbourWritten))
      slots_[(index(segment.slot) + 1) % slots_.size()]->layers[0].fast_weights[0] += 1.0F;
    const TokenId sampled = has(Bug::kLastSampleOfAnySlot) ? last_sample_ : slot.last_sample;
    const std::size_t num_tokens = segment.num_tokens();
    for (std::size_t i = 0; i < num_tokens; ++i) {
      const TokenId token = segment.token_from_last_sample ? sampled : segment.tokens[i];
      const std::size_t first_loss = result.inner_losses.size();
      const float x = read(slot, segment.position + static_cast<std::int64_t>(i), token, place,
                           wanted.inner_losses ? &result.inner_losses : nullptr);
      if (has(Bug::kLossesRestartWithSegment) && wanted.inner_losses && i == 0)
        result.inner_losses[first_loss] += 1.0F;
      // Ids 2j and 2j + 1 have equal logits.
      for (std::size_t v = 0; v < logits_.size(); ++v) {
        const std::size_t pair = v / 2;
        logits_[v] = 3.0F * std::sin(40.0F * x * static_cast<float>(1 + pair));
      }
      const bool is_last = i + 1 == num_tokens;
      const auto is_wanted = [&](Rows rows) {
        return rows == Rows::kAll || (rows == Rows::kLast && is_last);
      };
      if (is_wanted(wanted.logits) || (has(Bug::kLastIsFirst) && wanted.logits == Rows::kLast && i == 0)) {
        result.logits.insert(result.logits.end(), logits_.begin(), logits_.end());
        if (has(Bug::kLastIsFirst) && wanted.logits == Rows::kLast) result.logits.resize(logits_.size());
      }
      if (is_wanted(wanted.log_probs)) add_log_probs(wanted, result);
      if (is_last) draw_sample(segment, slot, result);
    }
    if (has(Bug::kLogitsChangeState) && wanted.logits == Rows::kAll) slot.layers[0].fast_weights[0] += 1.0F;
    if (has(Bug::kSegmentsCommit)) {
      for (LayerState& layer : slot.layers) layer.fast_weights[0] += 1e-3F;
    }
  }

  void add_log_probs(const Wanted& wanted, OwnedResult& result) {
    const double normaliser = has(Bug::kLogProbsUnnormalised) ? 0.0 : log_sum_exp(logits_);
    for (std::size_t i = 0;
         i < wanted.targets_per_row && result.target_log_probs.size() < wanted.targets.size(); ++i) {
      const auto target =
          static_cast<std::size_t>(wanted.targets[result.target_log_probs.size()]) % logits_.size();
      result.target_log_probs.push_back(static_cast<float>(logits_[target] - normaliser));
    }
    ids_.clear();
    for (std::size_t v = 0; v < logits_.size(); ++v) ids_.push_back(static_cast<TokenId>(v));
    std::ranges::sort(ids_, [&](TokenId a, TokenId b) {
      const float logit_a = logits_[static_cast<std::size_t>(a)],
                  logit_b = logits_[static_cast<std::size_t>(b)];
      return logit_a != logit_b ? logit_a > logit_b : has(Bug::kTiesToHighestId) ? a > b : a < b;
    });
    for (std::size_t i = 0; i < std::min(wanted.top_n, ids_.size()); ++i) {
      result.top.push_back(
          {ids_[i], static_cast<float>(logits_[static_cast<std::size_t>(ids_[i])] - normaliser)});
    }
  }

  void draw_sample(const Segment& segment, Slot& slot, OwnedResult& result) {
    if (!has(Bug::kSampleNeverForgotten)) slot.last_sample = -1;
    if (segment.wanted.sample == nullptr) return;
    const std::int64_t end = segment.position + static_cast<std::int64_t>(segment.num_tokens());
    const std::int64_t position = has(Bug::kSamplePositionOneShort) ? end - 1 : end;
    const Wanted& wanted = segment.wanted;
    TokenId id = 0;
    if (has_sampling_bug()) {
      id = draw_wrongly(wanted, position);
    } else if (options_.skipped_rule.empty()) {
      id = sampler_.sample(logits_, *wanted.sample, wanted.counts, wanted.banned, position);
    } else {  // what is wanted may be what the rule forbids
      id = sampler_.sample(logits_, {}, {}, {}, position);
    }
    result.sampled = {id, log_prob(logits_, id, log_sum_exp(logits_))};
    slot.last_sample = last_sample_ = id;
  }

  bool has_sampling_bug() const {
    return options_.bug >= Bug::kCountsIgnored && options_.bug <= Bug::kMinPBeforeTopP;
  }

  TokenId draw_wrongly(const Wanted& wanted, std::int64_t position) {
    SamplingParams params = *wanted.sample;
    if (has(Bug::kBannedIgnored)) params.banned.clear();
    if (has(Bug::kAllowedIgnored)) params.allowed.clear();
    if (has(Bug::kLogitBiasIgnored)) params.logit_bias.clear();
    if (has(Bug::kRepetitionPenaltyIgnored)) params.repetition_penalty = 1.0F;
    if (has(Bug::kPresencePenaltyIgnored)) params.presence_penalty = 0.0F;
    if (has(Bug::kFrequencyPenaltyIgnored)) params.frequency_penalty = 0.0F;
    if (has(Bug::kTopKIgnored)) params.top_k = 0;
    if (has(Bug::kTypicalPIgnored)) params.typical_p = 1.0F;
    if (has(Bug::kTopPIgnored)) params.top_p = 1.0F;
    if (has(Bug::kMinPIgnored)) params.min_p = 0.0F;
    const auto counts = has(Bug::kCountsIgnored) ? std::span<const TokenCount>() : wanted.counts;
    const auto banned = has(Bug::kStepBansIgnored) ? std::span<const TokenId>() : wanted.banned;
    SamplingParams first = params;
    if (has(Bug::kTopPBeforeTypicalP)) {
      first.typical_p = 1.0F;
      params.top_p = 1.0F;
    } else if (has(Bug::kMinPBeforeTopP)) {
      first.typical_p = first.top_p = 1.0F;
      params.min_p = 0.0F;
    }
    if (params.temperature > 0.0F) {  // what the first filters leave is all that the others see
      params.allowed.clear();
      for (const auto& [id, probability] : sampler_.distribution(logits_, first, counts, banned))
        params.allowed.push_back(id);
    }
    return sampler_.sample(logits_, params, counts, banned, position);
  }

  // The toy recurrence: a number that depends on all of the slot's state, and a row that depends on it.
  float read(Slot& slot, std::int64_t position, TokenId token, std::size_t place, Floats* losses) {
    if (has(Bug::kPositionIn32Bits)) position = static_cast<std::uint32_t>(position);
    const std::size_t phase = phase_of(position, config_.mini_batch_size);
    const bool commits = phase + 1 == config_.mini_batch_size;
    float x = 0.01F * static_cast<float>(token + 1);
    for (LayerState& layer : slot.layers) {
      if (config_.pre_conv) x += read_conv(layer.pre_conv, x, commits);
      if (config_.share_qk) x += read_conv(layer.qk_conv, x, commits);
      float memory = 0.0F;
      for (const float weight : layer.fast_weights) memory = 0.9F * memory + weight;
      for (std::size_t i = 0; i < layer.open_rows.size(); i += row_.size())
        memory = 0.7F * memory + layer.open_rows[i];
      if (has(Bug::kOrderInBatchMatters)) memory += 1e-3F * static_cast<float>(place);
      if (has(Bug::kThreadsMatter)) memory += 1e-3F * static_cast<float>(info_.num_threads - 1);
      if (has(Bug::kNanLeaks))
        memory += 0.0F * slots_[0]->layers[0].fast_weights[0] + 0.0F * slots_[2]->layers[0].fast_weights[0];
      x = std::tanh(0.5F * x + 0.3F * memory + 0.02F * static_cast<float>(phase));
      for (std::size_t i = 0; i < row_.size(); ++i) row_[i] = x + 0.001F * static_cast<float>(i);
      layer.open_rows.insert(layer.open_rows.end(), row_.begin(), row_.end());
      if (losses != nullptr) {
        for (std::size_t head = 0; head < config_.num_attention_heads; ++head)
          losses->push_back(x * x * static_cast<float>(head + 1));
      }
      if (commits) commit(layer, 0.1F);
    }
    return x;
  }

  float read_conv(Floats& inputs, float x, bool commits) const {
    for (std::size_t channel = 0; channel < config_.hidden_size; ++channel) {
      inputs.push_back(x + 0.01F * static_cast<float>(channel));
    }
    float sum = 0.0F;
    const std::size_t num_rows = inputs.size() / config_.hidden_size;
    for (std::size_t row = num_rows - std::min(num_rows, config_.conv_kernel); row < num_rows; ++row) {
      sum = 0.5F * sum + inputs[row * config_.hidden_size];
    }
    if (commits) drop_front(inputs, (config_.conv_kernel - 1) * config_.hidden_size);
    return 0.3F * sum;
  }

  void commit(LayerState& layer, float rate) const {
    for (std::size_t i = 0; i < layer.fast_weights.size(); ++i) {
      for (std::size_t row = 0; row < layer.open_rows.size(); row += row_.size()) {
        layer.fast_weights[i] -= rate * layer.open_rows[row + i % row_.size()];
      }
      layer.fast_weights[i] *= 0.9F;
    }
    layer.open_rows.clear();
  }

  const Model& model_;
  const ModelConfig& config_;
  FakeOptions options_;
  BackendInfo info_;
  Sampler sampler_;
  std::vector<std::shared_ptr<Slot>> slots_;
  std::vector<OwnedResult> results_;
  std::vector<SegmentResult> views_;
  std::size_t num_results_ = 0;
  bool in_flight_ = false;
  TokenId last_sample_ = -1;
  SlotId loaded_ = -1;
  Floats row_, logits_;
  std::vector<TokenId> ids_;
};

}  // namespace

std::unique_ptr<Backend> make_fake_backend(const Model& model, std::size_t num_slots,
                                           std::size_t max_batch_tokens, std::size_t max_logits_rows,
                                           std::size_t num_threads, const FakeOptions& options) {
  BackendInfo info;
  info.device = "fake";
  info.dispatch_target = "toy";
  info.num_slots = num_slots;
  info.max_batch_tokens = max_batch_tokens;
  info.max_logits_rows = max_logits_rows + (options.bug == Bug::kInfoWrong ? 1 : 0);
  info.num_threads = num_threads;
  info.slot_bytes = max_state_bytes(model.config);
  return std::make_unique<FakeBackend>(model, info, options);
}

}  // namespace ttt::contract
