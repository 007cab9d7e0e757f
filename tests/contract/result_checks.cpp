// SPDX-License-Identifier: Apache-2.0
// What comes back from a step: logits, log-probabilities, samples, inner losses.
#include <cmath>
#include <numeric>

#include "engine/sampler.h"
#include "tests/contract/driver.h"

namespace ttt::contract {
namespace {

// Log-probabilities are computed in fp32 from the logits, on a device perhaps in another order.
constexpr double kLogProbTolerance = 2e-5;

bool near(double found, double wanted) {
  return std::abs(found - wanted) <= kLogProbTolerance * std::max(1.0, std::abs(wanted));
}

std::vector<double> log_softmax(std::span<const float> logits) {
  double sum = 0.0;
  const double largest = *std::ranges::max_element(logits);
  for (const float logit : logits) sum += std::exp(logit - largest);
  std::vector<double> result;
  for (const float logit : logits) result.push_back(logit - largest - std::log(sum));
  return result;
}

std::span<const float> row_of(const std::vector<float>& logits, std::size_t row, std::size_t V) {
  return std::span(logits).subspan(row * V, V);
}

void info_states_sizes(const Subject& subject) {
  const Driver driver(subject,
                      {.num_slots = 3, .max_batch_tokens = 21, .max_logits_rows = 5, .num_threads = 2});
  const BackendInfo& info = driver.backend->info();
  require(info.num_slots == 3, "info().num_slots is {} for 3", info.num_slots);
  require(info.max_batch_tokens == 21, "info().max_batch_tokens is {} for 21", info.max_batch_tokens);
  require(info.max_logits_rows == 5, "info().max_logits_rows is {} for 5", info.max_logits_rows);
  require(info.num_threads == 2 || info.num_threads == 0, "info().num_threads is {} for 2", info.num_threads);
  require(!info.device.empty() && !info.dispatch_target.empty(),
          "info() does not name the device and its target");
  require(info.slot_bytes >= max_state_bytes(driver.config), "info().slot_bytes is less than a state");
}

void raw_logits_by_rows(const Subject& subject) {
  const Driver driver(subject);
  const Reference reference(driver, 40, driver.config.mini_batch_size + 3);
  const std::int64_t end = length(reference.tokens);
  Wanted wanted;
  require(driver.start(1, reference.tokens, wanted).logits.empty(), "logits that were not asked for");
  wanted.logits = Rows::kLast;
  require(same_bits(driver.start(1, reference.tokens, wanted).logits, reference.logits_of(end - 1, end)),
          "Rows::kLast is not the last row");
  wanted.logits = Rows::kAll;
  require(same_bits(driver.start(1, reference.tokens, wanted).logits, reference.logits),
          "Rows::kAll is not all rows");
}

void nothing_unasked(const Subject& subject) {
  const Driver driver(subject);
  const std::vector<TokenId> tokens = test::Random(41).tokens(3, driver.V);
  Wanted everything = all_logits();
  const SamplingParams greedy;
  everything.sample = &greedy;
  everything.log_probs = Rows::kAll;
  everything.top_n = 1;
  everything.inner_losses = true;
  // Each place of the batch first asks for everything, then for nothing.
  for (const std::size_t quiet : {0U, 1U, 0U}) {
    const Segment batch[] = {segment(0, 0, tokens, quiet == 0 ? Wanted{} : everything),
                             segment(1, 0, tokens, quiet == 1 ? Wanted{} : everything)};
    driver.backend->reset(0);
    driver.backend->reset(1);
    const Result result = driver.step(batch)[quiet];
    require(result.logits.empty() && result.target_log_probs.empty() && result.top.empty() &&
                result.inner_losses.empty(),
            "segment {}: a result that was not asked for", quiet);
    require(result.sampled.id == -1, "segment {}: sampled {} where none was asked for", quiet,
            result.sampled.id);
  }
}

void log_probs_of_targets(const Subject& subject) {
  const Driver driver(subject);
  const std::size_t num_tokens = driver.config.mini_batch_size + 3;
  const Reference reference(driver, 42, num_tokens);
  for (const Rows rows : {Rows::kAll, Rows::kLast}) {
    for (const std::size_t per_row : {std::size_t{1}, std::size_t{3}}) {
      const std::size_t num_rows = rows == Rows::kAll ? num_tokens : 1;
      const std::vector<TokenId> targets = test::Random(43).tokens(num_rows * per_row, driver.V);
      Wanted wanted;
      wanted.log_probs = rows;
      wanted.targets = targets;
      wanted.targets_per_row = per_row;
      const std::vector<float> found = driver.start(1, reference.tokens, wanted).target_log_probs;
      require(found.size() == targets.size(), "{} log-probabilities for {} targets", found.size(),
              targets.size());
      for (std::size_t i = 0; i < targets.size(); ++i) {
        const std::size_t row = num_tokens - num_rows + i / per_row;
        const double definition =
            log_softmax(row_of(reference.logits, row, driver.V))[static_cast<std::size_t>(targets[i])];
        require(near(found[i], definition), "row {}: log-probability of {} is {}, by definition {}", row,
                targets[i], found[i], definition);
      }
    }
  }
}

void top_is_sorted(const Subject& subject) {
  const Driver driver(subject);
  const std::size_t num_tokens = driver.config.mini_batch_size + 3;
  const Reference reference(driver, 44, num_tokens);
  for (const std::size_t n : {std::size_t{0}, std::size_t{1}, std::min<std::size_t>(5, driver.V), driver.V}) {
    Wanted wanted;
    wanted.log_probs = Rows::kAll;
    wanted.top_n = n;
    const std::vector<TokenLogProb> top = driver.start(1, reference.tokens, wanted).top;
    require(top.size() == num_tokens * n, "{} entries for the top {} of {} rows", top.size(), n, num_tokens);
    for (std::size_t row = 0; n > 0 && row < num_tokens; ++row) {
      const std::span<const float> logits = row_of(reference.logits, row, driver.V);
      const std::vector<double> definition = log_softmax(logits);
      std::vector<std::size_t> order(driver.V);
      std::iota(order.begin(), order.end(), 0U);
      std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) { return logits[a] > logits[b]; });
      for (std::size_t i = 0; i < n; ++i) {
        const TokenLogProb& entry = top[row * n + i];
        require(entry.id == static_cast<TokenId>(order[i]),
                "row {}, top {}: id {}, by logits and lowest id {}", row, i, entry.id, order[i]);
        require(near(entry.log_prob, definition[order[i]]),
                "row {}, top {}: log-probability {}, by definition {}", row, i, entry.log_prob,
                definition[order[i]]);
      }
    }
  }
}

