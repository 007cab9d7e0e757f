// SPDX-License-Identifier: Apache-2.0
#include "tokenizer/text_stream.h"

#include <catch2/catch.hpp>

#include "tests/tokenizer/small_model.h"

namespace ttt::tokenizer {
namespace {

// 3 "a", 4 "b", 5 "ab".
const Tokenizer& letters() {
  static const Tokenizer tokenizer = Tokenizer::from_model(SmallModel().bytes(), "m.model");
  return tokenizer;
}

struct Outcome {
  std::string text;
  std::optional<std::size_t> stopped_by;
};

Outcome run(const Tokenizer& tokenizer, std::span<const TokenId> ids, const std::vector<std::string>& stops) {
  TextStream stream(tokenizer, {}, stops);
  Outcome outcome;
  for (const TokenId id : ids) outcome.text += stream.push(id);
  outcome.text += stream.finish();
  outcome.stopped_by = stream.stopped_by();
  return outcome;
}

// By the rule in the header, naively, on the whole text.
Outcome expected(const std::string& text, const std::vector<std::string>& stops) {
  for (std::size_t end = 1; end <= text.size(); ++end) {
    std::optional<std::size_t> met;
    for (std::size_t i = 0; i < stops.size(); ++i) {
      const bool ends_here = !stops[i].empty() && std::string_view(text).substr(0, end).ends_with(stops[i]);
      if (ends_here && (!met || stops[i].size() > stops[*met].size())) met = i;
    }
    if (met) return {text.substr(0, end - stops[*met].size()), met};
  }
  return {text, std::nullopt};
}

TEST_CASE("for every split, the prompt's certain text and the stream are the whole text") {
  std::mt19937 random(8);
  for (const std::string_view name : kModelNames) {
    const Tokenizer tokenizer = load_model(name);
    for (int round = 0; round < 300; ++round) {
      const auto ids = random_ids(tokenizer, random);
      const std::string whole = tokenizer.decode(ids);
      for (std::size_t split = 0; split <= ids.size(); ++split) {
        const auto prompt = std::span(ids).first(split);
        std::string text = certain_text(tokenizer, prompt);
        TextStream stream(tokenizer, prompt);
        for (const TokenId id : std::span(ids).subspan(split)) text += stream.push(id);
        text += stream.finish();
        CAPTURE(name, ids, split);
        REQUIRE(text == whole);
      }
    }
  }
}

TEST_CASE("a character that the prompt has begun leaves with the stream") {
  const Tokenizer tokenizer = load_model("demo");
  const TokenId byte = *tokenizer.find_piece("<0x00>");
  const std::vector<TokenId> prompt = {1, byte + 0xE2, byte + 0x82};
  CHECK(certain_text(tokenizer, prompt).empty());
  TextStream stream(tokenizer, prompt);
  CHECK(stream.push(byte + 0xAC) == "\xE2\x82\xAC");
}

TEST_CASE("the first word after a prompt keeps its space, the first word of all has none") {
  const Tokenizer tokenizer = load_model("demo");
  const auto the = tokenizer.find_piece("\xE2\x96\x81the");
  REQUIRE(the);
  const TokenId bos = *tokenizer.bos_id();
  CHECK(TextStream(tokenizer, {}).push(*the) == "the");
  CHECK(TextStream(tokenizer, std::vector<TokenId>{bos}).push(*the) == "the");
  CHECK(TextStream(tokenizer, std::vector<TokenId>{bos, *the}).push(*the) == " the");
}

TEST_CASE("random texts stop where the rule says, whatever the tokens") {
  std::mt19937 random(9);
  const auto word = [&](std::size_t longest) {
    std::string text(1 + random() % longest, 'a');
    for (char& c : text) c = "ab"[random() % 2];
    return text;
  };
  std::size_t stopped = 0;
  for (int round = 0; round < 4000; ++round) {
    std::vector<std::string> stops(random() % 4);
    for (std::string& stop : stops) stop = random() % 8 ? word(6) : "";
    std::vector<TokenId> ids(random() % 16);
    for (TokenId& id : ids) id = 3 + static_cast<TokenId>(random() % 3);
    const Outcome wanted = expected(letters().decode(ids), stops);
    const Outcome found = run(letters(), ids, stops);
    CAPTURE(ids, stops);
    REQUIRE(found.text == wanted.text);
    REQUIRE(found.stopped_by == wanted.stopped_by);
    if (found.stopped_by) ++stopped;
  }
  CHECK(stopped > 1000);
}

TEST_CASE("exactly what could begin a stop string is held back") {
  std::mt19937 random(10);
  const std::vector<std::string> stops = {"aabaab!", "bab!", "ba!"};  // never met
  for (int round = 0; round < 300; ++round) {
    TextStream stream(letters(), {}, stops);
    std::string whole, given;
    for (int i = 0; i < 20; ++i) {
      const TokenId id = 3 + static_cast<TokenId>(random() % 3);
      whole += letters().piece(id).text;
      given += stream.push(id);
      std::size_t held = 0;
      for (const std::string& stop : stops) {
        for (std::size_t size = 1; size < stop.size(); ++size) {
          if (whole.ends_with(stop.substr(0, size))) held = std::max(held, size);
        }
      }
      CAPTURE(whole, given);
      REQUIRE(given == whole.substr(0, whole.size() - held));
    }
    REQUIRE(given + stream.finish() == whole);
    REQUIRE_FALSE(stream.stopped_by());
  }
}

TEST_CASE("a stop string may span tokens and begin inside one") {
  const std::vector<TokenId> ids = {5, 5, 4, 3};  // abab b a
  const Outcome outcome = run(letters(), ids, {"bb"});
  CHECK(outcome.text == "aba");
  CHECK(outcome.stopped_by == 0U);
}

TEST_CASE("of stop strings that end together the longest wins, of equal ones the first") {
  const std::vector<TokenId> ids = {5, 5};
  CHECK(run(letters(), ids, {"b", "ab", "ab"}).stopped_by == 1U);
  CHECK(run(letters(), ids, {"abab", "b"}).stopped_by == 1U);  // "b" ends first
  CHECK(run(letters(), ids, {"", "ba"}).text == "a");
}

TEST_CASE("nothing comes after a stop string, nor twice from finish") {
  TextStream stream(letters(), {}, {"b"});
  CHECK(stream.push(5) == "a");
  CHECK(stream.push(3).empty());
  CHECK(stream.finish().empty());

  TextStream held(letters(), {}, {"ab!"});
  CHECK(held.push(5).empty());
  CHECK(held.finish() == "ab");
  CHECK(held.finish().empty());
}

TEST_CASE("a stop string in the prompt or across its end does not stop") {
  TextStream stream(letters(), std::vector<TokenId>{3, 3}, {"aa", "aab"});
  CHECK(stream.push(4) == "b");
  CHECK_FALSE(stream.stopped_by());
}

TEST_CASE("a stop string can be met by what finish adds") {
  const Tokenizer tokenizer = load_model("demo");
  TextStream stream(tokenizer, {}, {"\xEF\xBF\xBD"});
  CHECK(stream.push(*tokenizer.find_piece("<0xC3>")).empty());
  CHECK(stream.finish().empty());
  CHECK(stream.stopped_by() == 0U);
}

// Quadratic handling of what is held would copy 50 GB here.
TEST_CASE("a long stop string that almost matches all the time costs no more than a short one") {
  const std::string stop = std::string(500'000, 'a') + '!';
  TextStream stream(letters(), {}, {stop});
  std::size_t given = 0;
  for (int i = 0; i < 600'000; ++i) given += stream.push(3).size();
  CHECK(given == 100'000);
  CHECK(stream.finish().size() == 500'000);
}

}  // namespace
}  // namespace ttt::tokenizer
