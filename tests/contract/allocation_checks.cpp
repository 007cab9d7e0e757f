// SPDX-License-Identifier: Apache-2.0
// The hot path allocates nothing.
#include "tests/contract/allocation_counter.h"
#include "tests/contract/driver.h"

namespace ttt::contract {
namespace {

// Allocations of the whole program while `action` runs.
template <typename Action>
std::uint64_t allocations_in(Action&& action) {
  const std::uint64_t before = allocation_count();
  action();
  return allocation_count() - before;
}

std::uint64_t allocations_in_step(const Driver& driver, std::span<const Segment> batch) {
  return allocations_in([&] {
    driver.backend->submit(batch);
    driver.backend->wait();
  });
}

void steps_do_not_allocate(const Subject& subject) {
  const Driver driver(subject, {.num_threads = 2});
  const std::vector<TokenId> prompt = test::Random(70).tokens(driver.max_tokens - 1, driver.V);
  const std::int64_t end = length(prompt);
  SamplingParams sampling;
  sampling.temperature = 1.0F;
  sampling.typical_p = sampling.top_p = 0.9F;
  sampling.min_p = 0.01F;
  sampling.repetition_penalty = 1.1F;
  sampling.logit_bias = {{0, 1.0F}};
  SamplingParams few = sampling;
  few.top_k = 5;
  few.allowed = {0, 1, 2, 3};
  const TokenCount count{1, 2, 1};
  const TokenId banned = 2;
  Wanted sampled;
  sampled.sample = &sampling;
  sampled.counts = {&count, 1};
  sampled.banned = {&banned, 1};
  Wanted bounded_by_info = all_logits();
  bounded_by_info.sample = &few;
  bounded_by_info.inner_losses = true;

  const Segment first = segment(0, 0, std::span(prompt).first(1), sampled);
  Segment decode = segment(0, 1, {}, sampled);
  decode.token_from_last_sample = true;
  Segment later = decode;
  later.position = 2;
  const Segment prefill[] = {decode, segment(1, 0, prompt, bounded_by_info)};
  const Segment decode_both[] = {later, segment(1, end, std::span(prompt).first(1), sampled)};
  allocations_in_step(driver, {&first, 1});
  const std::uint64_t in_prefill = allocations_in_step(driver, prefill);
  require(in_prefill == 0, "{} allocations in a prefill step after the first step", in_prefill);
  const std::uint64_t in_decode = allocations_in_step(driver, decode_both);
  require(in_decode == 0, "{} allocations in a decode step after the first step", in_decode);
}

// info() sets no limit to targets and tops, so that their room may grow, but only to the largest wanted so
// far.
void log_probs_allocate_only_to_grow(const Subject& subject) {
  const Driver driver(subject);
  const std::vector<TokenId> tokens = test::Random(71).tokens(driver.config.mini_batch_size + 2, driver.V);
  Wanted wanted;
  wanted.log_probs = Rows::kAll;
  wanted.targets = tokens;
  wanted.targets_per_row = 1;
  wanted.top_n = std::min<std::size_t>(5, driver.V);
  const Segment first[] = {segment(0, 0, tokens, wanted), segment(1, 0, tokens)};
  const Segment second[] = {segment(2, 0, tokens), segment(1, length(tokens), tokens, wanted)};
  allocations_in_step(driver, first);
  const std::uint64_t in_second = allocations_in_step(driver, second);
  require(in_second == 0, "{} allocations for as many log-probabilities as a step before had", in_second);
}

void moving_states_does_not_allocate(const Subject& subject) {
  const Driver driver(subject);
  const std::int64_t position = driver.K + 1;
  const std::vector<TokenId> tokens = test::Random(72).tokens(driver.config.mini_batch_size + 1, driver.V);
  driver.start(0, tokens);
  driver.start(1, tokens);
  Bytes state(state_bytes(driver.config, position));
  const std::uint64_t count = allocations_in([&] {
    driver.backend->save(0, position, state);
    driver.backend->load(1, position, state);
    driver.backend->copy(0, 1, position);
    driver.backend->rewind(1, position, position);
    driver.backend->reset(0);
  });
  require(count == 0, "{} allocations in save, load, copy, rewind and reset", count);
}

}  // namespace

std::vector<Check> allocation_checks() {
  return {
      {"no step allocates after the first", steps_do_not_allocate},
      {"log-probabilities allocate only where more are wanted than before", log_probs_allocate_only_to_grow},
      {"moving states allocates nothing", moving_states_does_not_allocate}};
}

}  // namespace ttt::contract
