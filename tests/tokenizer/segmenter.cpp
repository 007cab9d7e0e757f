// SPDX-License-Identifier: Apache-2.0
#include "tokenizer/segmenter.h"

#include <catch2/catch.hpp>
#include <chrono>
#include <random>

#include "tests/tokenizer/small_model.h"
#include "tokenizer/normalizer.h"

namespace ttt::tokenizer {
namespace {

// Golden texts one after another, about `size` bytes.
std::string long_text(std::size_t size) {
  std::string text;
  const auto lines = read_golden_lines();
  for (std::size_t i = 0; text.size() < size; ++i) text += lines[i % lines.size()].text + ' ';
  return text;
}

std::vector<TokenId> segment(const SentencePieceModel& model, std::string_view normalized) {
  std::vector<TokenId> ids;
  Segmenter(model, "m.model").append_ids(normalized, ids);
  return ids;
}

TEST_CASE("a long text has the ids that it has uncut") {
  const std::string text = long_text(20 * Segmenter::kStretchBytes);
  for (const std::string_view name : {"demo", "bpe_bytes", "bpe_rules"}) {
    CAPTURE(name);
    CHECK(load_model(name).encode(text) == Reference(read_model(name)).encode(text));
  }
}

TEST_CASE("unused pieces are taken apart as in the uncut text") {
  SmallModel small;
  for (const std::string_view text : {"c", "d", "bc", "cc", "aa"}) small.add(text);
  small.add("abc", PieceKind::kUnused, 3.0F);
  small.add("bcc", PieceKind::kUnused, 4.0F);
  std::mt19937 random(4);
  std::string text(5 * Segmenter::kStretchBytes, 'a');
  for (char& c : text) c = "abcd"[random() % 4];
  CHECK(Tokenizer::from_model(small.bytes(), "m.model").encode(text) ==
        Reference(small.bytes()).encode(text));
}

TEST_CASE("unknown characters side by side are one unknown piece, also across cuts") {
  const auto model = parse_model(SmallModel().bytes(), "m.model");
  std::string text = "a";
  while (text.size() < 3 * Segmenter::kStretchBytes) text += "\xF0\x9F\x98\x80?";
  CHECK(segment(model, text + "b") == std::vector<TokenId>{3, 0, 4});
  CHECK(segment(model, "?a?") == std::vector<TokenId>{0, 3, 0});
}

TEST_CASE("an unknown piece before the text is not joined with one in it") {
  const auto model = parse_model(SmallModel().bytes(), "m.model");
  std::vector<TokenId> ids = {0};
  Segmenter(model, "m.model").append_ids("?", ids);
  CHECK(ids == std::vector<TokenId>{0, 0});
}

TEST_CASE("a text that can be cut nowhere is segmented whole up to the limit and then refused") {
  SmallModel small;
  small.add("ba");
  const auto model = parse_model(small.bytes(), "m.model");
  std::string text;
  while (text.size() < 4 * Segmenter::kStretchBytes) text += "ab";
  CHECK(segment(model, text) == std::vector<TokenId>(text.size() / 2, 5));
  while (text.size() <= Segmenter::kMaxStretchBytes) text += text;
  CHECK_THAT(refusal_of([&] { segment(model, text); }), Catch::Contains("cannot be divided between tokens"));
}

TEST_CASE("a last character that reaches beyond the first place for a cut stays whole") {
  const auto model = parse_model(SmallModel().bytes(), "m.model");
  for (std::size_t letters = Segmenter::kStretchBytes - 5; letters <= Segmenter::kStretchBytes; ++letters) {
    const std::string text = std::string(letters, 'a') + "\xF0\x9F\x98\x80";
    CAPTURE(letters);
    CHECK(segment(model, text).size() == letters + 1);
  }
}

// SentencePiece alone takes 16 times as long for 4 times as many unknown characters.
TEST_CASE("time is linear in the text") {
  const auto model = parse_model(SmallModel().bytes(), "m.model");
  const auto seconds = [&](std::size_t count) {
    std::string text;
    for (std::size_t i = 0; i < count; ++i) text += "\xF0\x9F\x98\x80";
    const auto start = std::chrono::steady_clock::now();
    CHECK(segment(model, text).size() == 1);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  CHECK(seconds(std::size_t{1} << 18) <
        64 * seconds(std::size_t{1} << 14));  // 16 where linear, 256 where not
}

}  // namespace
}  // namespace ttt::tokenizer
