// SPDX-License-Identifier: Apache-2.0
// POST /v1/chat/completions over a socket. What both kinds of completion share is tested in completions.cpp.
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <map>

#include "served.h"
#include "server/completion_request.h"
#include "tokenizer/chat_template.h"

namespace ttt::server {
namespace {

using tokenizer::ChatTemplate;

const std::string kChat = "/v1/chat/completions";
const std::string kHello = R"("messages":[{"role":"user","content":"Once upon a time"}],"temperature":0)";

Served plain_chat() { return Served({.chat_template = ChatTemplate::kPlain}); }

}  // namespace

TEST_CASE("a chat completion has the fields that clients read") {
  const Served served = plain_chat();
  const Json answer = served.complete("{" + kHello + R"(,"model":"demo","max_tokens":5})", kChat);
  CHECK(answer["id"].get<std::string>().starts_with("chatcmpl-"));
  CHECK(answer["object"] == "chat.completion");
  REQUIRE(answer["choices"].size() == 1);
  const Json& choice = answer["choices"][0];
  CHECK(!choice.contains("text"));
  CHECK(choice["message"]["role"] == "assistant");
  CHECK(choice["message"]["content"].is_string());
  CHECK(choice["message"]["refusal"].is_null());
  CHECK(choice["logprobs"].is_null());
  CHECK(choice["finish_reason"] == "length");
  CHECK(answer["usage"]["completion_tokens"] == 5);
}

TEST_CASE("a chat is the completion of what the template makes of it") {
  const Served served = plain_chat();
  const Json chat = served.complete(
      R"({"messages":[{"role":"developer","content":"Be brief."},{"role":"user","content":[{"type":"text",
          "text":"Hi"},{"type":"text","text":"there"}]},{"role":"assistant","content":"Hello."},
          {"role":"user","content":"And?","name":"x"}],"temperature":0,"max_tokens":12,"stop":null})",
      kChat);
  const Json text = served.complete(Json{
      {"prompt", "Be brief.\n\nUser: Hi\nthere\nAssistant: Hello.\nUser: And?\nAssistant:"},
      {"temperature", 0},
      {"max_tokens", 12},
      {"stop", "\nUser:"}}.dump());
  CHECK(chat["choices"][0]["message"]["content"] == text["choices"][0]["text"]);
  CHECK(chat["usage"] == text["usage"]);
}

TEST_CASE("the stop strings of the request and of the template both end an answer") {
  const Served served = plain_chat();
  Json body = {{"messages", {{{"role", "user"}, {"content", "Hi"}}}}, {"temperature", 0}, {"max_tokens", 8}};
  const std::string free = served.complete(body.dump(), kChat)["choices"][0]["message"]["content"];
  REQUIRE(free.size() > 4);
  const std::string stop = free.substr(2, 2);
  body["stop"] = stop;
  const Json stopped = served.complete(body.dump(), kChat)["choices"][0];
  CHECK(stopped["message"]["content"] == free.substr(0, free.find(stop)));
  CHECK(stopped["finish_reason"] == "stop");
  const CompletionRequest parsed = parse_completion(body.dump(), AnswerShape::kChat, served.served, {}, 0);
  CHECK(parsed.prompts[0].stop_strings == std::vector<std::string>{stop, "\nUser:"});
}

TEST_CASE("a streamed chat begins with the role, ends with an empty delta, and says the same") {
  const Served served = plain_chat();
  const std::string body =
      R"("messages":[{"role":"user","content":"Hi"}],"n":2,"max_tokens":9,"seed":4,"logprobs":true)";
  const Json whole = served.complete("{" + body + "}", kChat);
  const auto chunks =
      served.stream("{" + body + R"(,"stream":true,"stream_options":{"include_usage":true}})", kChat);
  struct Told {
    std::string content;
    std::size_t num_chunks = 0;
    Json tokens = Json::array();
    bool ended = false;
  };
  std::map<std::size_t, Told> told;
  for (std::size_t i = 0; i + 1 < chunks.size(); ++i) {
    const Json& chunk = chunks[i];
    CHECK(chunk["object"] == "chat.completion.chunk");
    CHECK(chunk["id"] == chunks[0]["id"]);
    CHECK(chunk["usage"].is_null());
    REQUIRE(chunk["choices"].size() == 1);
    const Json& choice = chunk["choices"][0];
    Told& so_far = told[choice["index"]];
    CHECK(!so_far.ended);
    if (so_far.num_chunks++ == 0) {
      CHECK(choice["delta"] == Json{{"role", "assistant"}, {"content", ""}});
      CHECK(choice["finish_reason"].is_null());
    } else if (!choice["finish_reason"].is_null()) {
      CHECK(choice["delta"] == Json::object());
      CHECK(choice["finish_reason"] == "length");
      so_far.ended = true;
    } else {
      so_far.content += choice["delta"]["content"].get<std::string>();
      for (const Json& token : choice["logprobs"]["content"]) so_far.tokens.push_back(token);
    }
  }
  REQUIRE(told.size() == 2);
  for (std::size_t i = 0; i < 2; ++i) {
    CHECK(told[i].ended);
    CHECK(told[i].content == whole["choices"][i]["message"]["content"]);
    CHECK(told[i].tokens == whole["choices"][i]["logprobs"]["content"]);
  }
  CHECK(chunks.back()["choices"].empty());
  CHECK(chunks.back()["usage"] == whole["usage"]);
}

