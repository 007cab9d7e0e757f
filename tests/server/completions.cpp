// SPDX-License-Identifier: Apache-2.0
// POST /v1/completions over a socket, with the bundled model: the API as its clients rely on it.
#include <fmt/format.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <set>
#include <thread>

#include "served.h"
#include "tokenizer/text_stream.h"

namespace ttt::server {
namespace {

std::string text_of(const std::vector<Json>& chunks, std::size_t index = 0) {
  std::string text;
  for (const Json& chunk : chunks) {
    for (const Json& choice : chunk["choices"]) {
      if (choice["index"] == index) text += choice["text"].get<std::string>();
    }
  }
  return text;
}

std::size_t code_points(const std::string& text) { return count_code_points(text); }

}  // namespace

TEST_CASE("a completion has the fields that clients read") {
  const Served served;
  const Json answer =
      served.complete(R"({"model":"demo","prompt":"Once upon a","max_tokens":5,"temperature":0})");
  CHECK(answer["id"].get<std::string>().starts_with("cmpl-"));
  CHECK(answer["object"] == "text_completion");
  CHECK(answer["created"].is_number_integer());
  CHECK(answer["model"] == "demo");
  REQUIRE(answer["choices"].size() == 1);
  const Json& choice = answer["choices"][0];
  CHECK(choice["index"] == 0);
  CHECK(choice["logprobs"].is_null());
  CHECK(choice["finish_reason"] == "length");
  CHECK(!choice["text"].get<std::string>().empty());
  CHECK(answer["usage"]["completion_tokens"] == 5);
  CHECK(answer["usage"]["total_tokens"] ==
        answer["usage"]["prompt_tokens"].get<int>() + answer["usage"]["completion_tokens"].get<int>());
}

TEST_CASE("every optional field may be null") {
  const Served served;
  const Json nulls = served.complete(
      R"({"model":null,"prompt":"Once","max_tokens":null,"temperature":0,"top_p":null,"n":null,"stream":null,
          "stream_options":null,"logprobs":null,"echo":null,"stop":null,"presence_penalty":null,
          "frequency_penalty":null,"best_of":null,"logit_bias":null,"seed":null,"suffix":null,"user":null})");
  const Json plain = served.complete(R"({"prompt":"Once","temperature":0})");
  CHECK(nulls["choices"][0]["text"] == plain["choices"][0]["text"]);
  CHECK(plain["usage"]["completion_tokens"] == 16);
}

TEST_CASE("a prompt has four shapes") {
  const Served served;
  const std::vector<TokenId> ids = served.tokenizer->encode("Once upon");
  const std::string list = Json(ids).dump();
  const auto texts = [&](const std::string& prompt) {
    const Json answer = served.complete(
        fmt::format(R"({{"prompt":{},"max_tokens":4,"temperature":0,"add_special_tokens":false}})", prompt));
    std::vector<std::string> all;
    for (const Json& choice : answer["choices"]) all.push_back(choice["text"]);
    return all;
  };
  const std::vector<std::string> one = texts(R"("Once upon")");
  REQUIRE(one.size() == 1);
  CHECK(texts(R"(["Once upon"])") == one);
  CHECK(texts(list) == one);
  CHECK(texts("[" + list + "]") == one);
  CHECK(texts(R"(["Once upon","Once upon"])") == std::vector<std::string>{one[0], one[0]});
  CHECK(texts("[" + list + "," + list + "]") == std::vector<std::string>{one[0], one[0]});
}

TEST_CASE("token ids get no bos, texts do") {
  const Served served;
  const auto count = [&](const std::string& prompt) {
    return served.complete(
        fmt::format(R"({{"prompt":{},"max_tokens":0}})", prompt))["usage"]["prompt_tokens"];
  };
  const std::size_t size = served.tokenizer->encode("Once upon").size();
  CHECK(count(R"("Once upon")") == size + 1);
  CHECK(count(Json(served.tokenizer->encode("Once upon")).dump()) == size);
  CHECK(count(R"("")") == 1);
}