void sample_is_the_engines(const Subject& subject) {
  const Driver driver(subject);
  const std::size_t num_tokens = driver.config.mini_batch_size + 3;
  const Reference reference(driver, 45, num_tokens);
  test::Random random(46);
  for (const float temperature : {0.0F, 0.7F, 1.0F, 3.0F}) {
    driver.backend->reset(1);
    std::int64_t position = 0;
    while (position < length(reference.tokens)) {
      const std::int64_t end =
          std::min(length(reference.tokens), position + static_cast<std::int64_t>(random.between(1, 3)));
      SamplingParams params;
      params.temperature = temperature;
      params.seed = random.bits();
      params.prompt_index = static_cast<std::uint32_t>(random.below(3));
      params.choice = static_cast<std::uint32_t>(random.below(3));
      Wanted wanted;
      wanted.sample = &params;
      const TokenLogProb found = driver.read(1, position, reference.part(position, end), wanted).sampled;
      // The drawn token will stand at position `end`.
      const TokenLogProb definition = sample(reference.logits_of(end - 1, end), params, end);
      require(found.id == definition.id,
              "temperature {}, position {}: drew {}, sample() of the raw logits draws {}", temperature, end,
              found.id, definition.id);
      require(near(found.log_prob, definition.log_prob),
              "temperature {}, position {}: log-probability {}, of sample() {}", temperature, end,
              found.log_prob, definition.log_prob);
      position = end;
    }
  }
}

// What one slot draws after each of a few prompts, in batches with a stranger that samples otherwise, against
// the engine's sampler on the raw logits.
void require_draws(const Driver& driver, const std::string& name, SamplingParams params,
                   std::span<const TokenCount> counts, std::span<const TokenId> banned) {
  Sampler sampler(driver.V);
  const SamplingParams greedy;
  Wanted of_stranger;
  of_stranger.sample = &greedy;
  for (std::uint64_t prompt = 0; prompt < 12; ++prompt) {
    const std::vector<TokenId> tokens = test::Random(54 + prompt).tokens(2, driver.V);
    driver.start(0, tokens, of_stranger);
    for (const float temperature : {0.0F, 0.7F, 2.0F}) {
      params.temperature = temperature;
      params.seed = prompt;
      Wanted wanted;
      wanted.logits = Rows::kLast;
      wanted.sample = &params;
      wanted.counts = counts;
      wanted.banned = banned;
      driver.backend->reset(1);
      driver.backend->reset(2);
      const Segment batch[] = {segment(2, 0, tokens, of_stranger), segment(1, 0, tokens, wanted)};
      const Result result = driver.step(batch)[1];
      const TokenId definition = sampler.sample(result.logits, params, counts, banned, length(tokens));
      require(result.sampled.id == definition, "{}, temperature {}: drew {}, the engine's sampler draws {}",
              name, temperature, result.sampled.id, definition);
    }
  }
}