TEST_CASE("log-probabilities of a chat are those of the same completion, in the shape of chats") {
  const Served served = plain_chat();
  const Json chat =
      served.complete("{" + kHello + R"(,"max_tokens":6,"logprobs":true,"top_logprobs":2})", kChat);
  const Json text = served.complete(Json{
      {"prompt", "User: Once upon a time\nAssistant:"},
      {"temperature", 0},
      {"max_tokens", 6},
      {"logprobs", 2}}.dump());
  const Json& content = chat["choices"][0]["logprobs"]["content"];
  const Json& legacy = text["choices"][0]["logprobs"];
  CHECK(chat["choices"][0]["logprobs"]["refusal"].is_null());
  REQUIRE(content.size() == 6);
  for (std::size_t i = 0; i < content.size(); ++i) {
    CHECK(content[i]["token"] == legacy["tokens"][i]);
    CHECK(content[i]["logprob"] == legacy["token_logprobs"][i]);
    REQUIRE(content[i]["top_logprobs"].size() == 2);
    CHECK(content[i]["top_logprobs"][0]["logprob"] == content[i]["logprob"]);  // greedy
    const std::string token = content[i]["token"];
    if (token.starts_with("bytes:") || token == "</s>") continue;
    CHECK(content[i]["bytes"] == Json(std::vector<unsigned char>(token.begin(), token.end())));
  }
  const Json bare = served.complete("{" + kHello + R"(,"max_tokens":1,"logprobs":true})", kChat);
  CHECK(bare["choices"][0]["logprobs"]["content"][0]["top_logprobs"].empty());
}

TEST_CASE("max_completion_tokens goes before max_tokens") {
  const Served served = plain_chat();
  const auto tokens = [&](const char* more) {
    return served.complete("{" + kHello + R"(,"ignore_eos":true)" + more + "}",
                           kChat)["usage"]["completion_tokens"];
  };
  CHECK(tokens(R"(,"max_tokens":3)") == 3);
  CHECK(tokens(R"(,"max_tokens":7,"max_completion_tokens":2)") == 2);
  CHECK(tokens(R"(,"max_completion_tokens":2,"max_tokens":7)") == 2);
}

TEST_CASE("text of a message does not become a special token") {
  const Served served = plain_chat();
  const auto count = [&](const std::string& text) {
    const Json body = {{"messages", {{{"role", "user"}, {"content", text}}}}, {"max_tokens", 0}};
    return served.complete(body.dump(), kChat)["usage"]["prompt_tokens"].get<std::size_t>();
  };
  CHECK(count("a</s>b") == 1 + served.tokenizer->encode("User: a</s>b\nAssistant:").size());
}

TEST_CASE("without a template chats are refused, and the option that gives one is named") {
  const Served served;
  const Json error = error_of(served.answer(post(kChat, "{" + kHello + "}")));
  CHECK(error["code"] == "no_chat_template");
  CHECK(error["message"].get<std::string>().find("--chat-template") != std::string::npos);
}

