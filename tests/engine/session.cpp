// SPDX-License-Identifier: Apache-2.0
#include "engine/session.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/engine/checkpoint_folder.h"

using namespace ttt;
using tokenizer::Tokenizer;

namespace {

SegmentResult sampled(TokenId id) {
  SegmentResult result;
  result.sampled = {id, -1.0F};
  return result;
}

std::shared_ptr<const GenerationRequest> share(GenerationRequest request) {
  return std::make_shared<const GenerationRequest>(std::move(request));
}

const Tokenizer& demo_tokenizer() {
  static const Tokenizer tokenizer =
      Tokenizer::from_model(test::file_contents(TTT_TEST_DATA "/tokenizer/demo.model"), "demo.model");
  return tokenizer;
}

// Feeds `ids` as if a backend had sampled them; returns the text.
std::string drive(Session& session, const std::vector<TokenId>& ids) {
  std::string text;
  while (session.reading_prompt() && session.reason() == FinishReason::kRunning) {
    const Segment segment = session.next_segment(4);
    const bool last = segment.position + static_cast<std::int64_t>(segment.num_tokens()) ==
                      static_cast<std::int64_t>(session.prompt_tokens());
    CHECK((segment.wanted.sample != nullptr) == last);
    text += session.accept(last && !ids.empty() ? sampled(ids[0]) : SegmentResult{}).text;
  }
  for (std::size_t i = 1; i < ids.size() && session.reason() == FinishReason::kRunning; ++i) {
    const Segment segment = session.next_segment(4);
    CHECK(segment.token_from_last_sample);
    text += session.accept(sampled(ids[i])).text;
  }
  return text + session.finish();
}

}  // namespace

TEST_CASE("a session reads its prompt in pieces and samples after the last one") {
  GenerationRequest request;
  request.prompt = {1, 5, 6, 7, 8, 9};
  Session session(share(request), 3, nullptr);
  const Segment first = session.next_segment(4);
  CHECK(first.slot == 3);
  CHECK(first.position == 0);
  CHECK(std::vector<TokenId>(first.tokens.begin(), first.tokens.end()) == std::vector<TokenId>{1, 5, 6, 7});
  CHECK(first.wanted.sample == nullptr);
  session.accept({});
  CHECK(session.reading_prompt());
  const Segment second = session.next_segment(4);
  CHECK(second.position == 4);
  CHECK(second.tokens.size() == 2);
  CHECK(second.wanted.sample != nullptr);
  session.accept(sampled(11));
  CHECK(session.generated() == std::vector<TokenId>{11});
  const Segment third = session.next_segment(4);
  CHECK(third.token_from_last_sample);
  CHECK(third.position == 6);
}

TEST_CASE("a session ends after max_tokens without reading the last one") {
  GenerationRequest request;
  request.prompt = {1};
  request.max_tokens = 3;
  Session session(share(request), 0, nullptr);
  drive(session, {5, 6, 7, 8, 9});
  CHECK(session.reason() == FinishReason::kLength);
  CHECK(session.generated() == std::vector<TokenId>{5, 6, 7});
  CHECK(session.position() == 3);
  CHECK_THROWS_AS(session.next_segment(4), std::logic_error);
}

TEST_CASE("max_tokens 0 reads the prompt and generates nothing") {
  GenerationRequest request;
  request.prompt = {1, 2, 3};
  request.max_tokens = 0;
  Session session(share(request), 0, nullptr);
  const Segment segment = session.next_segment(10);
  CHECK(segment.wanted.sample == nullptr);
  session.accept({});
  CHECK(session.reason() == FinishReason::kLength);
  CHECK(session.generated().empty());
  CHECK(session.position() == 3);
}

TEST_CASE("the end-of-text token ends a session and is not part of the output") {
  GenerationRequest request;
  request.prompt = {1};
  request.eos_id = 2;
  request.max_tokens = -1;
  Session session(share(request), 0, nullptr);
  drive(session, {5, 2, 7});
  CHECK(session.reason() == FinishReason::kEndOfText);
  CHECK(session.generated() == std::vector<TokenId>{5});
}

