// SPDX-License-Identifier: Apache-2.0
#include "cli/toml.h"

#include <catch2/catch.hpp>

#include "cli/exit_code.h"
#include "tests/weights/fixtures.h"

namespace ttt::cli {
namespace {

using Kind = TomlEntry::Kind;
using weights::contains;

// The only entry of a text.
TomlEntry entry_of(std::string_view text) {
  const auto tables = parse_toml(text, "c");
  REQUIRE(tables.size() == 1);
  REQUIRE(tables[0].entries.size() == 1);
  return tables[0].entries[0];
}

std::string value_of(std::string_view value) { return entry_of("k = " + std::string(value)).values.at(0); }

std::string refusal_of(std::string_view text) {
  try {
    parse_toml(text, "c");
  } catch (const UsageError& error) {
    return error.what();
  }
  return {};
}

TEST_CASE("tables, keys, comments and line ends are told apart") {
  const auto tables = parse_toml(
      "\xEF\xBB\xBF# first\r\n\ttop_k = 3 # three\r\n\r\n[run]\n\"top-k\"=4\n[ eval . ppl ] # dotted\n"
      "a = true\n[\"eval logits\"]",
      "c");
  REQUIRE(tables.size() == 4);
  CHECK(tables[0].name.empty());
  CHECK(tables[0].entries.at(0).key == "top_k");
  CHECK(tables[0].entries.at(0).line == 2);
  CHECK(tables[1].name == std::vector<std::string>{"run"});
  CHECK(tables[1].line == 4);
  CHECK(tables[1].entries.at(0).key == "top-k");
  CHECK(tables[2].name == std::vector<std::string>{"eval", "ppl"});
  CHECK(tables[2].entries.at(0).line == 7);
  CHECK(tables[3].name == std::vector<std::string>{"eval logits"});
  CHECK(parse_toml("", "c").size() == 1);
}

TEST_CASE("values have their kind and are spelled as on the command line") {
  CHECK(entry_of("k = 1_000").kind == Kind::kInteger);
  CHECK(value_of("1_000") == "1000");
  CHECK(value_of("+5") == "5");
  CHECK(value_of("-5") == "-5");
  CHECK(value_of("0") == "0");
  CHECK(entry_of("k = 0.5").kind == Kind::kNumber);
  CHECK(value_of("-1_0.2_5E+1_0") == "-10.25e10");
  CHECK(value_of("1e-3") == "1e-3");
  CHECK(entry_of("k=true").kind == Kind::kBool);
  CHECK(value_of("false") == "false");
  CHECK(entry_of("k = 'x'").kind == Kind::kString);
}

TEST_CASE("basic strings have escapes, literal strings have none") {
  CHECK(value_of(R"("a\tb\n\"\\\u00e9\U0001F600 # no comment")") ==
        "a\tb\n\"\\\xC3\xA9\xF0\x9F\x98\x80 # no comment");
  CHECK(value_of(R"('a\tb"')") == "a\\tb\"");
  CHECK(value_of("\"\"").empty());
  CHECK(value_of("'\xE2\x82\xAC'") == "\xE2\x82\xAC");
}

TEST_CASE("lists hold strings, over several lines, with a comma at the end or not") {
  CHECK(entry_of("k = []").values.empty());
  const TomlEntry entry = entry_of("k = [ 'a', # one\n\n  \"b,]\"\r\n , ] # end\n");
  CHECK(entry.kind == Kind::kStrings);
  CHECK(entry.values == std::vector<std::string>{"a", "b,]"});
  CHECK(parse_toml("k = [\n'a'\n]\nl = 1", "c")[0].entries.at(1).line == 4);
}

TEST_CASE("a refusal says file, line, wanted and found") {
  CHECK(refusal_of("a = 1\nb = yes\n") ==
        "c:2: wanted a string in quotes, a decimal number, true, false or a list of strings, found 'yes'");
  CHECK(refusal_of("a = 'x\nb = 1") == "c:1: wanted ' at the end of the string, found the end of the line");
  CHECK(refusal_of("a = \"x") == "c:1: wanted \" at the end of the string, found the end of the file");
  CHECK(refusal_of("[run") == "c:1: wanted ']' after the table's name, found the end of the file");
  CHECK(refusal_of("k = ['a'\n'b']") == "c:2: wanted ',' or ']' after an element of a list, found ''b']'");
}

TEST_CASE("what TOML has and we do not is refused") {
  for (const char* text : {"a.b = 1",
                           "a = {b = 1}",
                           "a = [[1]]",
                           "a = [1, 2]",
                           "[[run]]",
                           "a = '''x'''",
                           "a = \"\"\"x\"\"\"",
                           "a = 1979-05-27",
                           "a = 0x10",
                           "a = 0o7",
                           "a = inf",
                           "a = nan",
                           "a = 012",
                           "a = 1__0",
                           "a = 1_",
                           "a = _1",
                           "a = .5",
                           "a = 5.",
                           "a = 1e",
                           "a = +",
                           "a =",
                           "a",
                           "= 1",
                           "a = 1 b = 2",
                           "a = 'x' 'y'",
                           "[]",
                           "[a.]",
                           "[run] x",
                           "a = \"\\x\"",
                           "a = \"\\u12\"",
                           "a = \"\\ud800\"",
                           "a = \"\\u0000\"",
                           "a = \"\\U00110000\"",
                           "a = 1\rb = 2",
                           "# a\x01",
                           "a = 'b\x07'",
                           "a = '\xFF'",
                           "# \xC3",
                           "\xFF",
                           "'' = 1",
                           "a = True"}) {
    CAPTURE(text);
    CHECK(contains(refusal_of(text), "c:1: wanted "));
  }
  CHECK(contains(refusal_of(std::string("a = 'x\0y'", 10)), "control characters"));
}

TEST_CASE("a hostile text is refused at once, however large or deep") {
  const std::size_t half = kMaxTomlBytes / 2;
  CHECK(contains(refusal_of(std::string(kMaxTomlBytes + 1, ' ')), "at most 1048576 bytes"));
  CHECK(contains(refusal_of("a = " + std::string(half, '[')), "a string in quotes, or ']'"));
  CHECK(contains(refusal_of("a = " + std::string(half, '{')), "inline table"));
  CHECK(contains(refusal_of(std::string(half, 'k') + " = 1"), "1 to 64 bytes"));
  CHECK(refusal_of("a = " + std::string(half, 'x')).size() < 200);
  CHECK(parse_toml(std::string(half, '\n') + std::string(half, ' '), "c").size() == 1);
}

TEST_CASE("every truncation and every changed byte is read or refused") {
  const std::string text = "a = [\"x\\u00e9\", 'y'] # c\n[eval.'ppl']\nb = -1.5e3\r\nc = true\n";
  for (std::size_t i = 0; i < text.size(); ++i) {
    refusal_of(text.substr(0, i));
    for (int byte = 0; byte < 256; ++byte) {
      std::string changed = text;
      changed[i] = static_cast<char>(byte);
      const std::string refusal = refusal_of(changed);
      CHECK((refusal.empty() || refusal.starts_with("c:")));
    }
  }
}

}  // namespace
}  // namespace ttt::cli