TEST_CASE("two prompts with three choices give six, in order, each as alone") {
  const Served served;
  const Json both = served.complete(R"({"prompt":["Once","The dog"],"n":3,"max_tokens":6,"seed":7})");
  REQUIRE(both["choices"].size() == 6);
  for (std::size_t i = 0; i < 6; ++i) CHECK(both["choices"][i]["index"] == i);
  const Json first = served.complete(R"({"prompt":"Once","n":3,"max_tokens":6,"seed":7})");
  for (std::size_t i = 0; i < 3; ++i) CHECK(both["choices"][i]["text"] == first["choices"][i]["text"]);
  CHECK(first["choices"][0]["text"] != first["choices"][1]["text"]);
}

TEST_CASE("max_tokens 0 reads the prompt only") {
  const Served served;
  const Json answer = served.complete(R"({"prompt":"Once upon","max_tokens":0,"echo":true})");
  CHECK(answer["choices"][0]["text"] == "Once upon");
  CHECK(answer["choices"][0]["finish_reason"] == "length");
  CHECK(answer["usage"]["completion_tokens"] == 0);
}

TEST_CASE("echo puts the prompt before the continuation") {
  const Served served;
  const std::string rest = R"("prompt":"Once upon","max_tokens":5,"temperature":0})";
  const std::string plain = served.complete("{" + rest)["choices"][0]["text"];
  const std::string echoed = served.complete(R"({"echo":true,)" + rest)["choices"][0]["text"];
  CHECK(echoed == "Once upon" + plain);
}

TEST_CASE("log-probabilities have OpenAI's legacy shape") {
  const Served served;
  const Json answer =
      served.complete(R"({"prompt":"Once upon","max_tokens":4,"temperature":0,"logprobs":2,"echo":true})");
  const Json& choice = answer["choices"][0];
  const Json& log_probs = choice["logprobs"];
  const std::size_t size = log_probs["tokens"].size();
  CHECK(size == answer["usage"]["total_tokens"].get<std::size_t>());
  for (const char* key : {"token_logprobs", "top_logprobs", "text_offset"})
    CHECK(log_probs[key].size() == size);
  CHECK(log_probs["token_logprobs"][0].is_null());
  CHECK(log_probs["top_logprobs"][0].is_null());
  for (std::size_t i = 1; i < size; ++i) {
    const std::string token = log_probs["tokens"][i];
    const Json& top = log_probs["top_logprobs"][i];
    REQUIRE(top.contains(token));
    CHECK(top[token].dump() == log_probs["token_logprobs"][i].dump());
    CHECK(top.size() >= 2);
    CHECK(top.size() <= 3);
  }
  // Greedy: what was drawn is the most probable.
  for (std::size_t i = size - 4; i < size; ++i) {
    double best = -1e9;
    for (const Json& value : log_probs["top_logprobs"][i]) best = std::max(best, value.get<double>());
    CHECK(log_probs["token_logprobs"][i].get<double>() == best);
  }
}

TEST_CASE("text offsets count code points of the text, byte pieces included") {
  const Served served;
  const std::string prompt = "caf\u00e9 \u732b \U0001F600 end";
  const Json answer = served.complete(
      Json{{"prompt", prompt}, {"max_tokens", 3}, {"temperature", 0}, {"logprobs", 0}, {"echo", true}}
          .dump());
  const std::string text = answer["choices"][0]["text"];
  const Json& log_probs = answer["choices"][0]["logprobs"];
  std::size_t previous = 0;
  for (std::size_t i = 0; i < log_probs["tokens"].size(); ++i) {
    const std::size_t offset = log_probs["text_offset"][i];
    CHECK(offset >= previous);
    CHECK(offset <= code_points(text));
    const std::string token = log_probs["tokens"][i];
    if (token.starts_with("bytes:") || token == "<s>") continue;
    std::size_t byte = 0;  // of the code point `offset`
    for (std::size_t seen = 0; byte < text.size(); ++byte) {
      if ((static_cast<unsigned char>(text[byte]) & 0xC0U) != 0x80U && seen++ == offset) break;
    }
    CHECK(text.compare(byte, token.size(), token) == 0);
    previous = offset;
  }
}

