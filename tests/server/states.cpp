// SPDX-License-Identifier: Apache-2.0
// Completions that go on from a state, over a socket, against those of the whole prompt.
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <chrono>

#include "served.h"

namespace ttt::server {
namespace {

ServedOptions not_ready(ServedOptions options) {
  options.ready = false;
  return options;
}

// What `ttt run --state-out` would have saved.
SavedState read_once(Engine& engine, std::vector<TokenId> ids, std::optional<TokenId> ending = {}) {
  GenerationRequest request;
  request.prompt = std::move(ids);
  request.max_tokens = ending ? 1 : 0;
  request.eos_id = ending;
  if (ending) request.sampling.allowed = {*ending};
  request.keep_state = true;
  const auto stream = engine.submit(request);
  REQUIRE(stream != nullptr);
  SavedState saved{.tokens = request.prompt, .state = nullptr};
  while (saved.state == nullptr) {
    const auto event = stream->pop_until(std::chrono::steady_clock::now() + std::chrono::minutes(1));
    REQUIRE(event);
    if (event->finish) saved.state = event->finish->state;
  }
  return saved;
}

std::vector<TokenId> ids_from(TokenId first, int count) {
  std::vector<TokenId> ids;
  for (int i = 0; i < count; ++i) ids.push_back(first + i);
  return ids;
}

std::vector<TokenId> joined(std::vector<TokenId> ids, const std::vector<TokenId>& more) {
  ids.insert(ids.end(), more.begin(), more.end());
  return ids;
}

// "story": a text. "5" ... "40": so many ids, all but the last read. "ended": all are read. "unread": none
// is.
class StateServer {
 public:
  explicit StateServer(const ServedOptions& options = {}) : served(not_ready(options)) {
    std::map<std::string, SavedState>& states = served.served.states;
    const auto read = [&](std::vector<TokenId> ids) { return read_once(*served.engine, std::move(ids)); };
    states["story"] =
        read(joined({*served.tokenizer->bos_id()}, served.tokenizer->encode("Once upon a time")));
    for (const int size : {5, 16, 17, 40}) states[fmt::format("{}", size)] = read(ids_from(100, size));
    states["ended"] = read_once(*served.engine, ids_from(100, 9), served.tokenizer->eos_id());
    states["unread"] = {ids_from(100, 7), std::make_shared<const SequenceState>()};
    served.api->set_ready(*served.engine, served.http->poster());
  }

  const SavedState& state(const std::string& name) const { return served.served.states.at(name); }

