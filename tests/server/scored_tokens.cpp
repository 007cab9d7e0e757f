// SPDX-License-Identifier: Apache-2.0
#include "server/scored_tokens.h"

#include <catch2/catch.hpp>
#include <limits>

#include "engine/tokenizer_metadata.h"
#include "weights/checkpoint.h"

namespace ttt::server {
namespace {

struct BundledTokenizer {
  weights::Checkpoint checkpoint = weights::Checkpoint::open(TTT_MODELS "/demo-linear.gguf");
  tokenizer::Tokenizer tokenizer = *load_tokenizer(checkpoint, std::size_t{1} << 20);
};

TokenInfo info(TokenId id, float log_prob = -1.0F) { return {.id = id, .log_prob = log_prob, .top = {}}; }

}  // namespace

TEST_CASE("a text's tokens, one behind the other, are the text, and offsets say where each begins") {
  const BundledTokenizer bundled;
  const std::string text = "Once upon a time there was";
  TokenScorer scorer(&bundled.tokenizer, {}, false);
  std::string joined;
  for (const TokenId id : bundled.tokenizer.encode(text)) {
    const ScoredToken token = scorer.next(info(id));
    CHECK(token.offset == count_code_points(joined));
    joined += token.text;
  }
  CHECK(joined == text);
}

TEST_CASE("bytes of one character have its place and names of their own") {
  const BundledTokenizer bundled;
  TokenScorer scorer(&bundled.tokenizer, {}, false);
  const char* const names[] = {"bytes:\\xf0", "bytes:\\x9f", "bytes:\\x98", "bytes:\\x80"};
  const char* const pieces[] = {"<0xF0>", "<0x9F>", "<0x98>", "<0x80>"};
  for (int i = 0; i < 4; ++i) {
    const ScoredToken token = scorer.next(info(*bundled.tokenizer.find_piece(pieces[i])));
    CHECK(token.text == names[i]);
    CHECK(token.bytes == std::string(1, "\xf0\x9f\x98\x80"[i]));
    CHECK(token.offset == 0);
  }
  CHECK(scorer.next(info(*bundled.tokenizer.find_piece("<0xE2>"))).offset == 1);
  // An unfinished character becomes U+FFFD before what follows.
  const std::vector<TokenId> word = bundled.tokenizer.encode("a");
  CHECK(scorer.next(info(word.back())).offset == 2);
}

TEST_CASE("a continuation's offsets begin at zero, its first space stays") {
  const BundledTokenizer bundled;
  const std::vector<TokenId> ids = bundled.tokenizer.encode("Once upon");
  const std::vector<TokenId> more = bundled.tokenizer.encode("dog");
  TokenScorer scorer(&bundled.tokenizer, ids, false);
  const ScoredToken token = scorer.next(info(more.front()));
  CHECK(token.offset == 0);
  CHECK(token.text.front() == ' ');
}

TEST_CASE("the chosen token is among the most probable, with the same value, and -infinity has a number") {
  TokenScorer scorer(nullptr, {}, false);
  const float never = -std::numeric_limits<float>::infinity();
  const ScoredToken token = scorer.next({.id = 3, .log_prob = -2.5F, .top = {{1, -0.5F}, {2, never}}});
  CHECK(token.text == "token_id:3");
  REQUIRE(token.top.size() == 3);
  CHECK(token.num_best == 2);
  CHECK(token.top[1].text == "token_id:2");
  CHECK(token.top[1].log_prob == kNeverLogProb);
  CHECK(token.top[2].text == "token_id:3");
  CHECK(token.top[2].log_prob == -2.5F);
  CHECK(scorer.next({.id = 1, .log_prob = -0.5F, .top = {{1, -0.5F}}}).top.size() == 1);
}

TEST_CASE("two tokens of one text keep apart") {
  const BundledTokenizer bundled;
  const auto byte = bundled.tokenizer.find_piece("<0x61>");
  const auto letter = bundled.tokenizer.find_piece("a");
  REQUIRE((byte && letter));
  TokenScorer scorer(&bundled.tokenizer, std::vector<TokenId>{*letter}, false);
  const ScoredToken token =
      scorer.next({.id = *letter, .log_prob = -0.1F, .top = {{*letter, -0.1F}, {*byte, -3.0F}}});
  REQUIRE(token.top.size() == 2);
  CHECK(token.top[0].text == "a");
  CHECK(token.top[1].text != "a");
}

TEST_CASE("the first token of a sequence has no log-probability") {
  TokenScorer scorer(nullptr, {}, true);
  const ScoredToken token = scorer.next({.id = 1, .log_prob = {}, .top = {}});
  CHECK(!token.log_prob);
  CHECK(token.top.empty());
}

}  // namespace ttt::server