TEST_CASE("the end-of-text token appears among the tokens, not in the text") {
  const Served served;
  const TokenId eos = *served.served.eos_id;
  const Json answer = served.complete(
      fmt::format(R"({{"prompt":"Once","max_tokens":5,"logprobs":1,"logit_bias":{{"{}":100}}}})", eos));
  const Json& choice = answer["choices"][0];
  CHECK(choice["text"] == "");
  CHECK(choice["finish_reason"] == "stop");
  CHECK(choice["stop_reason"].is_null());
  CHECK(choice["logprobs"]["tokens"] == Json::array({"</s>"}));
  CHECK(answer["usage"]["completion_tokens"] == 1);
}

TEST_CASE("a logit bias of -100 bans a token") {
  const Served served;
  const Json free = served.complete(R"({"prompt":"Once upon a","max_tokens":1,"temperature":0,"logprobs":0,
                                        "return_tokens_as_token_ids":true})");
  const std::string drawn = free["choices"][0]["logprobs"]["tokens"][0];
  REQUIRE(drawn.starts_with("token_id:"));
  const Json banned =
      served.complete(fmt::format(R"({{"prompt":"Once upon a","max_tokens":1,"temperature":0,"logprobs":0,
                       "return_tokens_as_token_ids":true,"logit_bias":{{"{}":-100}}}})",
                                  drawn.substr(9)));
  CHECK(banned["choices"][0]["logprobs"]["tokens"][0] != drawn);
}

TEST_CASE("the text ends before the earliest stop string, streamed or not") {
  const Served served;
  const std::string whole =
      served.complete(R"({"prompt":"Once upon a","max_tokens":30,"temperature":0})")["choices"][0]["text"];
  REQUIRE(whole.size() > 12);
  const std::string early = whole.substr(4, 3), late = whole.substr(9, 3);
  const Json body = {
      {"prompt", "Once upon a"}, {"max_tokens", 30}, {"temperature", 0}, {"stop", {late, early}}};
  const Json answer = served.complete(body.dump());
  const std::string expected = whole.substr(0, whole.find(early));
  CHECK(answer["choices"][0]["text"] == expected);
  CHECK(answer["choices"][0]["finish_reason"] == "stop");
  CHECK(answer["choices"][0]["stop_reason"] == early);
  Json streamed = body;
  streamed["stream"] = true;
  CHECK(text_of(served.stream(streamed.dump())) == expected);
}

TEST_CASE("a stream says the same as the whole answer, and usage only when asked") {
  const Served served;
  const std::string body = R"("prompt":["Once","The \ud83d\ude00"],"n":2,"max_tokens":12,"seed":3)";
  const Json whole = served.complete("{" + body + "}");
  const std::vector<Json> chunks = served.stream("{" + body + R"(,"stream":true})");
  std::set<std::size_t> finished;
  for (const Json& chunk : chunks) {
    CHECK(!chunk.contains("usage"));
    REQUIRE(chunk["choices"].size() == 1);
    const std::size_t index = chunk["choices"][0]["index"];
    CHECK(!finished.contains(index));
    if (!chunk["choices"][0]["finish_reason"].is_null()) finished.insert(index);
  }
  CHECK(finished.size() == 4);
  for (std::size_t i = 0; i < 4; ++i) CHECK(text_of(chunks, i) == whole["choices"][i]["text"]);

  const std::vector<Json> with_usage =
      served.stream("{" + body + R"(,"stream":true,"stream_options":{"include_usage":true}})");
  for (std::size_t i = 0; i + 1 < with_usage.size(); ++i) CHECK(with_usage[i]["usage"].is_null());
  CHECK(with_usage.back()["choices"].empty());
  CHECK(with_usage.back()["usage"] == whole["usage"]);
}