  Served served;
};

const Json kDrawn = {{"n", 3},        {"seed", 7},       {"max_tokens", 9},
                     {"logprobs", 1}, {"stream", false}, {"return_token_ids", true}};

Json with(Json body, const std::string& name, Json value) {
  body[name] = std::move(value);
  return body;
}

// A streamed choice, put together again.
Json gathered(const std::vector<Json>& chunks, std::size_t index) {
  Json whole = {{"text", ""}, {"token_ids", Json::array()}};
  for (const Json& chunk : chunks) {
    for (const Json& choice : chunk["choices"]) {
      if (choice["index"] != index) continue;
      whole["text"] = whole["text"].get<std::string>() + choice["text"].get<std::string>();
      for (const Json& id : choice["token_ids"]) whole["token_ids"].push_back(id);
    }
  }
  return whole;
}

std::size_t cached_tokens(const Json& usage) { return usage["prompt_tokens_details"]["cached_tokens"]; }

}  // namespace

TEST_CASE("what comes from a state is bit by bit what comes from the whole prompt, whole and streamed") {
  const StateServer server;
  for (const char* name : {"story", "5", "16", "17", "40", "unread"}) {
    INFO(name);
    const SavedState& saved = server.state(name);
    const std::vector<TokenId> more = ids_from(7, 20);
    const std::vector<TokenId> text = server.served.tokenizer->encode_continuation(" there was a");
    const std::pair<Json, std::vector<std::vector<TokenId>>> prompts[] = {
        {nullptr, {{}}},
        {"", {{}}},
        {" there was a", {text}},
        {more, {more}},
        {{" there was a", ""}, {text, {}}},
        {{{7}, more}, {{7}, more}},
    };
    for (const auto& [given, behind] : prompts) {
      INFO(given);
      Json whole_prompts = Json::array();
      for (const auto& ids : behind) whole_prompts.push_back(joined(saved.tokens, ids));
      const Json whole = server.served.complete(with(kDrawn, "prompt", whole_prompts).dump());
      const Json body = with(with(kDrawn, "prompt", given), "state", name);
      const Json found = server.served.complete(body.dump());
      CHECK(found["choices"] == whole["choices"]);
      CHECK(found["usage"]["prompt_tokens"] == whole["usage"]["prompt_tokens"]);
      CHECK(found["usage"]["total_tokens"] == whole["usage"]["total_tokens"]);
      const auto position = static_cast<std::size_t>(saved.state->position);
      CHECK(cached_tokens(found["usage"]) == position * behind.size());
      CHECK(cached_tokens(whole["usage"]) == 0);

      const Json streamed = with(with(body, "stream", true), "stream_options", {{"include_usage", true}});
      const std::vector<Json> chunks = server.served.stream(streamed.dump());
      for (const Json& choice : whole["choices"]) {
        const Json one = gathered(chunks, choice["index"]);
        CHECK(one["text"] == choice["text"]);
        CHECK(one["token_ids"] == choice["token_ids"]);
      }
      CHECK(chunks.back()["usage"] == found["usage"]);
    }
  }
}

TEST_CASE("a text behind a state goes on as it stands") {
  const StateServer server;
  const std::string rest = R"("max_tokens":12,"temperature":0})";
  const Json whole = server.served.complete(R"({"prompt":"Once upon a time there was a",)" + rest);
  const Json found = server.served.complete(R"({"state":"story","prompt":" there was a",)" + rest);
  CHECK(found["choices"] == whole["choices"]);
  CHECK(found["usage"]["prompt_tokens"] == whole["usage"]["prompt_tokens"]);
}

TEST_CASE("the best of several goes on from a state") {
  const StateServer server;
  const Json body = {{"seed", 7}, {"max_tokens", 9}, {"best_of", 4}, {"n", 2}, {"return_token_ids", true}};
  const Json whole = server.served.complete(with(body, "prompt", server.state("17").tokens).dump());
  CHECK(server.served.complete(with(body, "state", "17").dump())["choices"] == whole["choices"]);
}

TEST_CASE("what a state has read is not counted as read again") {
  const StateServer server;
  const Json body = {{"state", "40"}, {"prompt", {7, 8}}, {"max_tokens", 2}, {"n", 2}, {"ignore_eos", true}};
  const Json answer = server.served.complete(body.dump());
  CHECK(answer["usage"] == Json{{"prompt_tokens", 42},
                                {"completion_tokens", 4},
                                {"total_tokens", 46},
                                {"prompt_tokens_details", {{"cached_tokens", 39}}}});
  CHECK(answer["timings"]["prompt_n"] == 3);
  const std::string metrics = server.served.answer(get("/metrics")).body;
  CHECK(metrics.find("ttt:prompt_tokens_total 3\n") != std::string::npos);
}

TEST_CASE("a state that read an end of text goes on with a prompt only") {
  const StateServer server;
  const SavedState& ended = server.state("ended");
  REQUIRE(ended.state->position == 9);
  const Json whole = server.served.complete(with(kDrawn, "prompt", joined(ended.tokens, {7, 8})).dump());
  const Json body = with(kDrawn, "state", "ended");
  CHECK(server.served.complete(with(body, "prompt", {7, 8}).dump())["choices"] == whole["choices"]);
  const Answer refused = server.served.answer(post("/v1/completions", body.dump()));
  CHECK(refused.status == 400);
  CHECK(error_of(refused)["param"] == "prompt");
}

TEST_CASE("a state that cannot be gone on from is refused with the reason") {
  const StateServer server({.chat_template = tokenizer::ChatTemplate::kPlain});
  struct Case {
    const char* path;
    const char* body;
    unsigned status;
    const char* code;
    const char* param;
    const char* sentence;
  };
  const Case cases[] = {
      {"/v1/completions", R"({"state":"stor","prompt":"a"})", 404, "state_not_found", "state",
       "there is 16, 17, 40, 5, ended, story, unread"},
      {"/v1/completions", R"({"state":"","prompt":"a"})", 404, "state_not_found", "state", "there is 16"},
      {"/v1/completions", R"({"state":1,"prompt":"a"})", 400, "invalid_type", "state", "wanted a string"},
      {"/v1/completions", R"({"state":["story"],"prompt":"a"})", 400, "invalid_type", "state",
       "wanted a string"},
      {"/v1/completions", R"({"state":"story","prompt":"a","echo":true})", 400, "invalid_value", "echo",
       "leave echo or state out"},
      {"/v1/completions", R"({"state":"story","prompt":[]})", 400, "invalid_type", "prompt", "at least one"},
      {"/v1/chat/completions", R"({"state":"story","messages":[{"role":"user","content":"a"}]})", 400,
       "unsupported_parameter", "state", "/v1/completions"},
      {"/v1/score", R"({"state":"story","prompt":"a","completions":"b"})", 400, "unsupported_parameter",
       "state", "/v1/completions"},
  };
  for (const Case& each : cases) {
    INFO(each.path << " " << each.body);
    const Answer answer = server.served.answer(post(each.path, each.body));
    INFO(answer.body);
    CHECK(answer.status == each.status);
    const Json error = error_of(answer);
    CHECK(error["code"] == each.code);
    CHECK(error["param"] == each.param);
    CHECK(error["message"].get<std::string>().find(each.sentence) != std::string::npos);
  }
  server.served.complete(R"({"state":null,"prompt":"a","echo":true,"max_tokens":1})");
  const Served none;
  const Answer answer = none.answer(post("/v1/completions", R"({"state":"story"})"));
  CHECK(answer.status == 404);
  CHECK(error_of(answer)["message"].get<std::string>().find("--preload-state") != std::string::npos);
}

TEST_CASE("the limit of a prompt is for what the client sends, and many prompts have one for the state") {
  ServedOptions options;
  options.api.limits.max_prompt_tokens = 4;
  options.api.limits.max_state_tokens = 100;
  const StateServer server(options);
  const auto status = [&](const Json& prompt) {
    const Json body = {{"state", "40"}, {"prompt", prompt}, {"max_tokens", 1}};
    return server.served.answer(post("/v1/completions", body.dump())).status;
  };
  CHECK(status(ids_from(7, 4)) == 200);
  CHECK(status(ids_from(7, 5)) == 400);
  CHECK(status({"a", "b"}) == 200);
  CHECK(status({"a", "b", "c"}) == 400);
}

TEST_CASE("a model without a tokenizer goes on from a state with ids, or with nothing") {
  const StateServer server({.has_tokenizer = false});
  const Json whole = server.served.complete(with(kDrawn, "prompt", server.state("17").tokens).dump());
  const Json body = with(kDrawn, "state", "17");
  CHECK(server.served.complete(body.dump())["choices"] == whole["choices"]);
  const Answer refused = server.served.answer(post("/v1/completions", with(body, "prompt", "a").dump()));
  CHECK(refused.status == 400);
  CHECK(error_of(refused)["param"] == "prompt");
}

TEST_CASE("states are listed by name, behind the key") {
  const std::string list = "/v1/states";
  CHECK(Json::parse(Served().answer(get(list)).body) == Json{{"object", "list"}, {"data", Json::array()}});
  ServedOptions options;
  options.api.api_keys = {"key"};
  const StateServer server(options);
  CHECK(server.served.answer(get(list)).status == 401);
  const Answer answer = server.served.answer(get(list, "Authorization: Bearer key\r\n"));
  REQUIRE(answer.status == 200);
  const Json states = Json::parse(answer.body);
  CHECK(states["object"] == "list");
  std::vector<std::string> names;
  for (const Json& state : states["data"]) {
    names.push_back(state["id"]);
    CHECK(state["object"] == "state");
    const SavedState& saved = server.state(names.back());
    CHECK(state["tokens"] == saved.tokens.size());
    CHECK(state["tokens_read"] == saved.state->position);
    CHECK(state["bytes"] == saved.state->bytes.size());
  }
  CHECK(names == std::vector<std::string>{"16", "17", "40", "5", "ended", "story", "unread"});
}

}  // namespace ttt::server
