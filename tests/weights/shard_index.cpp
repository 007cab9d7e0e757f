// SPDX-License-Identifier: Apache-2.0
#include "weights/shard_index.h"

#include <catch2/catch.hpp>

#include "tests/weights/fixtures.h"

namespace ttt::weights {
namespace {

std::string index_refusal(std::string_view text) {
  return refusal_of([&] { parse_shard_index(text, "index.json"); });
}

TEST_CASE("shard index: an index gives the file of each tensor and skips what else it holds") {
  const ShardIndex index = parse_shard_index(
      R"({"metadata":{"total_size":10,"weight_map":{"x":[1]}},"weight_map":{"a":"1.safetensors","b":"2.safetensors"},"z":[[{}]]})",
      "index.json");
  CHECK(index == ShardIndex{{"a", "1.safetensors"}, {"b", "2.safetensors"}});
}

TEST_CASE("shard index: a file name that leaves the folder is refused") {
  for (const char* name : {"../x", "..", ".", "", "/etc/passwd", "a/b", "a\\\\b", "..\\\\x", "x..y/",
                           "a\\u0000b", "....", "/"}) {
    const std::string text = index_refusal(std::string(R"({"weight_map":{"a":")") + name + "\"}}");
    INFO(name);
    CHECK(contains(text, "a: wanted a file name without folders"));
  }
  CHECK(contains(index_refusal(R"({"weight_map":{"a":")" + std::string(256, 'x') + "\"}}"),
                 "a file name without folders"));
}

TEST_CASE("shard index: an index of another form is refused") {
  for (const char* text :
       {"[]", "1", "null", "{}", R"({"weight_map":{}})", R"({"weight_map":[]})", R"({"weight_map":1})",
        R"({"weight_map":{"a":1}})", R"({"weight_map":{"a":["x"]}})", R"({"weight_map":{"a":{"b":"x"}}})",
        R"({"weight_map":{"a":"x","a":"y"}})", R"({"weight_map":{"a":"x"},"weight_map":{"a":"y"}})",
        R"([{"weight_map":{"a":"x"}}])", ""}) {
    INFO(text);
    CHECK_FALSE(index_refusal(text).empty());
  }
}

}  // namespace
}  // namespace ttt::weights
