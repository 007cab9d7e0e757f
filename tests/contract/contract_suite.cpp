// SPDX-License-Identifier: Apache-2.0
// The checks themselves: they pass on a backend that keeps the contract, and each one fails on a backend
// that breaks its sentence.
#include <catch2/catch.hpp>
#include <set>
#include <string>
#include <vector>

#include "tests/contract/backend_contract.h"
#include "tests/contract/fake_backend.h"
#include "tests/random_model.h"

namespace ttt::contract {
namespace {

ModelConfig small_config(bool all_switches) {
  ModelConfig config;
  config.vocab_size = 12;
  config.hidden_size = 8;
  config.intermediate_size = 8;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 2;
  config.mini_batch_size = 5;
  config.pre_conv = config.share_qk = config.use_gate = all_switches;
  return config;
}

Subject fake(const test::RandomModel& model, const FakeOptions& options = {}) {
  return {model.model, [options](const Model& m, std::size_t slots, std::size_t tokens, std::size_t rows,
                                 std::size_t threads) {
            return make_fake_backend(m, slots, tokens, rows, threads, options);
          }};
}

struct Planted {
  Bug bug;
  const char* check;  // that must find it
};

const std::vector<Planted>& planted_bugs() {
  static const std::vector<Planted> bugs = {
      {Bug::kResetToZeros, "reset sets the learned initial fast weights and zero convolution inputs"},
      {Bug::kResetKeepsConvInputs, "reset forgets what the slot held"},
      {Bug::kResetKeepsOpenRows, "reset forgets what the slot held"},
      {Bug::kCopyAliases, "a copy equals its source and is independent of it"},
      {Bug::kCopyForgetsOpenRows, "a copy equals its source and is independent of it"},
      {Bug::kRewindOneShort, "rewind is as if the dropped tokens had never been read"},
      {Bug::kRewindKeepsConvInputs, "rewind is as if the dropped tokens had never been read"},
      {Bug::kRewindNeedsOwnRows, "rewind works on a loaded state"},
      {Bug::kRewindAcrossCommit, "rewind across a commit is refused and changes nothing"},
      {Bug::kSaveOmitsLastOpenRow, "a saved state goes on in any slot of any backend"},
      {Bug::kLoadKeepsConvInputs, "a saved state goes on in any slot of any backend"},
      {Bug::kSaveCommits, "saving leaves the slot as it is"},
      {Bug::kLoadKeepsPhase, "sequences swap in one slot without noticing"},
      {Bug::kSegmentsCommit, "any split of a prompt gives the same bits"},
      {Bug::kSegmentsForgetConvInputs, "cuts around a mini-batch's end give the same bits"},
      {Bug::kOrderInBatchMatters, "a row in a batch equals the same row alone"},
      {Bug::kNeighbourWritten, "slots that are not named are untouched"},
      {Bug::kThreadsMatter, "one thread and two give the same bits"},
      {Bug::kNanLeaks, "NaN stays in its slot"},
      {Bug::kLogitsChangeState, "what is wanted does not change what is computed"},
      {Bug::kPositionIn32Bits, "positions go beyond 32 bits"},
      {Bug::kInfoWrong, "info states the sizes"},
      {Bug::kLastIsFirst, "raw logits come for the rows asked for"},
      {Bug::kStaleResults, "nothing comes that was not asked for"},
      {Bug::kLogProbsUnnormalised, "log-probabilities of targets are those of the softmax"},
      {Bug::kTiesToHighestId, "the top tokens are sorted, ties to the lowest id"},
      {Bug::kSamplePositionOneShort, "the sampled token is that of the engine's sampler"},
      {Bug::kCountsIgnored, "penalties look at the counts"},
      {Bug::kStepBansIgnored, "bans, permissions and biases are kept"},
      {Bug::kBannedIgnored, "bans, permissions and biases are kept"},
      {Bug::kAllowedIgnored, "bans, permissions and biases are kept"},
      {Bug::kLogitBiasIgnored, "bans, permissions and biases are kept"},
      {Bug::kRepetitionPenaltyIgnored, "penalties look at the counts"},
      {Bug::kPresencePenaltyIgnored, "penalties look at the counts"},
      {Bug::kFrequencyPenaltyIgnored, "penalties look at the counts"},
      {Bug::kTopKIgnored, "filters keep what the engine's sampler keeps"},
      {Bug::kTypicalPIgnored, "filters keep what the engine's sampler keeps"},
      {Bug::kTopPIgnored, "filters keep what the engine's sampler keeps"},
      {Bug::kMinPIgnored, "filters keep what the engine's sampler keeps"},
      {Bug::kTopPBeforeTypicalP, "filters keep what the engine's sampler keeps"},
      {Bug::kMinPBeforeTopP, "filters keep what the engine's sampler keeps"},
      {Bug::kLastSampleOfAnySlot, "the token sampled last is read as its id would be"},
      {Bug::kLossesRestartWithSegment, "inner losses depend on the sequence alone"},
      {Bug::kSmallResultsUseLogitsRows, "small results need no rows of raw logits"},
      {Bug::kResetClearsResults, "results live until the next submit"},
      {Bug::kAllocates, "no step allocates after the first"},
      {Bug::kAllocates, "log-probabilities allocate only where more are wanted than before"},
      {Bug::kCopyAllocates, "moving states allocates nothing"},
      {Bug::kRulesCheckedLate, "refuses: a target past the vocabulary"},
      {Bug::kLimitOneLess, "the limits of info can be reached"},
      {Bug::kSecondBatchTaken, "one batch is in flight at a time"},
      {Bug::kSampleNeverForgotten, "refuses: a last sample from before the last segment"},
      {Bug::kSizeUnchecked, "refuses: a state of another size"},
      {Bug::kSlotUnchecked, "refuses: a slot out of range in every call"},
  };
  return bugs;
}

const Check& check_named(const std::string& name) {
  for (const Check& check : all_checks()) {
    if (check.name == name) return check;
  }
  throw std::invalid_argument("no check \"" + name + "\"");
}

}  // namespace

TEST_CASE("every check passes on a backend that keeps the contract") {
  for (const bool all_switches : {true, false}) {
    const test::RandomModel model(small_config(all_switches));
    for (const Check& check : all_checks()) {
      INFO(check.name);
      CHECK(first_violation(check, fake(model)).value_or("") == "");
    }
  }
}

TEST_CASE("a check fails on the bug that was planted for it") {
  const test::RandomModel model(small_config(true));
  for (const Planted& planted : planted_bugs()) {
    INFO("bug " << static_cast<int>(planted.bug) << ", check: " << planted.check);
    CHECK(first_violation(check_named(planted.check), fake(model, {planted.bug, {}})).has_value());
  }
}

TEST_CASE("a precondition that a backend does not check is noticed") {
  const test::RandomModel model(small_config(true));
  for (const std::string& rule : submit_preconditions()) {
    INFO(rule);
    CHECK(first_violation(check_named("refuses: " + rule), fake(model, {Bug::kNone, rule})).has_value());
  }
}

TEST_CASE("every check has a bug that it finds") {
  std::set<std::string> proven;
  for (const Planted& planted : planted_bugs()) proven.insert(planted.check);
  for (const std::string& rule : submit_preconditions()) proven.insert("refuses: " + rule);
  for (const Check& check : all_checks()) {
    INFO(check.name);
    CHECK(proven.contains(check.name));
  }
}

}  // namespace ttt::contract