TEST_CASE("an echoed stream begins with the prompt, log-probabilities or not") {
  const Served served;
  for (const char* more : {"", R"(,"logprobs":1)"}) {
    const std::string body =
        fmt::format(R"({{"prompt":"Once upon","echo":true,"max_tokens":5,"temperature":0,"n":2{}}})", more);
    const Json whole = served.complete(body);
    const std::vector<Json> chunks = served.stream(body.substr(0, body.size() - 1) + R"(,"stream":true})");
    for (std::size_t i = 0; i < 2; ++i) CHECK(text_of(chunks, i) == whole["choices"][i]["text"]);
    Json tokens = Json::array();
    for (const Json& chunk : chunks) {
      const Json& choice = chunk["choices"][0];
      if (choice["index"] != 1 || choice["logprobs"].is_null()) continue;
      for (const Json& token : choice["logprobs"]["tokens"]) tokens.push_back(token);
    }
    if (*more != '\0') CHECK(tokens == whole["choices"][1]["logprobs"]["tokens"]);
  }
}

TEST_CASE("a seed gives the same text again, alone and beside others") {
  const Served served({.slots = 8});
  const std::string body = R"({"prompt":"Once upon a time","max_tokens":20,"seed":42,"logprobs":1})";
  const Json alone = served.complete(body);
  CHECK(alone["timings"]["seed"] == 42);
  std::vector<std::unique_ptr<HttpClient>> others;
  for (int i = 0; i < 6; ++i) {
    others.push_back(std::make_unique<HttpClient>(served.port()));
    others.back()->send(
        post("/v1/completions", R"({"prompt":"The other one","max_tokens":40,"ignore_eos":true})"));
  }
  CHECK(served.complete(body)["choices"] == alone["choices"]);
  for (const auto& other : others) CHECK(other->read_answer().status == 200);
}

TEST_CASE("best_of returns the choice with the higher mean") {
  const Served served;
  const Json all = served.complete(R"({"prompt":"Once","n":4,"max_tokens":8,"seed":5,"logprobs":0})");
  const auto mean = [](const Json& choice) {
    double sum = 0.0;
    for (const Json& value : choice["logprobs"]["token_logprobs"]) sum += value.get<double>();
    return sum / static_cast<double>(choice["logprobs"]["token_logprobs"].size());
  };
  double best = -1e9;
  for (const Json& choice : all["choices"]) best = std::max(best, mean(choice));
  const Json one =
      served.complete(R"({"prompt":"Once","n":1,"best_of":4,"max_tokens":8,"seed":5,"logprobs":0})");
  CHECK(mean(one["choices"][0]) == Approx(best));
}

