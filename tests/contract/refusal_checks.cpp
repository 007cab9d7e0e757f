// SPDX-License-Identifier: Apache-2.0
// Every broken precondition throws std::logic_error and changes nothing.
#include <limits>

#include "tests/contract/driver.h"

namespace ttt::contract {
namespace {

constexpr std::size_t kLogitsRows = 7;  // fewer than any batch of these checks may hold in tokens

// A batch of two segments that submit() would take, for a rule to spoil. The spoiled part is the second, so
// that a backend which checks as it goes has already changed something.
struct Spoiled {
  explicit Spoiled(const Driver& driver)
      : config(driver.config), tokens(test::Random(60).tokens(driver.max_tokens + 1, driver.V)) {
    batch = {segment(0, 0, std::span(tokens).first(2)), segment(1, 0, std::span(tokens).first(3))};
  }
  Segment& second() { return batch[1]; }
  // Asks for `per_row` targets for all rows of the second segment.
  void want_targets(std::size_t num_targets, std::size_t per_row) {
    targets.assign(num_targets, 0);
    second().wanted.log_probs = Rows::kAll;
    second().wanted.targets = targets;
    second().wanted.targets_per_row = per_row;
  }

  // The second segment samples; returns with what parameters.
  SamplingParams& sampling() {
    second().wanted.sample = &params;
    params.temperature = 1.0F;
    return params;
  }
  TokenId past_vocabulary() const { return static_cast<TokenId>(config.vocab_size); }

  const ModelConfig& config;
  std::vector<TokenId> tokens, targets;
  std::vector<Segment> batch;
  SamplingParams params;
  TokenCount count{0, 1, 1};
};

struct Rule {
  const char* name;
  void (*spoil)(Spoiled&);
};

const std::vector<Rule>& submit_rules() {
  static const std::vector<Rule> rules = {
      {"a slot named twice", [](Spoiled& s) { s.second().slot = 0; }},
      {"a slot below 0", [](Spoiled& s) { s.second().slot = -1; }},
      {"a slot past the last", [](Spoiled& s) { s.second().slot = 4; }},
      {"a segment without tokens", [](Spoiled& s) { s.second().tokens = {}; }},
      {"a negative position", [](Spoiled& s) { s.second().position = -1; }},
      {"a token below 0", [](Spoiled& s) { s.tokens[2] = -1; }},
      {"a token past the vocabulary",
       [](Spoiled& s) { s.tokens[2] = static_cast<TokenId>(s.config.vocab_size); }},
      {"a target below 0",
       [](Spoiled& s) {
         s.want_targets(3, 1);
         s.targets[2] = -1;
       }},
      {"a target past the vocabulary",
       [](Spoiled& s) {
         s.want_targets(3, 1);
         s.targets[2] = static_cast<TokenId>(s.config.vocab_size);
       }},
      {"too few targets", [](Spoiled& s) { s.want_targets(2, 1); }},
      {"too many targets", [](Spoiled& s) { s.want_targets(6, 1); }},
      {"targets for no rows",
       [](Spoiled& s) {
         s.want_targets(3, 1);
         s.second().wanted.log_probs = Rows::kNone;
       }},
      {"a top longer than the vocabulary",
       [](Spoiled& s) {
         s.second().wanted.log_probs = Rows::kLast;
         s.second().wanted.top_n = s.config.vocab_size + 1;
       }},
      {"a negative temperature", [](Spoiled& s) { s.sampling().temperature = -1.0F; }},
      {"a top_p that is NaN",
       [](Spoiled& s) { s.sampling().top_p = std::numeric_limits<float>::quiet_NaN(); }},
      {"a negative top_k", [](Spoiled& s) { s.sampling().top_k = -1; }},
      {"a repetition penalty of 0", [](Spoiled& s) { s.sampling().repetition_penalty = 0.0F; }},
      {"a bias past the vocabulary",
       [](Spoiled& s) {
         s.sampling().logit_bias = {{s.past_vocabulary(), 1.0F}};
       }},
      {"a banned token past the vocabulary", [](Spoiled& s) { s.sampling().banned = {s.past_vocabulary()}; }},
      {"an allowed token below 0",
       [](Spoiled& s) {
         s.sampling().allowed = {1, -1};
       }},
      {"a counted id past the vocabulary",
       [](Spoiled& s) {
         s.sampling();
         s.count.id = s.past_vocabulary();
         s.second().wanted.counts = {&s.count, 1};
       }},
      {"a token banned in the step past the vocabulary",
       [](Spoiled& s) {
         s.sampling();
         s.targets = {0, s.past_vocabulary()};
         s.second().wanted.banned = s.targets;
       }},
      {"more tokens than a batch holds",
       [](Spoiled& s) { s.second().tokens = std::span(s.tokens).first(s.tokens.size() - 2); }},
      {"more rows of raw logits than a batch holds",
       [](Spoiled& s) {
         s.batch[0].wanted.logits = Rows::kAll;
         s.second().tokens = std::span(s.tokens).first(kLogitsRows - 1);
         s.second().wanted.logits = Rows::kAll;
       }},
      {"a last sample that was never drawn",
       [](Spoiled& s) {
         s.second().tokens = {};
         s.second().token_from_last_sample = true;
       }},
      {"tokens beside a last sample",
       [](Spoiled& s) {
         s.second().slot = 2;
         s.second().position = 1;
         s.second().token_from_last_sample = true;
       }},
  };
  return rules;
}

// A driver with slot 2 past one token that sampled, the others past none.
struct Prepared {
  explicit Prepared(const Subject& subject) : driver(subject, {.max_logits_rows = kLogitsRows}) {
    const TokenId token = 0;
    const SamplingParams greedy;
    Wanted wanted;
    wanted.sample = &greedy;
    driver.read(2, 0, {&token, 1}, wanted);
    states = all_states();
  }
  std::vector<Bytes> all_states() const {
    return {driver.save(0, 0), driver.save(1, 0), driver.save(2, 1), driver.save(3, 0)};
  }
  void require_unchanged(std::string_view what) const {
    const std::vector<Bytes> now = all_states();
    for (std::size_t slot = 0; slot < states.size(); ++slot) {
      require(now[slot] == states[slot], "{}: refused, but slot {} changed", what, slot);
    }
  }

