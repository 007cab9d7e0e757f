// SPDX-License-Identifier: Apache-2.0
#include "engine/text_settings.h"

#include <catch2/catch.hpp>
#include <string>

#include "weights/checkpoint_error.h"

using namespace ttt;
using Catch::Matchers::Contains;

namespace {

TextSettings from_config(std::string json, std::string jinja = {}) {
  return text_settings(
      weights::TokenizerFiles{.tokenizer = {},
                              .config = {.path = "tokenizer_config.json", .bytes = std::move(json)},
                              .chat_template = {.path = "chat_template.jinja", .bytes = std::move(jinja)}});
}

}  // namespace

TEST_CASE("a folder that says nothing has bos in front and no chat template") {
  for (const char* json :
       {"", "{}", R"({"add_bos_token":null,"chat_template":null})",
        R"({"inner":{"add_bos_token":false,"chat_template":"x"},"list":[{"name":"default"}]})"}) {
    CAPTURE(json);
    CHECK(from_config(json).adds_bos);
    CHECK(from_config(json).chat_template.empty());
  }
}

TEST_CASE("tokenizer_config.json tells bos and the chat template") {
  const TextSettings settings =
      from_config(R"({"add_bos_token":false,"chat_template":"{{ messages }}","n":1})");
  CHECK_FALSE(settings.adds_bos);
  CHECK(settings.chat_template == "{{ messages }}");
}

TEST_CASE("of several chat templates the default one counts") {
  const char* const entries[] = {R"({"name":"tool_use","template":"t"})",
                                 R"({"template":"d","name":"default"})"};
  const std::string a = entries[0], b = entries[1];
  CHECK(from_config(R"({"chat_template":[)" + a + "," + b + "]}").chat_template == "d");
  CHECK(from_config(R"({"chat_template":[)" + b + "," + a + "]}").chat_template == "d");
  CHECK(from_config(R"({"chat_template":[)" + a + "]}").chat_template.empty());
  CHECK(from_config(R"({"other":[)" + b + R"(],"chat_template":[]})").chat_template.empty());
}

TEST_CASE("a file of its own for the chat template wins") {
  CHECK(from_config(R"({"chat_template":"old"})", "new").chat_template == "new");
}

TEST_CASE("a tokenizer_config.json of another kind is refused by name") {
  for (const char* json : {"[]", "7", "{", R"({"add_bos_token":"yes"})", R"({"chat_template":7})"}) {
    CAPTURE(json);
    CHECK_THROWS_WITH(from_config(json), Contains("tokenizer_config.json"));
  }
}

TEST_CASE("what a folder says is what a GGUF file of it says") {
  weights::GgufMetadata metadata;
  append_text_settings({}, metadata);
  CHECK(metadata.empty());
  append_text_settings({.adds_bos = false, .chat_template = "first"}, metadata);
  append_text_settings({.adds_bos = false, .chat_template = "second"}, metadata);
  REQUIRE(metadata.size() == 2);
  CHECK(*weights::find(metadata, "tokenizer.ggml.add_bos_token") == weights::GgufValue(false));
  CHECK(*weights::find(metadata, "tokenizer.chat_template") == weights::GgufValue(std::string("first")));
}