TEST_CASE("what is wrong with a request is told with its field") {
  const Served served;
  struct Case {
    std::string body;
    const char* param;  // null: none
    unsigned status = 400;
  };
  std::string many_stops = R"({"prompt":"a","stop":[)";
  for (int i = 0; i < 17; ++i) many_stops += fmt::format("{}\"s{}\"", i == 0 ? "" : ",", i);
  const std::vector<Case> cases = {
      {"{", nullptr},
      {"", nullptr},
      {"[]", nullptr},
      {"\xff", nullptr},
      {R"({"prompt":"a","prompt":"b"})", nullptr},
      {R"({"prompt":"\ud800"})", nullptr},
      {R"({"prompt":"a","temperature":1e400})", nullptr},
      {R"({"prompt":"a","temperature":NaN})", nullptr},
      {std::string(40, '['), nullptr},
      {R"({"prompt":1})", "prompt"},
      {R"({"prompt":[]})", "prompt"},
      {R"({"prompt":[[1],[]]})", "prompt"},
      {R"({"prompt":["a",1]})", "prompt"},
      {R"({"prompt":[1,"a"]})", "prompt"},
      {R"({"prompt":[1,[2]]})", "prompt"},
      {R"({"prompt":[[1],2]})", "prompt"},
      {R"({"prompt":[[1],"a"]})", "prompt"},
      {R"({"prompt":[-1]})", "prompt"},
      {R"({"prompt":[99999999]})", "prompt"},
      {R"({"prompt":[1.5]})", "prompt"},
      {R"({"prompt":{"a":1}})", "prompt"},
      {R"({"prompt":"a","max_tokens":"ten"})", "max_tokens"},
      {R"({"prompt":"a","max_tokens":-1})", "max_tokens"},
      {R"({"prompt":"a","max_tokens":1.9})", "max_tokens"},
      {R"({"prompt":"a","max_tokens":99999999999999999999999})", nullptr},
      {R"({"prompt":"a","temperature":-0.1})", "temperature"},
      {R"({"prompt":"a","temperature":101})", "temperature"},
      {R"({"prompt":"a","top_p":1.5})", "top_p"},
      {R"({"prompt":"a","n":0})", "n"},
      {R"({"prompt":"a","n":129})", "n"},
      {R"({"prompt":"a","n":-5782})", "n"},
      {R"({"prompt":"a","n":9000000000000000000})", "n"},
      {R"({"prompt":"a","best_of":-3})", "best_of"},
      {R"({"prompt":"a","n":2,"best_of":1})", "best_of"},
      {R"({"prompt":"a","best_of":2,"stream":true})", "best_of"},
      {R"({"prompt":"a","logprobs":21})", "logprobs"},
      {R"({"prompt":"a","logprobs":true})", "logprobs"},
      {R"({"prompt":"a","logprobs":20,"max_tokens":1000000})", "logprobs"},
      {R"({"prompt":"a","stop":""})", "stop"},
      {R"({"prompt":"a","stop":["a",""]})", "stop"},
      {R"({"prompt":"a","stop":[1]})", "stop"},
      {many_stops + "]}", "stop"},
      {R"({"prompt":"a","logit_bias":{"x":1}})", "logit_bias"},
      {R"({"prompt":"a","logit_bias":{"99999999":1}})", "logit_bias"},
      {R"({"prompt":"a","logit_bias":{"1":101}})", "logit_bias"},
      {R"({"prompt":"a","suffix":"b"})", "suffix"},
      {R"({"prompt":"a","stream_options":{"include_usage":true}})", "stream_options"},
      {R"({"prompt":"a","stream":true,"stream_options":{"include_usage":1}})", "stream_options"},
      {R"({"prompt":"a","stream":"yes"})", "stream"},
      {R"({"prompt":"a","model":"gpt-4"})", "model", 404},
  };
  for (const Case& each : cases) {
    INFO(each.body);
    const Answer answer = served.answer(post("/v1/completions", each.body));
    INFO(answer.body);
    CHECK(answer.status == each.status);
    const Json error = error_of(answer);
    if (each.param == nullptr) {
      CHECK(error["param"].is_null());
    } else {
      CHECK(error["param"] == each.param);
    }
  }
  CHECK(served.becomes_idle());
}

TEST_CASE("sixteen stop strings and a suffix of null are accepted") {
  const Served served;
  Json body = {{"prompt", "a"}, {"max_tokens", 1}, {"suffix", nullptr}};
  for (int i = 0; i < 16; ++i) body["stop"].push_back(fmt::format("stop {}", i));
  served.complete(body.dump());
}

TEST_CASE("unknown fields are named in a header, or refused") {
  const Served lenient;
  const std::string body =
      R"({"prompt":"a","max_tokens":1,"future":{"deep":[1,{"x":2}]},"other":null,"b\r\nad":1})";
  const Answer answer = lenient.answer(post("/v1/completions", body));
  CHECK(answer.status == 200);
  CHECK(answer.headers.at("x-ttt-ignored-fields") == "future, other");
  ServedOptions options;
  options.api.limits.strict_fields = true;
  const Served strict(options);
  const Answer refused = strict.answer(post("/v1/completions", body));
  CHECK(refused.status == 400);
  CHECK(error_of(refused)["param"] == "future");
}

