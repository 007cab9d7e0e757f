// SPDX-License-Identifier: Apache-2.0
#include "cli/selftest_checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "cli/generate.h"
#include "cli/selftest_oracle.h"
#include "cli/signals.h"
#include "engine/engine.h"
#include "engine/mini_batch.h"
#include "engine/state_layout.h"

namespace ttt::cli {
namespace {

constexpr std::size_t kSlots = 5;
constexpr std::size_t kStrangers = 3;
constexpr std::size_t kLongestPiece = 4;  // of a stranger's in one step
constexpr std::size_t kRandomCuts = 3;
constexpr std::uint32_t kChoices = 3;

std::vector<float> floats_of(std::span<const std::byte> bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

Segment segment(SlotId slot, std::int64_t position, std::span<const TokenId> tokens) {
  Segment result;
  result.slot = slot;
  result.position = position;
  result.tokens = tokens;
  result.wanted.logits = Rows::kAll;
  return result;
}

// max |value - reference| / rms(reference); NaN where a difference is NaN.
double relative_error(std::span<const float> values, std::span<const double> reference) {
  if (values.size() != reference.size()) return std::numeric_limits<double>::infinity();
  double largest = 0.0, squares = 0.0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double difference = std::abs(static_cast<double>(values[i]) - reference[i]);
    if (std::isnan(difference)) return difference;
    largest = std::max(largest, difference);
    squares += reference[i] * reference[i];
  }
  const double rms = std::sqrt(squares / static_cast<double>(values.size()));
  return largest == 0.0 ? 0.0 : largest / rms;
}

// The elements of a tensor that lies in rows, some apart, in `all`.
template <typename T>
std::vector<T> elements_of(const StateTensor& tensor, std::span<const T> all) {
  std::size_t row_size = 1;
  for (std::size_t axis = 1; axis < tensor.shape.size(); ++axis) row_size *= tensor.shape[axis];
  std::vector<T> result;
  for (std::size_t row = 0; row < tensor.shape.front(); ++row) {
    const auto part = all.subspan(tensor.offset + row * tensor.row_stride, row_size);
    result.insert(result.end(), part.begin(), part.end());
  }
  return result;
}

// What an engine gives for a request: the tokens of each choice.
std::vector<std::vector<TokenId>> tokens_of(TokenStream& stream) {
  const Generation generation = read_stream(stream, [](const TokenEvent&) {});
  check_interrupted();
  check_not_failed(generation);
  std::vector<std::vector<TokenId>> choices;
  for (const Choice& choice : generation.choices) choices.push_back(choice.output_ids());
  return choices;
}

}  // namespace

class BackendChecks::Differences {
 public:
  void compare(std::span<const float> found, std::span<const float> wanted) {
    compared_ += wanted.size();
    if (found.size() != wanted.size()) different_ += wanted.size();
    for (std::size_t i = 0; i < std::min(found.size(), wanted.size()); ++i) {
      if (std::bit_cast<std::uint32_t>(found[i]) != std::bit_cast<std::uint32_t>(wanted[i])) ++different_;
    }
  }
  void compare(const Bytes& found, const Bytes& wanted) { compare(floats_of(found), floats_of(wanted)); }

  Measured result(std::string note) const {
    return {.value = static_cast<double>(different_),
            .unit = fmt::format("of {} values differ", compared_),
            .note = std::move(note)};
  }

