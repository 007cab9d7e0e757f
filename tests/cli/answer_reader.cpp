// SPDX-License-Identifier: Apache-2.0
#include "cli/answer_reader.h"

#include <catch2/catch.hpp>

namespace ttt::cli {

TEST_CASE("the chunks of different servers are read") {
  const AnswerChunk text = read_chunk(
      R"({"id":"x","choices":[{"index":0,"text":" a","logprobs":{"tokens":["text"]},"finish_reason":null}],"usage":null})");
  CHECK(text.is_token());
  CHECK(text.error.empty());
  CHECK_FALSE(text.output_tokens);
  const AnswerChunk chat = read_chunk(R"({"choices":[{"delta":{"content":"a"},"finish_reason":null}]})");
  CHECK(chat.is_token());
  const AnswerChunk partial = read_chunk(R"({"choices":[{"text":"","finish_reason":null}]})");
  CHECK(partial.is_token());  // of a token whose character is not complete
  const AnswerChunk last = read_chunk(R"({"choices":[{"text":"b","finish_reason":"length"}]})");
  CHECK(last.is_token());
  const AnswerChunk end = read_chunk(R"({"choices":[{"text":"","finish_reason":"stop"}]})");
  CHECK_FALSE(end.is_token());
  const AnswerChunk usage =
      read_chunk(R"({"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}})");
  CHECK_FALSE(usage.is_token());
  CHECK(usage.prompt_tokens == 5U);
  CHECK(usage.output_tokens == 7U);
}

TEST_CASE("an error in a stream and what is no JSON are told") {
  CHECK(read_chunk(R"({"error":{"message":"too\nbad","type":"server_error"}})").error == "too\\nbad");
  CHECK(read_chunk("{").error == "an event that is no JSON: {");
  CHECK(read_chunk(R"({"choices":[{"text":1e999}]})").error.starts_with("an event that is no JSON"));
}

TEST_CASE("the sentence of a refusal is found in the shapes there are") {
  CHECK(error_message(R"({"error":{"message":"queue full","code":429}})") == "queue full");
  CHECK(error_message(R"({"object":"error","message":"no such model"})") == "no such model");
  CHECK(error_message(R"({"detail":"Not Found"})") == "Not Found");
  CHECK(error_message("<h1>Bad Gateway</h1>") == "<h1>Bad Gateway</h1>");
  CHECK(error_message("") == "an empty answer");
  CHECK(error_message(std::string(1000, 'x')) == std::string(300, 'x') + "...");
}

TEST_CASE("the first model of a list is found, with its vocabulary if it tells") {
  const auto ours = read_first_model(
      R"({"object":"list","data":[{"id":"a","meta":{"vocab":320}},{"id":"b","meta":{"vocab":9}}]})");
  REQUIRE(ours);
  CHECK(ours->name == "a");
  CHECK(ours->vocab_size == 320);
  const auto llama = read_first_model(
      R"({"models":[{"id":"z"}],"data":[{"id":"x.gguf","meta":{"vocab_type":1,"n_vocab":32000}}]})");
  REQUIRE(llama);
  CHECK(llama->name == "x.gguf");
  CHECK(llama->vocab_size == 32000);
  CHECK_FALSE(read_first_model(R"({"data":[]})"));
  CHECK_FALSE(read_first_model("<html>"));
}

}  // namespace ttt::cli