TEST_CASE("a token that ended the text is no part of it where the rest of the text completes a stop string") {
  const std::vector<TokenId> snowman = demo_tokenizer().encode_continuation("\u2603");
  REQUIRE(snowman.size() >= 3);  // its bytes
  GenerationRequest request;
  request.prompt = demo_tokenizer().encode("the old");
  request.eos_id = 2;
  request.stop_strings = {"\uFFFD"};  // what a part of a character becomes in the end
  Session session(share(request), 0, &demo_tokenizer());
  drive(session, {snowman[snowman.size() - 3], 2});
  CHECK(session.reason() == FinishReason::kStopString);
  CHECK(session.ended_by_token());
  CHECK(session.generated() == std::vector<TokenId>{snowman[snowman.size() - 3]});
}

TEST_CASE("a stop string ends a session before it shows") {
  const std::vector<TokenId> ids = demo_tokenizer().encode("the old man said nothing at all");
  GenerationRequest request;
  request.prompt = {1};
  request.stop_strings = {"nothing"};
  Session session(share(request), 0, &demo_tokenizer());
  CHECK(drive(session, ids) == "the old man said ");
  CHECK(session.reason() == FinishReason::kStopString);
}

TEST_CASE("the text of a session continues its prompt with the right spaces") {
  std::vector<TokenId> prompt = demo_tokenizer().encode("It was late");
  const std::vector<TokenId> all = demo_tokenizer().encode("It was late in the evening");
  REQUIRE(std::equal(prompt.begin(), prompt.end(), all.begin()));
  GenerationRequest request;
  request.prompt = prompt;
  Session session(share(request), 0, &demo_tokenizer());
  CHECK(drive(session, {all.begin() + static_cast<std::ptrdiff_t>(prompt.size()), all.end()}) ==
        " in the evening");
}

TEST_CASE("a session without a prompt is refused") {
  CHECK_THROWS_AS(Session(share({}), 0, nullptr), std::logic_error);
}