TEST_CASE("what a chat cannot do is refused by name, what says nothing is accepted") {
  const Served served = plain_chat();
  struct Case {
    const char* more;
    const char* param;
    const char* code;
  };
  const std::string user = R"({"messages":[{"role":"user","content":)";
  const Case fields[] = {
      {R"("tools":[{"type":"function","function":{"name":"f"}}])", "tools", "unsupported_parameter"},
      {R"("tools":[{}])", "tools", "unsupported_parameter"},
      {R"("tool_choice":"required")", "tool_choice", "unsupported_parameter"},
      {R"("functions":[{"name":"f"}])", "functions", "unsupported_parameter"},
      {R"("response_format":{"type":"json_object"})", "response_format", "unsupported_parameter"},
      {R"("response_format":{"type":"json_schema","json_schema":{"name":"x"}})", "response_format",
       "unsupported_parameter"},
      {R"("modalities":["text","audio"])", "modalities", "unsupported_parameter"},
      {R"("audio":{"voice":"alloy"})", "audio", "unsupported_parameter"},
      {R"("logprobs":5)", "logprobs", "invalid_type"},
      {R"("top_logprobs":2)", "top_logprobs", "invalid_value"},
      {R"("logprobs":true,"top_logprobs":21)", "top_logprobs", "invalid_value"},
      {R"("logprobs":true,"top_logprobs":-1)", "top_logprobs", "invalid_value"},
      {R"("max_completion_tokens":-1)", "max_completion_tokens", "invalid_value"},
      {R"("n":0)", "n", "invalid_value"},
      {R"("stream_options":{})", "stream_options", "invalid_value"},
  };
  for (const Case& each : fields) {
    INFO(each.more);
    const Answer answer = served.answer(post(kChat, "{" + kHello + "," + each.more + "}"));
    CHECK(answer.status == 400);
    CHECK(error_of(answer)["param"] == each.param);
    CHECK(error_of(answer)["code"] == each.code);
  }
  const Case messages[] = {
      {R"({})", "messages", "missing_required_parameter"},
      {R"({"messages":null})", "messages", "missing_required_parameter"},
      {R"({"messages":"Hi"})", "messages", "invalid_type"},
      {R"({"messages":{"role":"user","content":"Hi"}})", "messages", "invalid_type"},
      {R"({"messages":[]})", "messages", "invalid_type"},
      {R"({"messages":["Hi"]})", "messages", "invalid_type"},
      {R"({"messages":[[]]})", "messages", "invalid_type"},
      {R"({"messages":[{}]})", "messages", "invalid_type"},
      {R"({"messages":[{"role":"user"}]})", "messages", "invalid_type"},
      {R"({"messages":[{"role":"user","content":null}]})", "messages", "invalid_type"},
      {R"({"messages":[{"content":"Hi"}]})", "messages", "invalid_type"},
      {R"({"messages":[{"role":"king","content":"Hi"}]})", "messages", "invalid_type"},
      {R"({"messages":[{"role":7,"content":"Hi"}]})", "messages", "invalid_type"},
      {R"({"messages":[{"role":"user","content":{"type":"text"}}]})", "messages", "invalid_type"},
      {R"({"messages":[{"role":"user","content":["Hi"]}]})", "messages", "invalid_type"},
      {R"({"messages":[{"role":"user","content":[[{}]]}]})", "messages", "invalid_type"},
      {R"({"messages":[{"role":"user","content":[{"text":"Hi"}]}]})", "messages", "invalid_type"},
      {R"({"messages":[{"role":"user","content":[{"type":"text"}]}]})", "messages", "invalid_type"},
      {R"({"messages":[{"role":"user","content":[{"type":"text","text":1}]}]})", "messages", "invalid_type"},
      {R"({"messages":[{"role":"user","content":[{"image_url":{"url":"x"},"type":"image_url"}]}]})",
       "messages", "unsupported_parameter"},
      {R"({"messages":[{"role":"user","content":[{"type":"input_audio","input_audio":{}}]}]})", "messages",
       "unsupported_parameter"},
      {R"({"messages":[{"role":"assistant","content":null,"tool_calls":[{"id":"1"}]}]})", "messages",
       "unsupported_parameter"},
  };
  for (const Case& each : messages) {
    INFO(each.more);
    const Answer answer = served.answer(post(kChat, each.more));
    CHECK(answer.status == 400);
    CHECK(error_of(answer)["param"] == each.param);
    CHECK(error_of(answer)["code"] == each.code);
  }
  served.complete(
      "{" + kHello +
          R"(,"max_tokens":1,"tools":[],"tool_choice":"none","functions":null,"modalities":["text"],
                     "response_format":{"type":"text"},"audio":null,"user":"u","logprobs":false,
                     "top_logprobs":null,"max_completion_tokens":null,"stop":null,"n":null})",
      kChat);
  served.complete(user + R"("a"},{"role":"assistant","content":null,"tool_calls":[],"refusal":null},
                         {"role":"tool","tool_call_id":"1","content":"b"}],"max_tokens":1})",
                  kChat);
}

TEST_CASE("roles that a template has no place for are refused") {
  const Served served({.chat_template = ChatTemplate::kLlama2});
  const Answer answer = served.answer(
      post(kChat, R"({"messages":[{"role":"user","content":"a"},{"role":"user","content":"b"}]})"));
  CHECK(answer.status == 400);
  CHECK(error_of(answer)["param"] == "messages");
}

TEST_CASE("token ids of a chat are given where they are wanted, whole or streamed") {
  const Served served = plain_chat();
  const std::string body = kHello + R"(,"max_tokens":5,"return_token_ids":true)";
  const Json whole = served.complete("{" + body + "}", kChat);
  CHECK(whole["prompt_token_ids"].size() == whole["usage"]["prompt_tokens"]);
  CHECK(whole["choices"][0]["token_ids"].size() == 5);
  const std::vector<Json> chunks = served.stream("{" + body + R"(,"stream":true})", kChat);
  CHECK(chunks.front()["prompt_token_ids"] == whole["prompt_token_ids"]);
  Json streamed = Json::array();
  for (std::size_t i = 1; i < chunks.size(); ++i) {
    CHECK(!chunks[i].contains("prompt_token_ids"));
    const Json& choice = chunks[i]["choices"][0];
    if (!choice.contains("token_ids")) continue;  // the last
    for (const Json& id : choice["token_ids"]) streamed.push_back(id);
  }
  CHECK(streamed == whole["choices"][0]["token_ids"]);
}

TEST_CASE("the limit for prompts holds for chats") {
  ServedOptions options{.chat_template = ChatTemplate::kPlain};
  options.api.limits.max_prompt_tokens = 8;
  const Served served(options);
  const Json error = error_of(served.answer(post(kChat, "{" + kHello + "}")));
  CHECK(error["code"] == "context_length_exceeded");
  CHECK(error["param"] == "messages");
}

}  // namespace ttt::server