 private:
  std::size_t compared_ = 0, different_ = 0;
};

Measured Measured::skip(std::string reason) { return {.note = std::move(reason), .skipped = true}; }

BackendChecks::BackendChecks(const Model& model, const BackendFactory& factory,
                             std::span<const TokenId> tokens, const Effort& effort)
    : model_(model),
      factory_(factory),
      effort_(effort),
      limits_{.slots = kSlots,
              .tokens = tokens.size() + kStrangers * kLongestPiece,
              .logits_rows = tokens.size() + kStrangers * kLongestPiece},
      tokens_(tokens.begin(), tokens.end()),
      backend_(factory(model, limits_, 0)) {
  backend_->reset(0);
  if (effort.prefix > 0) {
    read(*backend_, 0, 0, static_cast<std::int64_t>(effort.prefix));
    prefix_state_ = save(*backend_, 0, static_cast<std::int64_t>(effort.prefix));
  }
  prefix_ = static_cast<std::int64_t>(effort.prefix);
  logits_ = read(*backend_, 0, prefix_, end());
  state_ = save(*backend_, 0, end());
}

void BackendChecks::begin(Backend& backend, SlotId slot) const {
  if (prefix_ == 0) {
    backend.reset(slot);
  } else {
    backend.load(slot, prefix_, prefix_state_);
  }
}

std::vector<float> BackendChecks::read(Backend& backend, SlotId slot, std::int64_t from,
                                       std::int64_t to) const {
  check_interrupted();
  const std::array batch = {segment(
      slot, from,
      std::span(tokens_).subspan(static_cast<std::size_t>(from), static_cast<std::size_t>(to - from)))};
  backend.submit(batch);
  const std::span<const float> logits = backend.wait().front().logits;
  return {logits.begin(), logits.end()};
}

BackendChecks::Bytes BackendChecks::save(const Backend& backend, SlotId slot, std::int64_t position) const {
  Bytes bytes(state_bytes(model_.config, position));
  backend.save(slot, position, bytes);
  return bytes;
}

std::span<const float> BackendChecks::logits_of(std::int64_t from, std::int64_t to) const {
  const std::size_t V = model_.config.vocab_size;
  return std::span(logits_).subspan(static_cast<std::size_t>(from - prefix_) * V,
                                    static_cast<std::size_t>(to - from) * V);
}

Measured BackendChecks::finite_logits() const {
  const auto bad = std::ranges::count_if(logits_, [](float logit) { return !std::isfinite(logit); });
  return {.value = static_cast<double>(bad),
          .unit = fmt::format("of {} logits are not finite", logits_.size()),
          .note = fmt::format("{} tokens", tokens_.size())};
}

const BackendChecks::Oracle& BackendChecks::oracle() const {
  if (!oracle_) {
    Oracle oracle;  // whole, or not there
    Float64Model reference(model_);
    for (const TokenId token : tokens_) {
      check_interrupted();
      const std::vector<double> row = reference.read(token);
      oracle.logits.insert(oracle.logits.end(), row.begin(), row.end());
    }
    oracle.state = reference.state();
    oracle_ = std::move(oracle);
  }
  return *oracle_;
}

Measured BackendChecks::logits_against_float64(double bound) const {
  return {.value = relative_error(logits_, oracle().logits),
          .bound = bound,
          .unit = "largest error over rms",
          .note = fmt::format("{} tokens", tokens_.size())};
}

Measured BackendChecks::state_against_float64(double bound) const {
  Measured measured{.bound = bound, .unit = "largest error over rms"};
  const std::vector<float> found = floats_of(state_);
  for (const StateTensor& tensor : list_state(model_.config, end())) {
    const double error =
        relative_error(elements_of<float>(tensor, found), elements_of<double>(tensor, oracle().state));
    if (error <= measured.value) continue;
    measured.value = error;
    measured.note = fmt::format("worst in {}", tensor.name);
    if (std::isnan(error)) break;
  }
  return measured;
}

void BackendChecks::read_in_pieces(std::size_t longest, Differences& differences) {
  constexpr SlotId kSlot = 1;
  begin(*backend_, kSlot);
  for (std::int64_t position = prefix_; position < end();) {
    const auto piece = static_cast<std::int64_t>(random_.between(1, longest));
    const std::int64_t next = std::min(position + piece, end());
    differences.compare(read(*backend_, kSlot, position, next), logits_of(position, next));
    position = next;
  }
  differences.compare(save(*backend_, kSlot, end()), state_);
}

Measured BackendChecks::chunking() {
  Differences differences;
  read_in_pieces(1, differences);
  for (std::size_t cut = 0; cut < kRandomCuts; ++cut) {
    read_in_pieces(cut == 0 ? kLongestPiece : tokens_.size() - effort_.prefix, differences);
  }
  return differences.result(fmt::format("token by token and in {} random cuts", kRandomCuts));
}

// Strangers read the same prompt, as many tokens behind as they are numbered.
Measured BackendChecks::batch_isolation() {
  constexpr std::array<SlotId, kStrangers> kStrangerSlots = {3, 0, 4};
  constexpr SlotId kSlot = 2;
  Differences differences;
  begin(*backend_, kSlot);
  std::array<std::int64_t, kStrangers> positions;
  for (std::size_t i = 0; i < kStrangers; ++i) {
    begin(*backend_, kStrangerSlots[i]);
    positions[i] = prefix_;
  }
  for (std::int64_t position = prefix_; position < end();) {
    std::vector<Segment> batch;
    const auto add = [&](SlotId slot, std::int64_t& from, std::size_t longest) {
      const std::int64_t to = std::min(from + static_cast<std::int64_t>(random_.between(1, longest)), end());
      batch.push_back(segment(
          slot, from,
          std::span(tokens_).subspan(static_cast<std::size_t>(from), static_cast<std::size_t>(to - from))));
      from = to;
    };
    for (std::size_t i = 0; i < kStrangers; ++i) {
      if (positions[i] < end() && random_.between(0, 2) != 0)
        add(kStrangerSlots[i], positions[i], kLongestPiece);
    }
    const std::size_t place = random_.between(0, batch.size());
    const std::int64_t from = position;
    add(kSlot, position, 2 * kLongestPiece);
    std::rotate(batch.begin() + static_cast<std::ptrdiff_t>(place), batch.end() - 1, batch.end());
    backend_->submit(batch);
    differences.compare(backend_->wait()[place].logits, logits_of(from, position));
  }
  differences.compare(save(*backend_, kSlot, end()), state_);
  return differences.result(fmt::format("alone and among {} strangers", kStrangers));
}

Measured BackendChecks::threads() {
  Differences differences;
  const std::size_t all = std::max<std::size_t>(2, backend_->info().num_threads);
  for (const std::size_t threads : {std::size_t{1}, all}) {
    if (threads == backend_->info().num_threads) continue;
    const auto other = factory_(model_, limits_, static_cast<std::int64_t>(threads));
    begin(*other, 0);
    differences.compare(read(*other, 0, prefix_, end()), logits_);
    differences.compare(save(*other, 0, end()), state_);
  }
  return differences.result(fmt::format("1 thread and {}", all));
}

Measured BackendChecks::state_round_trip() {
  Differences differences;
  auto middle = static_cast<std::int64_t>(random_.between(effort_.prefix + 1, tokens_.size() - 1));
  if (middle > prefix_ + 1 && phase_of(middle, model_.config.mini_batch_size) == 0) --middle;
  begin(*backend_, 1);
  read(*backend_, 1, prefix_, middle);
  const Bytes saved = save(*backend_, 1, middle);
  begin(*backend_, 3);
  read(*backend_, 3, prefix_, prefix_ + 1);  // the other slot holds something else
  backend_->load(3, middle, saved);
  differences.compare(save(*backend_, 3, middle), saved);
  differences.compare(read(*backend_, 3, middle, end()), logits_of(middle, end()));
  differences.compare(save(*backend_, 3, end()), state_);
  return differences.result(fmt::format("saved after {} tokens, loaded into another slot, read on", middle));
}

Measured BackendChecks::rewind() {
  const std::size_t K = model_.config.mini_batch_size;
  std::int64_t to = end() - 2;  // the last place with a token behind it in the same mini-batch
  while (to > prefix_ && !same_mini_batch(to + 1, to, K)) --to;
  std::int64_t from = to + 1;
  if (!same_mini_batch(from, to, K)) return Measured::skip(fmt::format("no mini-batch of {} can be open", K));
  while (from < end() && same_mini_batch(from + 1, to, K)) ++from;
  while (to > prefix_ && same_mini_batch(from, to - 1, K) && random_.between(0, 3) != 0) --to;
  Differences differences;
  begin(*backend_, 1);
  if (to > prefix_) read(*backend_, 1, prefix_, to);
  const Bytes saved = save(*backend_, 1, to);
  read(*backend_, 1, to, from);
  backend_->rewind(1, from, to);
  differences.compare(save(*backend_, 1, to), saved);
  differences.compare(read(*backend_, 1, to, end()), logits_of(to, end()));
  differences.compare(save(*backend_, 1, end()), state_);
  return differences.result(fmt::format("from {} tokens back to {}, read on", from, to));
}

std::vector<TokenId> BackendChecks::draw_one_by_one(std::size_t prompt, const SamplingParams& sampling) {
  backend_->reset(0);
  std::vector<TokenId> drawn;
  std::span<const TokenId> tokens = std::span(tokens_).first(prompt);
  for (auto position = std::int64_t{0}; drawn.size() < effort_.generated;) {
    check_interrupted();
    Segment next = segment(0, position, tokens);
    next.wanted.logits = Rows::kLast;
    const std::array batch = {next};
    backend_->submit(batch);
    position += static_cast<std::int64_t>(tokens.size());
    drawn.push_back(sample(backend_->wait().front().logits, sampling, position).id);
    tokens = std::span(drawn).last(1);
  }
  return drawn;
}

Measured BackendChecks::engine() {
  GenerationRequest greedy, sampled;
  greedy.prompt = tokens_;
  greedy.max_tokens = static_cast<std::int64_t>(effort_.generated);
  sampled = greedy;
  sampled.prompt.resize(std::max<std::size_t>(1, 2 * tokens_.size() / 3));
  sampled.sampling.temperature = 0.9F;
  sampled.sampling.top_k = 40;
  sampled.sampling.seed = 7;
  sampled.num_choices = kChoices;
  std::vector<std::vector<TokenId>> found;
  {
    Engine engine(*backend_, model_.config, nullptr);
    const auto first = engine.submit(greedy);
    const auto second = engine.submit(sampled);
    found = tokens_of(*first);
    for (std::vector<TokenId>& choice : tokens_of(*second)) found.push_back(std::move(choice));
  }
  std::size_t compared = 0, different = 0;
  for (std::size_t i = 0; i <= kChoices; ++i) {
    const GenerationRequest& request = i == 0 ? greedy : sampled;
    SamplingParams sampling = request.sampling;
    sampling.choice = i == 0 ? 0 : static_cast<std::uint32_t>(i - 1);
    const std::vector<TokenId> wanted = draw_one_by_one(request.prompt.size(), sampling);
    for (std::size_t j = 0; j < wanted.size(); ++j) {
      ++compared;
      const bool equal = i < found.size() && j < found[i].size() && found[i][j] == wanted[j];
      if (!equal) ++different;
    }
  }
  return {.value = static_cast<double>(different),
          .unit = fmt::format("of {} tokens differ", compared),
          .note = fmt::format("a greedy request and one with {} choices at once", kChoices)};
}

}  // namespace ttt::cli