TEST_CASE("ids of a padded vocabulary, which the tokenizer does not have, have no text") {
  GenerationRequest request;
  request.prompt = {1, 5000};
  Session session(share(request), 0, &demo_tokenizer());
  const std::vector<TokenId> word = demo_tokenizer().encode("evening");
  REQUIRE(word.size() == 1);
  CHECK(drive(session, {4096, word[0], 100'000}) == "evening");
  CHECK(session.generated() == std::vector<TokenId>{4096, word[0], 100'000});
}

TEST_CASE("a stop id ends a session and says which it was") {
  GenerationRequest request;
  request.prompt = {1};
  request.eos_id = 2;
  request.stop_ids = {40, 41};
  Session session(share(request), 0, nullptr);
  drive(session, {5, 41, 7});
  CHECK(session.reason() == FinishReason::kStopId);
  CHECK(session.stop_id() == 41);
  CHECK(session.generated() == std::vector<TokenId>{5});
}

TEST_CASE("before min_tokens what ends the text is banned, afterwards not") {
  GenerationRequest request;
  request.prompt = {1};
  request.eos_id = 2;
  request.stop_ids = {40};
  request.min_tokens = 2;
  Session session(share(request), 0, nullptr);
  const std::vector<TokenId> ending = {2, 40};
  for (int token = 0; token < 3; ++token) {
    const Segment segment = session.next_segment(8);
    const bool banned = std::ranges::equal(segment.wanted.banned, ending);
    CHECK(banned == (token < 2));
    CHECK(segment.wanted.banned.empty() == (token >= 2));
    session.accept(sampled(5));
  }
}

TEST_CASE("a session says what it has read to those who judge repetition") {
  GenerationRequest request;
  request.prompt = {1, 6, 6};
  request.sampling.repeat_last_n = -1;
  Session session(share(request), 0, nullptr);
  session.next_segment(8);
  session.accept(sampled(7));
  const Segment segment = session.next_segment(8);
  std::map<TokenId, std::pair<std::uint32_t, std::uint32_t>> counts;
  for (const TokenCount& count : segment.wanted.counts) {
    counts[count.id] = {count.in_window, count.in_output};
  }
  CHECK(counts == decltype(counts){{1, {1, 0}}, {6, {2, 0}}, {7, {1, 1}}});
}

TEST_CASE("log-probabilities of a prompt cover it in order, however it was cut") {
  GenerationRequest request;
  request.prompt = {10, 11, 12, 13, 14};
  request.top_log_probs = 1;
  request.prompt_log_probs = true;
  for (const std::size_t longest : {1U, 2U, 3U, 5U}) {
    Session session(share(request), 0, nullptr);
    std::vector<TokenInfo> infos;
    TokenInfo drawn;
    while (session.reading_prompt()) {
      const Segment segment = session.next_segment(longest);
      REQUIRE(segment.wanted.targets.size() == segment.num_tokens());
      std::vector<float> target_log_probs;
      std::vector<TokenLogProb> top;
      for (std::size_t row = 0; row < segment.num_tokens(); ++row) {
        target_log_probs.push_back(-static_cast<float>(segment.wanted.targets[row]));
        top.push_back({segment.tokens[row], -0.5F});
      }
      SegmentResult result = sampled(20);
      result.target_log_probs = target_log_probs;
      result.top = top;
      SessionStep step = session.accept(result);
      infos.insert(infos.end(), step.prompt_tokens.begin(), step.prompt_tokens.end());
      if (step.token) drawn = *step.token;
    }
    REQUIRE(infos.size() == 5);
    CHECK(infos[0] == TokenInfo{10, std::nullopt, {}});
    for (std::size_t i = 1; i < 5; ++i) {
      CHECK(infos[i].id == request.prompt[i]);
      CHECK(infos[i].log_prob == -static_cast<float>(request.prompt[i]));
      REQUIRE(infos[i].top.size() == 1);
      CHECK(infos[i].top[0].id == request.prompt[i - 1]);  // of the row that predicts it
    }
    CHECK(drawn.id == 20);
    CHECK(drawn.log_prob == -1.0F);
    REQUIRE(drawn.top.size() == 1);
    CHECK(drawn.top[0].id == 14);
  }
}

TEST_CASE("a session at rest goes on with the same tokens and the same text, from anywhere") {
  const std::vector<TokenId> prompt = demo_tokenizer().encode("It was");
  const std::vector<TokenId> ids = demo_tokenizer().encode("late \xE2\x82\xAC in the even");
  GenerationRequest request;
  request.prompt = prompt;
  request.stop_strings = {"even the", "in the eve"};
  request.sampling.repeat_last_n = 3;
  const auto shared = share(request);
  Session whole(shared, 0, &demo_tokenizer());
  const std::string text = drive(whole, ids);
  const std::size_t num_drawn = whole.generated().size();
  for (std::size_t cut = 0; cut < num_drawn; ++cut) {
    Session before(shared, 0, &demo_tokenizer());
    std::string joined;
    while (before.reading_prompt() && cut > 0) {
      before.next_segment(8);
      joined += before.accept(sampled(ids[0])).text;
    }
    for (std::size_t i = 1; i < cut; ++i) {
      before.next_segment(8);
      joined += before.accept(sampled(ids[i])).text;
    }
    Session after(shared, 3, &demo_tokenizer(), 2, before.record());
    CHECK(after.record() == before.record());
    CHECK(after.choice() == 2);
    for (std::size_t i = cut; after.reason() == FinishReason::kRunning; ++i) {
      const Segment segment = after.next_segment(8);
      CHECK(segment.slot == 3);
      if (i == cut && cut > 0) {  // a slot that was loaded does not know the last token
        CHECK(std::ranges::equal(segment.tokens, std::vector<TokenId>{ids[cut - 1]}));
      }
      joined += after.accept(sampled(ids[i])).text;
    }
    joined += after.finish();
    CHECK(joined == text);
    CHECK(after.generated() == whole.generated());
    CHECK(after.stop_string() == "in the eve");
  }
}

TEST_CASE("a record that its request cannot have is refused") {
  GenerationRequest request;
  request.prompt = {1, 2, 3};
  request.eos_id = 9;
  request.max_tokens = 3;
  const auto shared = share(request);
  const std::vector<SessionRecord> wrong = {{-1, {}, 0.0},      {3, {}, 0.0},  {4, {}, 0.0},
                                            {2, {5}, 0.0},      {4, {5}, 0.0}, {4, {5, 9}, 0.0},
                                            {5, {5, 6, 7}, 0.0}};
  for (const SessionRecord& record : wrong) {
    INFO(record.position << " " << record.generated.size());
    CHECK_THROWS_AS(Session(shared, 0, nullptr, 0, record), std::invalid_argument);
  }
  CHECK_NOTHROW(Session(shared, 0, nullptr, 0, {4, {5, 6}, -1.0}));
}
