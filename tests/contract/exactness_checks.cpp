// SPDX-License-Identifier: Apache-2.0
// A token's result depends on its sequence alone: not on segments, batch, slot or threads.
#include <limits>

#include "engine/sampler.h"
#include "tests/contract/driver.h"

namespace ttt::contract {
namespace {

// Reads a reference in pieces of the given lengths, into slot 1, and compares everything.
void require_same_in_pieces(const Driver& driver, const Reference& reference,
                            std::span<const std::int64_t> pieces) {
  driver.backend->reset(1);
  std::int64_t position = 0;
  for (const std::int64_t piece : pieces) {
    const Result result = driver.read(1, position, reference.part(position, position + piece), all_logits());
    require(same_bits(result.logits, reference.logits_of(position, position + piece)),
            "in pieces of {}: other logits in the piece at position {}", fmt::join(pieces, ", "), position);
    position += piece;
    require(driver.save(1, position) == reference.state_at(position),
            "in pieces of {}: another state at position {}", fmt::join(pieces, ", "), position);
  }
}

void any_split(const Subject& subject) {
  const Driver driver(subject);
  const Reference reference(driver, 20, 3 * driver.config.mini_batch_size + 2);
  test::Random random(21);
  for (int trial = 0; trial < 12; ++trial) {
    const std::int64_t longest = trial % 2 == 0 ? 4 : length(reference.tokens);
    std::vector<std::int64_t> pieces;
    for (std::int64_t left = length(reference.tokens); left > 0; left -= pieces.back()) {
      const auto limit = static_cast<std::size_t>(std::min(left, longest));
      pieces.push_back(static_cast<std::int64_t>(random.between(1, limit)));
    }
    require_same_in_pieces(driver, reference, pieces);
  }
}

void cuts_around_mini_batch(const Subject& subject) {
  const Driver driver(subject);
  const std::int64_t K = driver.K;
  const Reference reference(driver, 22, 2 * driver.config.mini_batch_size + 3);
  const std::int64_t all = length(reference.tokens);
  for (const std::int64_t cut : {K - 1, K, K + 1, 2 * K - 1, 2 * K, 2 * K + 1}) {
    if (cut > 0) require_same_in_pieces(driver, reference, std::vector{cut, all - cut});
    for (const std::int64_t second : {std::int64_t{1}, K - 1, K}) {
      if (cut > 0 && second > 0 && cut + second < all) {
        require_same_in_pieces(driver, reference, std::vector{cut, second, all - cut - second});
      }
    }
  }
}

// Sequences at different phases advance together, in slots and in an order that change with each round.
void batch_row_as_alone(const Subject& subject) {
  constexpr std::size_t kSequences = 4;
  const Driver driver(subject, {.num_slots = 6});
  std::vector<Reference> references;
  std::vector<std::int64_t> positions(kSequences, 0);
  std::vector<SlotId> slots = {0, 1, 2, 3, 4, 5};  // sequence s lives in slots[s]
  for (std::size_t s = 0; s < kSequences; ++s) {
    references.emplace_back(driver, 23 + s, 2 * driver.config.mini_batch_size + 2 + s);
  }
  for (std::size_t s = 0; s < kSequences; ++s) driver.backend->reset(slots[s]);
  test::Random random(30);
  const auto unfinished = [&](std::size_t s) { return positions[s] < length(references[s].tokens); };
  while (std::ranges::any_of(std::vector<std::size_t>{0, 1, 2, 3}, unfinished)) {
    const std::size_t moving = random.below(kSequences);  // one sequence moves to a free slot
    driver.backend->copy(slots[moving], slots[kSequences], positions[moving]);
    std::swap(slots[moving], slots[kSequences]);

    std::vector<std::size_t> members;
    for (std::size_t s = 0; s < kSequences; ++s) {
      if (unfinished(s) && random.below(4) != 0)
        members.insert(members.begin() + static_cast<std::ptrdiff_t>(random.below(members.size() + 1)), s);
    }
    std::vector<Segment> batch;
    for (const std::size_t s : members) {
      const std::int64_t end = std::min(length(references[s].tokens),
                                        positions[s] + static_cast<std::int64_t>(random.between(1, 5)));
      batch.push_back(segment(slots[s], positions[s], references[s].part(positions[s], end), all_logits()));
    }
    if (batch.empty()) continue;
    const std::vector<Result> results = driver.step(batch);
    for (std::size_t i = 0; i < members.size(); ++i) {
      const Reference& reference = references[members[i]];
      const std::int64_t begin = positions[members[i]], end = begin + length(batch[i].tokens);
      require(same_bits(results[i].logits, reference.logits_of(begin, end)),
              "segment {} of {} at position {} gives other logits than alone", i, batch.size(), begin);
      require(driver.save(batch[i].slot, end) == reference.state_at(end),
              "segment {} of {} leaves another state at position {} than alone", i, batch.size(), end);
      positions[members[i]] = end;
    }
  }
}

void other_slots_untouched(const Subject& subject) {
  const Driver driver(subject, {.num_slots = 5});
  const Reference reference(driver, 31, 2 * driver.config.mini_batch_size + 6);
  const std::int64_t positions[] = {0, 1, driver.K - 1, driver.K, driver.K + 2};
  const std::vector<TokenId> more = test::Random(32).tokens(driver.config.mini_batch_size + 1, driver.V);
  for (std::size_t active = 0; active < 5; ++active) {
    for (std::size_t slot = 0; slot < 5; ++slot) {
      driver.backend->load(static_cast<SlotId>(slot), positions[slot], reference.state_at(positions[slot]));
    }
    const auto require_untouched = [&](std::string_view action) {
      for (std::size_t slot = 0; slot < 5; ++slot) {
        if (slot == active) continue;
        require(
            driver.save(static_cast<SlotId>(slot), positions[slot]) == reference.state_at(positions[slot]),
            "slot {} changed in {} slot {}", slot, action, active);
      }
    };
    const auto id = static_cast<SlotId>(active);
    const std::int64_t open = driver.K + std::min<std::int64_t>(2, driver.K - 1);
    driver.read(id, positions[active], more, all_logits());
    require_untouched("a step of");
    driver.backend->reset(id);
    require_untouched("a reset of");
    driver.backend->load(id, open, reference.state_at(open));
    require_untouched("a load into");
    driver.backend->rewind(id, open, driver.K);
    require_untouched("a rewind of");
    driver.backend->copy(static_cast<SlotId>((active + 1) % 5), id, positions[(active + 1) % 5]);
    require_untouched("a copy into");
  }
}

void threads_do_not_matter(const Subject& subject) {
  const Driver one(subject, {.num_threads = 1}), two(subject, {.num_threads = 2});
  const Reference reference(one, 33, 3 * one.config.mini_batch_size + 2);
  Wanted wanted = all_logits();
  wanted.inner_losses = true;
  const Result single = one.start(1, reference.tokens, wanted);
  const Result threaded = two.start(1, reference.tokens, wanted);
  require(same_bits(single.logits, threaded.logits), "two threads give other logits than one");
  require(same_bits(single.inner_losses, threaded.inner_losses),
          "two threads give other inner losses than one");
  for (std::int64_t position = 0; position < length(reference.tokens); ++position) {
    require(same_bits(two.read(2, position, reference.part(position, position + 1), all_logits()).logits,
                      reference.logits_of(position, position + 1)),
            "two threads decode other logits than one at position {}", position);
  }
  require(two.save(1, length(reference.tokens)) == reference.states.back(),
          "two threads leave another state than one");
  require(two.save(2, length(reference.tokens)) == reference.states.back(),
          "two threads decode to another state than one");
}

// A slot full of NaN, in the batch and out of it, changes nobody else's bits; reset makes it good again.
void nan_stays_in_its_slot(const Subject& subject) {
  const Driver driver(subject);
  const std::int64_t K = driver.K;
  const Reference reference(driver, 34, 2 * driver.config.mini_batch_size + 4);
  const std::int64_t poisoned_at = K + 1;
  std::vector<float> nans(state_bytes(driver.config, poisoned_at) / sizeof(float),
                          std::numeric_limits<float>::quiet_NaN());
  SamplingParams sampling;
  sampling.temperature = 1.0F;
  Wanted everything = all_logits();
  everything.log_probs = Rows::kAll;
  everything.top_n = std::min<std::size_t>(3, driver.V);
  everything.sample = &sampling;
  for (const SlotId poisoned : {0, 2}) {
    driver.backend->reset(1);
    std::int64_t position = 0;
    for (const std::int64_t piece : {std::int64_t{1}, K, K + 1}) {
      driver.backend->load(poisoned, poisoned_at, std::as_bytes(std::span(nans)));
      driver.backend->load(3, poisoned_at, std::as_bytes(std::span(nans)));
      const Segment batch[] = {
          segment(poisoned, poisoned_at, reference.part(0, 2), everything),
          segment(1, position, reference.part(position, position + piece), all_logits())};
      const std::vector<Result> results = driver.step(batch);
      const TokenId sampled = results[0].sampled.id;  // of NaN logits; it may be fed back
      require(sampled >= 0 && static_cast<std::size_t>(sampled) < driver.V, "from NaN, token {} is sampled",
              sampled);
      require(same_bits(results[1].logits, reference.logits_of(position, position + piece)),
              "NaN in slot {} changed the logits of slot 1 at position {}", poisoned, position);
      position += piece;
      require(driver.save(1, position) == reference.state_at(position),
              "NaN in slot {} changed the state of slot 1", poisoned);
    }
    require(same_bits(driver.start(poisoned, reference.tokens, all_logits()).logits, reference.logits),
            "slot {} is not good again after NaN and a reset", poisoned);
  }
}

void what_is_wanted_does_not_matter(const Subject& subject) {
  const Driver driver(subject);
  const Reference reference(driver, 35, driver.config.mini_batch_size + 3);
  const std::int64_t end = length(reference.tokens);
  SamplingParams sampling;
  sampling.temperature = 1.0F;
  Wanted everything = all_logits();
  everything.log_probs = Rows::kAll;
  everything.top_n = std::min<std::size_t>(3, driver.V);
  everything.sample = &sampling;
  everything.inner_losses = true;
  Wanted last;
  last.logits = Rows::kLast;
  for (const Wanted& wanted : {everything, last, Wanted{}}) {
    const Result result = driver.start(1, reference.tokens, wanted);
    require(driver.save(1, end) == reference.states.back(), "the state depends on what was wanted");
    if (wanted.logits == Rows::kAll)
      require(same_bits(result.logits, reference.logits), "logits depend on what else was wanted");
  }
}

// Positions that 32 bits do not hold, and whose low 32 bits have another phase where K allows it.
void positions_beyond_32_bits(const Subject& subject) {
  const Driver driver(subject);
  const Reference reference(driver, 36, driver.config.mini_batch_size + 5);
  const std::int64_t near = driver.K + 1;
  const std::int64_t far = ((std::int64_t{1} << 32) / driver.K + 1) * driver.K + 1;
  driver.backend->load(1, far, reference.state_at(near));
  SamplingParams sampling;
  sampling.temperature = 1.0F;
  Wanted wanted = all_logits();
  wanted.sample = &sampling;
  for (std::int64_t i = 0; i < 4; ++i) {
    sampling.seed = static_cast<std::uint64_t>(i);
    const Result result = driver.read(1, far + i, reference.part(near + i, near + i + 1), wanted);
    const std::span<const float> logits = reference.logits_of(near + i, near + i + 1);
    require(same_bits(result.logits, logits), "position {} gives other logits than {}", far + i, near + i);
    const TokenId definition = sample(logits, sampling, far + i + 1).id;
    require(result.sampled.id == definition, "position {}: drew {}, sample() of the raw logits draws {}",
            far + i, result.sampled.id, definition);
  }
}

}  // namespace

std::vector<Check> exactness_checks() {
  return {{"any split of a prompt gives the same bits", any_split},
          {"cuts around a mini-batch's end give the same bits", cuts_around_mini_batch},
          {"a row in a batch equals the same row alone", batch_row_as_alone},
          {"slots that are not named are untouched", other_slots_untouched},
          {"one thread and two give the same bits", threads_do_not_matter},
          {"NaN stays in its slot", nan_stays_in_its_slot},
          {"what is wanted does not change what is computed", what_is_wanted_does_not_matter},
          {"positions go beyond 32 bits", positions_beyond_32_bits}};
}

}  // namespace ttt::contract