  Driver driver;
  std::vector<Bytes> states;
};

void rule_is_kept(const Subject& subject, const Rule& rule) {
  const Prepared prepared(subject);
  const Driver& driver = prepared.driver;
  Spoiled good(driver);
  Spoiled spoiled(driver);
  rule.spoil(spoiled);
  require_logic_error([&] { driver.backend->submit(spoiled.batch); }, rule.name);
  prepared.require_unchanged(rule.name);
  // Nothing is in flight, and a good batch works as if nothing had happened.
  require_logic_error([&] { driver.backend->wait(); }, std::string("wait after refused: ") + rule.name);
  for (Segment& one : good.batch) one.wanted.logits = Rows::kLast;
  const Driver fresh(subject);
  const std::vector<Result> found = driver.step(good.batch), wanted = fresh.step(good.batch);
  for (const std::size_t i : {0U, 1U}) {
    require(same_bits(found[i].logits, wanted[i].logits),
            "{}: refused, but the next batch gives other logits", rule.name);
  }
}

void limits_can_be_reached(const Subject& subject) {
  const Driver driver(subject, {.max_logits_rows = kLogitsRows});
  const std::vector<TokenId> tokens = test::Random(61).tokens(driver.max_tokens, driver.V);
  const auto all = std::span(tokens);
  Wanted wanted;
  wanted.log_probs = Rows::kLast;
  wanted.top_n = driver.V;
  const Segment batch[] = {segment(3, 0, all.first(kLogitsRows), all_logits()),
                           segment(0, 0, all.subspan(kLogitsRows), wanted)};
  const std::vector<Result> results = driver.step(batch);
  require(results[0].logits.size() == kLogitsRows * driver.V,
          "not all rows of raw logits that info() promises");
  require(results[1].top.size() == driver.V, "not the whole vocabulary as top");
}

void forgotten_sample_refused(const Subject& subject) {
  const Prepared prepared(subject);
  const Driver& driver = prepared.driver;
  const TokenId token = 0;
  driver.read(2, 1, {&token, 1});  // samples nothing
  const Bytes before = driver.save(2, 2);
  Segment by_sample = segment(2, 2, {});
  by_sample.token_from_last_sample = true;
  require_logic_error(
      [&] {
        driver.backend->submit({&by_sample, 1});
      },
      "a last sample, where the last segment drew none");
  require(driver.save(2, 2) == before, "a refused last sample changed the slot");
}

void one_batch_in_flight(const Subject& subject) {
  const Driver driver(subject);
  const Reference reference(driver, 62, 4);
  driver.backend->reset(1);
  require_logic_error([&] { driver.backend->wait(); }, "wait without a batch");
  const Segment first = segment(1, 0, reference.part(0, 2), all_logits());
  const Segment second = segment(1, 2, reference.part(2, 4), all_logits());
  const Segment elsewhere = segment(2, 0, reference.part(2, 4));
  driver.backend->submit({&first, 1});
  require_logic_error([&] { driver.backend->submit({&elsewhere, 1}); }, "submit with a batch in flight");
  require(same_bits(own(driver.backend->wait()[0]).logits, reference.logits_of(0, 2)),
          "a refused submit changed the batch in flight");
  require_logic_error([&] { driver.backend->wait(); }, "wait twice for one batch");
  require(driver.save(2, 0) == reference.state_at(0), "a refused submit changed its slot");
  require(same_bits(driver.step({&second, 1})[0].logits, reference.logits_of(2, 4)),
          "a refused submit changed what follows");
}

void wrong_state_size_refused(const Subject& subject) {
  const Driver driver(subject);
  const Reference reference(driver, 63, driver.config.mini_batch_size + 2);
  for (const std::int64_t position : {std::int64_t{0}, driver.K + 1}) {
    driver.start(1, reference.part(0, position));
    const std::size_t right = state_bytes(driver.config, position);
    for (const std::size_t size : {std::size_t{0}, right - 4, right - 1, right + 1, right + 4}) {
      // Half of pi's bytes: a value that no state holds everywhere.
      Bytes bytes(size, std::byte{0x49});
      const Bytes untouched = bytes;
      require_logic_error([&] { driver.backend->load(1, position, bytes); },
                          fmt::format("load of {} bytes for {}", size, right));
      require(driver.save(1, position) == reference.state_at(position), "a refused load changed the slot");
      require_logic_error([&] { driver.backend->save(1, position, bytes); },
                          fmt::format("save to {} bytes for {}", size, right));
      require(bytes == untouched, "a refused save wrote into the buffer");
    }
  }
}

void slot_out_of_range_refused(const Subject& subject) {
  const Prepared prepared(subject);
  Backend& backend = *prepared.driver.backend;
  Bytes bytes = prepared.states[0];
  for (const SlotId slot : {-1, 4, std::numeric_limits<SlotId>::max(), std::numeric_limits<SlotId>::min()}) {
    require_logic_error([&] { backend.reset(slot); }, fmt::format("reset of slot {}", slot));
    require_logic_error([&] { backend.copy(slot, 0, 0); }, fmt::format("copy from slot {}", slot));
    require_logic_error([&] { backend.copy(0, slot, 0); }, fmt::format("copy to slot {}", slot));
    require_logic_error([&] { backend.rewind(slot, 0, 0); }, fmt::format("rewind of slot {}", slot));
    require_logic_error([&] { backend.save(slot, 0, bytes); }, fmt::format("save of slot {}", slot));
    require_logic_error([&] { backend.load(slot, 0, bytes); }, fmt::format("load into slot {}", slot));
    prepared.require_unchanged(fmt::format("slot {}", slot));
  }
}

}  // namespace

std::vector<std::string> submit_preconditions() {
  std::vector<std::string> names;
  for (const Rule& rule : submit_rules()) names.emplace_back(rule.name);
  return names;
}

std::vector<Check> refusal_checks() {
  std::vector<Check> checks;
  for (const Rule& rule : submit_rules()) {
    checks.push_back({std::string("refuses: ") + rule.name,
                      [&rule](const Subject& subject) { rule_is_kept(subject, rule); }});
  }
  checks.push_back({"the limits of info can be reached", limits_can_be_reached});
  checks.push_back({"refuses: a last sample from before the last segment", forgotten_sample_refused});
  checks.push_back({"one batch is in flight at a time", one_batch_in_flight});
  checks.push_back({"refuses: a state of another size", wrong_state_size_refused});
  checks.push_back({"refuses: a slot out of range in every call", slot_out_of_range_refused});
  return checks;
}

}  // namespace ttt::contract
