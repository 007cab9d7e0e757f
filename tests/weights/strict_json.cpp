// SPDX-License-Identifier: Apache-2.0
#include "weights/strict_json.h"

#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <nlohmann/json.hpp>

#include "tests/weights/fixtures.h"
#include "weights/limits.h"

namespace ttt::weights {
namespace {

using nlohmann::json;

// What a listener is told, as a document.
class DocumentBuilder : public JsonListener {
 public:
  void begin_object() override { open_.push_back(place(json::object())); }
  void begin_array() override { open_.push_back(place(json::array())); }
  void end() override { open_.pop_back(); }
  void key(std::string name) override { key_ = std::move(name); }
  void scalar(JsonScalar value) override {
    std::visit([&](auto& held) { place(json(std::move(held))); }, value);
  }
  json take() { return std::move(root_); }

 private:
  json* place(json value) {
    if (open_.empty()) return &(root_ = std::move(value));
    json& parent = *open_.back();
    if (parent.is_array()) return &parent.emplace_back(std::move(value));
    return &(parent[key_] = std::move(value));
  }

  json root_;
  std::vector<json*> open_;  // a container moves only when its parent grows: never while it is open
  std::string key_;
};

json parse(std::string_view text) {
  DocumentBuilder builder;
  parse_strict_json(text, "test.json", builder);
  return builder.take();
}
std::string json_refusal(std::string_view text) {
  return refusal_of([&] { parse(text); });
}
std::string nested(int depth) {
  return std::string(static_cast<std::size_t>(depth), '[') +
         std::string(static_cast<std::size_t>(depth), ']');
}

TEST_CASE("JSON: a valid text gives its values, each of its kind") {
  const auto value =
      parse(R"({"a":[1,-2,0.5,true,null,"s"],"b":{"c":[]},"big":18446744073709551615,"d":{}} )");
  CHECK(value.at("a") == nlohmann::json::array({1, -2, 0.5, true, nullptr, "s"}));
  CHECK(value.at("a")[0].is_number_unsigned());
  CHECK(value.at("a")[1].is_number_integer());
  CHECK(value.at("b").at("c").is_array());
  CHECK(value.at("big").get<std::uint64_t>() == 18446744073709551615ULL);
  CHECK(value.at("d").is_object());
  CHECK(parse(" 7 ") == 7);
}

TEST_CASE("JSON: depth 32 is read, depth 33 and a million are refused") {
  CHECK(parse(nested(32)).is_array());
  CHECK(contains(json_refusal(nested(33)), "depth 32 at most"));
  for (const int depth : {100, 1000, 10'000, 100'000, 1'000'000}) {
    CHECK(contains(json_refusal(nested(depth)), "depth 32 at most"));
    CHECK(contains(json_refusal(std::string(static_cast<std::size_t>(depth), '[')), "depth 32 at most"));
  }
  std::string objects;
  for (int i = 0; i < 1'000'000; ++i) objects += "{\"a\":";
  CHECK(contains(json_refusal(objects), "depth 32 at most"));
}

TEST_CASE("JSON: a key twice in one object is refused, also when written differently") {
  CHECK(contains(json_refusal(R"({"a":1,"b":2,"a":1})"), "key \"a\": wanted it once"));
  CHECK(contains(json_refusal(R"({"x":{"a":1,"\u0061":2}})"), "it twice in one object"));
  CHECK(parse(R"([{"a":1},{"a":{"a":2}}])").is_array());
}

TEST_CASE("JSON: numbers that no double or 64-bit integer holds are refused") {
  for (const char* text : {"1e400", "-1e400", "[1e99999]", R"({"a":1E+400})"})
    CHECK_FALSE(json_refusal(text).empty());
  for (const char* text : {"18446744073709551616", "-9223372036854775809", "99999999999999999999999999"}) {
    CHECK(contains(json_refusal(text), "an integer of at most 64 bits"));
  }
  CHECK(parse("-9223372036854775808") == std::numeric_limits<std::int64_t>::min());
  CHECK(parse("1e308") == 1e308);
  CHECK(parse("1e-400") == 0.0);
}

TEST_CASE("JSON: what JavaScript or Python would write beyond JSON is refused") {
  for (const char* text :
       {"NaN",      "nan",   "Infinity",  "-Infinity", "[1,]",      "{\"a\":1,}", "{a:1}",  "'a'",
        "01",       "+1",    ".5",        "1.",        "1e",        "0x10",       "True",   "// c\n1",
        "/* c */1", "[1 2]", "{\"a\" 1}", "\"\t\"",    "\"\\x41\"", "",           " ",      "[",
        "]",        "{",     "\"",        "-",         "[\"a\"",    "{\"a\":",    "{\"a\"", "nul"}) {
    INFO(text);
    CHECK_FALSE(json_refusal(text).empty());
  }
}

TEST_CASE("JSON: nothing may follow the end, not even behind a NUL") {
  using namespace std::string_view_literals;
  CHECK_FALSE(json_refusal("{}x").empty());
  CHECK_FALSE(json_refusal("{}{}").empty());
  CHECK_FALSE(json_refusal("{} 1").empty());
  CHECK(contains(json_refusal("{}\0"sv), "byte 2: wanted JSON, found a NUL"));
  CHECK(contains(json_refusal("{}\0{\"a\":1}"sv), "found a NUL"));
  CHECK(contains(json_refusal("[1,\0 2]"sv), "found a NUL"));
  CHECK(parse("{}\n\t ") == nlohmann::json::object());
}

TEST_CASE("JSON: broken UTF-8 and lone surrogates are refused in keys and strings") {
  for (const char* bytes :
       {"\xff", "\xc3", "\xc3(", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x96"}) {
    CHECK_FALSE(json_refusal(fmt::format("\"{}\"", bytes)).empty());
    CHECK_FALSE(json_refusal(fmt::format("{{\"{}\":1}}", bytes)).empty());
    CHECK_FALSE(json_refusal(bytes).empty());
  }
  for (const char* text :
       {R"("\ud800")", R"("\ud800x")", R"("\udc00")", R"("\ud800\ud800")", R"("\ud8")", R"("\u12g4")"}) {
    CHECK_FALSE(json_refusal(text).empty());
  }
  CHECK(parse(R"("\ud83d\ude00 \u0000")") == std::string("\xf0\x9f\x98\x80 \0", 6));
}

TEST_CASE("JSON: a refusal names the file and the byte") {
  const std::string text = json_refusal("[1, 2, x]");
  CHECK(contains(text, "test.json: byte 8: wanted JSON"));
  CHECK(contains(text, "syntax error"));
  CHECK(text.size() < 400);
}

TEST_CASE("JSON: keys of the open objects and single strings have a limit") {
  std::string many = "{";
  for (std::uint64_t i = 0; i < limits::kMaxJsonKeys; ++i) many += fmt::format("\"{}\":0,", i);
  many.back() = '}';
  CHECK(parse(many).size() == limits::kMaxJsonKeys);
  many.back() = ',';
  CHECK(contains(json_refusal(many + "\"one more\":0}"), "keys in the open objects"));

  const std::string longest(limits::kMaxJsonStringBytes - 2, 's');
  CHECK(parse('"' + longest + '"').get_ref<const std::string&>().size() == longest.size());
  CHECK(contains(json_refusal('"' + longest + "sss\""), "a string of at most"));
  CHECK(contains(json_refusal("[\"\\\"" + longest + "s\"]"),
                 "a string of at most"));  // an escaped quote does not end it
}

}  // namespace
}  // namespace ttt::weights