void penalties_look_at_counts(const Subject& subject) {
  const Driver driver(subject);
  std::vector<TokenCount> counts;  // every other id, some in the output, some only in the prompt
  for (std::size_t id = 0; id < driver.V; id += 2) {
    const auto in_output = static_cast<std::uint32_t>(id % 5);
    counts.push_back({static_cast<TokenId>(id), std::max(1U, in_output), in_output});
  }
  SamplingParams params;
  params.repetition_penalty = 1.7F;
  require_draws(driver, "repetition_penalty", params, counts, {});
  params = {};
  params.presence_penalty = 1.5F;
  require_draws(driver, "presence_penalty", params, counts, {});
  params = {};
  params.frequency_penalty = -0.5F;
  require_draws(driver, "frequency_penalty", params, counts, {});
}

void bans_are_kept(const Subject& subject) {
  const Driver driver(subject);
  std::vector<TokenId> odd;
  SamplingParams biased;
  for (std::size_t id = 1; id < driver.V; id += 2) odd.push_back(static_cast<TokenId>(id));
  for (const TokenId id : odd) biased.logit_bias.push_back({id, id % 3 == 0 ? -100.0F : 1.5F});
  SamplingParams banning, allowing;
  banning.banned = odd;
  allowing.allowed = odd;
  require_draws(driver, "banned in the step", {}, {}, odd);
  require_draws(driver, "banned", banning, {}, {});
  require_draws(driver, "allowed", allowing, {}, {});
  require_draws(driver, "allowed, but for one in the step", allowing, {}, std::span(odd).first(1));
  require_draws(driver, "allowed, all banned in the step", allowing, {}, odd);
  require_draws(driver, "logit_bias", biased, {}, {});
}

void filters_are_the_engines(const Subject& subject) {
  const Driver driver(subject);
  SamplingParams params;
  params.top_k = 2;
  require_draws(driver, "top_k", params, {}, {});
  params = {};
  params.typical_p = 0.4F;
  require_draws(driver, "typical_p", params, {}, {});
  params.top_p = 0.5F;
  require_draws(driver, "typical_p, then top_p", params, {}, {});
  params.typical_p = 1.0F;
  require_draws(driver, "top_p", params, {}, {});
  params.min_p = 0.6F;
  require_draws(driver, "top_p, then min_p", params, {}, {});
  params.top_p = 1.0F;
  require_draws(driver, "min_p", params, {}, {});
}

// Two slots generate, one by handing ids over, one by token_from_last_sample, a stranger samples in between.
void last_sample_equals_its_id(const Subject& subject) {
  const Driver driver(subject);
  const std::vector<TokenId> prompt = test::Random(47).tokens(3, driver.V);
  SamplingParams params;
  params.temperature = 2.0F;
  params.seed = 48;
  SamplingParams stranger = params;
  stranger.seed = 49;
  Wanted wanted = all_logits();
  wanted.sample = &params;
  Wanted of_stranger;
  of_stranger.sample = &stranger;
  TokenId id = driver.start(1, prompt, wanted).sampled.id;
  driver.start(2, prompt, wanted);
  driver.start(3, prompt, of_stranger);
  std::int64_t position = length(prompt);
  for (; position < driver.K + 4; ++position) {
    Segment by_sample = segment(2, position, {}, wanted);
    by_sample.token_from_last_sample = true;
    Segment other = segment(3, position, {}, of_stranger);
    other.token_from_last_sample = true;
    const Segment batch[] = {segment(1, position, {&id, 1}, wanted), by_sample, other};
    const std::vector<Result> results = driver.step(batch);
    require(same_bits(results[0].logits, results[1].logits),
            "position {}: the last sample is not read as its id {}", position, id);
    require(results[0].sampled.id == results[1].sampled.id,
            "position {}: the last sample leads to another token", position);
    id = results[0].sampled.id;
  }
  require(driver.save(1, position) == driver.save(2, position),
          "reading last samples leads to another state");
}

