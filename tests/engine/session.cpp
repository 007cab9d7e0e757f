// SPDX-License-Identifier: Apache-2.0
#include "engine/session.h"

#include <catch2/catch.hpp>
#include <string>
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
    text += session.accept(last && !ids.empty() ? sampled(ids[0]) : SegmentResult{});
  }
  for (std::size_t i = 1; i < ids.size() && session.reason() == FinishReason::kRunning; ++i) {
    const Segment segment = session.next_segment(4);
    CHECK(segment.token_from_last_sample);
    text += session.accept(sampled(ids[i]));
  }
  return text + session.finish();
}

}  // namespace

TEST_CASE("a session reads its prompt in pieces and samples after the last one") {
  GenerationRequest request;
  request.prompt = {1, 5, 6, 7, 8, 9};
  Session session(request, 3, nullptr);
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
  Session session(request, 0, nullptr);
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
  Session session(request, 0, nullptr);
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
  Session session(request, 0, nullptr);
  drive(session, {5, 2, 7});
  CHECK(session.reason() == FinishReason::kEndOfText);
  CHECK(session.generated() == std::vector<TokenId>{5});
}

TEST_CASE("a stop string ends a session before it shows") {
  const std::vector<TokenId> ids = demo_tokenizer().encode("the old man said nothing at all");
  GenerationRequest request;
  request.prompt = {1};
  request.stop_strings = {"nothing"};
  Session session(request, 0, &demo_tokenizer());
  CHECK(drive(session, ids) == "the old man said ");
  CHECK(session.reason() == FinishReason::kStopString);
}

TEST_CASE("the text of a session continues its prompt with the right spaces") {
  std::vector<TokenId> prompt = demo_tokenizer().encode("It was late");
  const std::vector<TokenId> all = demo_tokenizer().encode("It was late in the evening");
  REQUIRE(std::equal(prompt.begin(), prompt.end(), all.begin()));
  GenerationRequest request;
  request.prompt = prompt;
  Session session(request, 0, &demo_tokenizer());
  CHECK(drive(session, {all.begin() + static_cast<std::ptrdiff_t>(prompt.size()), all.end()}) ==
        " in the evening");
}

TEST_CASE("a session without a prompt is refused") {
  CHECK_THROWS_AS(Session({}, 0, nullptr), std::logic_error);
}

TEST_CASE("ids of a padded vocabulary, which the tokenizer does not have, have no text") {
  GenerationRequest request;
  request.prompt = {1, 5000};
  Session session(request, 0, &demo_tokenizer());
  const std::vector<TokenId> word = demo_tokenizer().encode("evening");
  REQUIRE(word.size() == 1);
  CHECK(drive(session, {4096, word[0], 100'000}) == "evening");
  CHECK(session.generated() == std::vector<TokenId>{4096, word[0], 100'000});
}