TEST_CASE("a client that goes away frees its slot within a second") {
  const Served served;
  const std::string endless = R"("max_tokens":1000000,"ignore_eos":true)";
  const std::string streamed = R"({"prompt":"Once","stream":true,)" + endless + "}";
  const std::string whole = R"({"prompt":"Once",)" + endless + "}";
  const std::string long_prompt =
      Json{{"prompt", std::vector<int>(test::kSanitized ? 100'000 : 2'000'000, 5)}, {"max_tokens", 1}}.dump();
  using Leave = void (*)(HttpClient&);
  const Leave leaves[] = {[](HttpClient& client) { client.close(); },
                          [](HttpClient& client) { client.reset(); }};
  for (const std::string& body : {streamed, whole, long_prompt}) {
    for (const Leave leave : leaves) {
      HttpClient client(served.port());
      client.send(post("/v1/completions", body));
      for (int i = 0; i < 500 && served.engine->load().running == 0; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
      }
      REQUIRE(served.engine->load().running == 1);
      leave(client);
      CHECK(served.becomes_idle());
    }
  }
}

TEST_CASE("a half-closed client gets its answer, whole or streamed") {
  const Served served;
  for (const char* stream : {"false", "true"}) {
    HttpClient client(served.port());
    client.send(
        post("/v1/completions",
             fmt::format(R"({{"prompt":"Once","max_tokens":60,"ignore_eos":true,"stream":{}}})", stream)));
    client.half_close();
    const Answer answer = client.read_answer();
    CHECK(answer.status == 200);
    CHECK(answer.body.find("length") != std::string::npos);
    CHECK(client.at_end());
  }
}

TEST_CASE("requests that are sent together are answered in order") {
  const Served served;
  HttpClient client(served.port());
  std::string all;
  for (int i = 1; i <= 5; ++i) {
    all += post("/v1/completions", fmt::format(R"({{"prompt":"Once","max_tokens":{}}})", i));
  }
  client.send(all);
  for (int i = 1; i <= 5; ++i) {
    CHECK(Json::parse(client.read_answer().body)["usage"]["completion_tokens"] == i);
  }
}

TEST_CASE("requests that were sent before a client closed its side are all answered") {
  const Served served;
  HttpClient client(served.port());
  const std::string request = post("/v1/completions", R"({"prompt":"Once","max_tokens":2})");
  client.send(request + request + request);
  client.half_close();
  for (int i = 0; i < 3; ++i) CHECK(client.read_answer().status == 200);
  CHECK(client.at_end());
}

TEST_CASE("a full queue answers 429 with a time to try again") {
  const Served served({.slots = 1, .scheduling = {.max_waiting = 1}});
  const std::string endless =
      post("/v1/completions", R"({"prompt":"a","max_tokens":1000000,"ignore_eos":true})");
  HttpClient running(served.port()), waiting(served.port());
  running.send(endless);
  for (int i = 0; i < 500 && served.engine->load().running == 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  waiting.send(endless);
  for (int i = 0; i < 500 && served.engine->load().waiting == 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  const Answer answer = served.answer(endless);
  CHECK(answer.status == 429);
  CHECK(answer.headers.contains("retry-after"));
  CHECK(error_of(answer)["code"] == "queue_full");
}

TEST_CASE("a request that was cut at the time limit says so, whole or streamed") {
  ServedOptions options;
  options.api.limits.time_limit = std::chrono::milliseconds(test::kSanitized ? 5'000 : 500);
  const Served served(options);
  const std::string endless = R"("prompt":"a","max_tokens":1000000,"ignore_eos":true)";
  const Json cut = served.complete("{" + endless + "}");
  CHECK(cut["usage"]["completion_tokens"] > 0);
  CHECK(cut["choices"][0]["finish_reason"] == "length");
  CHECK(cut["choices"][0]["stop_reason"] == "time_limit");
  const Json last = served.stream("{" + endless + R"(,"stream":true})").back();
  CHECK(last["choices"][0]["finish_reason"] == "length");
  CHECK(last["choices"][0]["stop_reason"] == "time_limit");
  const Json whole = served.complete(R"({"prompt":"a","max_tokens":2,"ignore_eos":true})");
  CHECK(whole["choices"][0]["finish_reason"] == "length");
  CHECK(whole["choices"][0]["stop_reason"].is_null());
}

TEST_CASE("a request that got nothing before the time limit is an error") {
  ServedOptions options{.slots = 1};
  options.api.limits.time_limit = std::chrono::milliseconds(100);
  const Served served(options);
  GenerationRequest endless;
  endless.prompt = {5};
  endless.max_tokens = 100'000'000;
  const auto before = served.engine->submit(endless);  // has no limit
  REQUIRE(before != nullptr);
  const auto check_error = [](const Json& error) {
    CHECK(error["code"] == "time_limit");
    CHECK(error["message"].get<std::string>().find("0.1 s") != std::string::npos);
  };
  const std::pair<const char*, const char*> requests[] = {
      {"/v1/completions", R"({"prompt":["a","b"],"n":1,"max_tokens":5,"echo":true})"},
      {"/v1/score", R"({"prompt":"a","completions":["b"]})"}};
  for (const auto& [path, body] : requests) {
    const Answer answer = served.answer(post(path, body));
    CHECK(answer.status == 503);
    CHECK(answer.headers.contains("retry-after"));
    check_error(error_of(answer));
  }
  const Answer streamed = served.answer(post("/v1/completions", R"({"prompt":"a","stream":true})"));
  CHECK(streamed.status == 200);
  const std::vector<std::string> data = events(streamed.body);
  REQUIRE(data.size() == 1);
  check_error(Json::parse(data[0])["error"]);
  before->cancel();
}

TEST_CASE("token ids are given where they are wanted, whole or streamed") {
  const Served served;
  const std::string body = R"("prompt":["Once upon","The"],"n":2,"max_tokens":6,"seed":3)";
  CHECK(!served.complete("{" + body + "}")["choices"][0].contains("token_ids"));
  const Json whole = served.complete("{" + body + R"(,"return_token_ids":true})");
  const std::vector<Json> chunks = served.stream("{" + body + R"(,"return_token_ids":true,"stream":true})");
  for (std::size_t i = 0; i < 4; ++i) {
    const Json& choice = whole["choices"][i];
    std::vector<TokenId> prompt = served.tokenizer->encode(i < 2 ? "Once upon" : "The");
    prompt.insert(prompt.begin(), *served.served.bos_id);
    CHECK(choice["prompt_token_ids"] == Json(prompt));
    REQUIRE(choice["token_ids"].size() == 6);
    prompt.insert(prompt.end(), choice["token_ids"].begin(), choice["token_ids"].end());
    CHECK(tokenizer::certain_text(*served.tokenizer, prompt).ends_with(choice["text"].get<std::string>()));
    Json streamed = Json::array();
    std::size_t num_prompts = 0;
    for (const Json& chunk : chunks) {
      const Json& one = chunk["choices"][0];
      if (one["index"] != i) continue;
      if (one.contains("prompt_token_ids")) ++num_prompts;
      for (const Json& id : one["token_ids"]) streamed.push_back(id);
    }
    CHECK(num_prompts == 1);
    CHECK(streamed == choice["token_ids"]);
  }
}

TEST_CASE("a model without a tokenizer takes ids and gives some") {
  const Served served({.has_tokenizer = false});
  const Json answer = served.complete(R"({"prompt":[5,6],"max_tokens":2,"return_token_ids":true})");
  CHECK(answer["choices"][0]["text"] == "");
  CHECK(answer["choices"][0]["token_ids"].size() == 2);
  CHECK(answer["choices"][0]["prompt_token_ids"] == Json({5, 6}));
  CHECK(error_of(served.answer(post("/v1/completions", R"({"prompt":"a"})")))["param"] == "prompt");
}

TEST_CASE("what is found in place of an integer is told as it came, and no library is named") {
  const Served served;
  const auto message_of = [&](const char* path, const char* body) {
    return error_of(served.answer(post(path, body)))["message"].get<std::string>();
  };
  const auto ends = [&](const char* body, const char* end) {
    const std::string message = message_of("/v1/completions", body);
    INFO(message);
    CHECK(message.ends_with(end));
  };
  ends(R"({"max_tokens":5.0})", "found 5.0");
  ends(R"({"max_tokens":1.5})", "found 1.5");
  ends(R"({"max_tokens":1e300})", "found 1e+300");
  for (const char* path : {"/v1/completions", "/tokenize"}) {
    const std::string message = message_of(path, R"({"prompt":"a","temperature":1e400})");
    INFO(message);
    CHECK(message.find("exception") == std::string::npos);
    CHECK(message.find("1e400") != std::string::npos);
  }
}

TEST_CASE("several prompts are taken together or refused together, whatever runs") {
  const Served served({.slots = 1, .scheduling = {.max_waiting = 3}});
  const auto texts = [](int count) {
    Json body = {{"max_tokens", 1}};
    for (int i = 0; i < count; ++i) body["prompt"].push_back("a");
    return post("/v1/completions", body.dump());
  };
  CHECK(served.answer(texts(3)).status == 200);
  const Answer never = served.answer(texts(4));  // an empty queue would not hold them
  CHECK(never.status == 400);
  CHECK(error_of(never)["param"] == "prompt");
  HttpClient running(served.port()), waiting(served.port());
  running.send(post("/v1/completions", R"({"prompt":"a","max_tokens":1000000,"ignore_eos":true})"));
  for (int i = 0; i < 500 && served.engine->load().running == 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  waiting.send(texts(2));
  for (int i = 0; i < 500 && served.engine->load().waiting < 2; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  CHECK(served.answer(texts(2)).status == 429);
  CHECK(served.engine->load().waiting == 2);
}

TEST_CASE("tokens of candidates that were not the best are counted") {
  const Served served;
  const Json answer =
      served.complete(R"({"prompt":"Once","max_tokens":5,"n":1,"best_of":3,"ignore_eos":true,"seed":1})");
  CHECK(answer["choices"].size() == 1);
  CHECK(answer["usage"]["completion_tokens"] == 15);
  CHECK(served.answer(get("/metrics")).body.find("ttt:generation_tokens_total 15") != std::string::npos);
}

TEST_CASE("a burst larger than what may wait for a slow client reaches one that reads") {
  ServedOptions options;
  options.http.max_unsent_bytes = 1 << 10;
  const Served served(options);
  HttpClient client(served.port());
  const std::string prompt(50'000, 'x');
  client.send(
      post("/v1/completions", Json{{"prompt", prompt}, {"n", 4}, {"echo", true}, {"stream", true}}.dump()));
  for (int i = 0; i < 4; ++i) CHECK(client.read_until(prompt).size() >= prompt.size());
}

// It takes megabytes to fill the buffers of the system.
TEST_CASE("a client that does not read its stream is given up, others are not", "[slow]") {
  ServedOptions options;
  options.http.max_unsent_bytes = 16 << 10;
  const Served served(options);
  HttpClient idle(served.port());
  idle.send(post("/v1/completions",
                 R"({"prompt":"Once","max_tokens":1000000,"ignore_eos":true,"stream":true,"logprobs":20})"));
  for (int i = 0; i < 6000 && served.engine->load().running == 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  REQUIRE(served.engine->load().running == 1);
  CHECK(served.complete(R"({"prompt":"Once","max_tokens":3})")["usage"]["completion_tokens"] == 3);
  bool given_up = false;
  for (int i = 0; i < 6000 && !given_up; ++i) {
    given_up = served.engine->load().running == 0;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  CHECK(given_up);
}

TEST_CASE("a stream that is ended by the server says why") {
  const Served served;
  HttpClient client(served.port());
  client.send(
      post("/v1/completions", R"({"prompt":"Once","max_tokens":1000000,"ignore_eos":true,"stream":true})"));
  client.read_until("data: ");
  served.api->cancel_all("this is the reason");
  const std::string rest = client.read_until("0\r\n\r\n");
  CHECK(rest.find(R"("error":{"message":"this is the reason")") != std::string::npos);
  CHECK(served.becomes_idle());
}

}  // namespace ttt::server