void losses_are_per_token(const Subject& subject) {
  const Driver driver(subject);
  const std::size_t per_token = driver.config.num_hidden_layers * driver.config.num_attention_heads;
  const std::vector<TokenId> tokens =
      test::Random(50).tokens(2 * driver.config.mini_batch_size + 3, driver.V);
  Wanted wanted;
  wanted.inner_losses = true;
  const std::vector<float> whole = driver.start(1, tokens, wanted).inner_losses;
  require(whole.size() == tokens.size() * per_token, "{} inner losses for {} tokens of {}", whole.size(),
          tokens.size(), per_token);
  require(std::ranges::all_of(whole, [](float loss) { return std::isfinite(loss) && loss >= 0.0F; }) &&
              std::ranges::any_of(whole, [](float loss) { return loss > 0.0F; }),
          "inner losses are not finite, not half a square, or all 0");
  test::Random random(51);
  driver.backend->reset(1);
  driver.backend->reset(2);
  for (std::size_t position = 0; position < tokens.size();) {
    const std::size_t count = random.between(1, std::min<std::size_t>(5, tokens.size() - position));
    const auto part = std::span(tokens).subspan(position, count);
    const auto at = static_cast<std::int64_t>(position);
    const Segment batch[] = {segment(2, at, part), segment(1, at, part, wanted)};
    require(same_bits(driver.step(batch)[1].inner_losses,
                      std::span(whole).subspan(position * per_token, count * per_token)),
            "inner losses depend on the segments, at position {}", position);
    position += count;
  }
}

// One row of raw logits suffices for any number of small results.
void small_results_need_no_logits_rows(const Subject& subject) {
  const Driver driver(subject, {.max_logits_rows = 1});
  const std::vector<TokenId> tokens = test::Random(52).tokens(driver.config.mini_batch_size + 2, driver.V);
  const SamplingParams greedy;
  Wanted wanted;
  wanted.log_probs = Rows::kAll;
  wanted.targets = tokens;
  wanted.targets_per_row = 1;
  wanted.top_n = 1;
  wanted.sample = &greedy;
  wanted.inner_losses = true;
  const Segment batch[] = {segment(0, 0, tokens, wanted), segment(1, 0, tokens, wanted),
                           segment(2, 0, tokens, wanted)};
  for (const Result& result : driver.step(batch)) {
    require(result.top.size() == tokens.size() && result.sampled.id == result.top.back().id,
            "with one row of raw logits, small results are wrong");
  }
}

void views_live_until_next_submit(const Subject& subject) {
  const Driver driver(subject);
  const std::vector<TokenId> tokens = test::Random(53).tokens(driver.config.mini_batch_size + 2, driver.V);
  const SamplingParams greedy;
  Wanted wanted = all_logits();
  wanted.log_probs = Rows::kAll;
  wanted.targets = tokens;
  wanted.targets_per_row = 1;
  wanted.top_n = 2;
  wanted.sample = &greedy;
  wanted.inner_losses = true;
  const Segment one = segment(1, 0, tokens, wanted);
  driver.backend->submit({&one, 1});
  const SegmentResult view = driver.backend->wait()[0];
  const Result before = own(view);
  const std::int64_t end = length(tokens), middle = end / driver.K * driver.K;
  const Bytes state = driver.save(1, end);
  driver.backend->copy(1, 2, end);
  driver.backend->rewind(2, end, middle);
  driver.backend->load(3, end, state);
  driver.backend->reset(1);
  const Result after = own(view);
  require(same_bits(before.logits, after.logits) &&
              same_bits(before.target_log_probs, after.target_log_probs) &&
              same_bits(before.top, after.top) && same_bits(before.inner_losses, after.inner_losses),
          "a result changed before the next submit");
}

}  // namespace

std::vector<Check> result_checks() {
  return {{"info states the sizes", info_states_sizes},
          {"raw logits come for the rows asked for", raw_logits_by_rows},
          {"nothing comes that was not asked for", nothing_unasked},
          {"log-probabilities of targets are those of the softmax", log_probs_of_targets},
          {"the top tokens are sorted, ties to the lowest id", top_is_sorted},
          {"the sampled token is that of the engine's sampler", sample_is_the_engines},
          {"penalties look at the counts", penalties_look_at_counts},
          {"bans, permissions and biases are kept", bans_are_kept},
          {"filters keep what the engine's sampler keeps", filters_are_the_engines},
          {"the token sampled last is read as its id would be", last_sample_equals_its_id},
          {"inner losses depend on the sequence alone", losses_are_per_token},
          {"small results need no rows of raw logits", small_results_need_no_logits_rows},
          {"results live until the next submit", views_live_until_next_submit}};
}

}  // namespace ttt::contract
