// SPDX-License-Identifier: Apache-2.0
// POST /v1/score over a socket, against POST /v1/completions with echo.
#include <catch2/catch.hpp>

#include "served.h"

namespace ttt::server {
namespace {

const std::string kScore = "/v1/score";

}  // namespace

TEST_CASE("scores are bitwise the log-probabilities that an echo of the whole gives") {
  const Served served;
  const std::vector<std::string> texts = {" a time", " x",
                                          "s and more than a mini-batch of other words behind it"};
  const Json score = served.complete(
      Json{{"model", "demo"}, {"prompt", "Once upon"}, {"completions", texts}}.dump(), kScore);
  CHECK(score["object"] == "score");
  CHECK(score["id"].get<std::string>().starts_with("score-"));
  CHECK(score["model"] == "demo");
  REQUIRE(score["data"].size() == 3);
  std::vector<TokenId> prompt = served.tokenizer->encode("Once upon");
  prompt.insert(prompt.begin(), *served.served.bos_id);
  std::size_t given = prompt.size();
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const std::vector<TokenId> ids = served.tokenizer->encode_continuation(texts[i]);
    given += ids.size();
    std::vector<TokenId> whole = prompt;
    whole.insert(whole.end(), ids.begin(), ids.end());
    const Json echoed =
        served.complete(Json{{"prompt", whole}, {"max_tokens", 0}, {"echo", true}, {"logprobs", 1}}.dump());
    const Json& legacy = echoed["choices"][0]["logprobs"];
    const Json& one = score["data"][i];
    CHECK(one["index"] == i);
    CHECK(one["token_ids"] == Json(ids));
    double sum = 0.0;
    bool is_greedy = true;
    REQUIRE(one["token_logprobs"].size() == ids.size());
    for (std::size_t k = 0; k < ids.size(); ++k) {
      const std::size_t at = prompt.size() + k;
      CHECK(one["token_logprobs"][k].dump() == legacy["token_logprobs"][at].dump());
      CHECK(one["tokens"][k] == legacy["tokens"][at]);
      sum += legacy["token_logprobs"][at].get<double>();
      is_greedy = is_greedy && legacy["top_logprobs"][at].size() == 1;
    }
    CHECK(one["logprob"].get<double>() == Approx(sum).epsilon(1e-6));
    CHECK(one["is_greedy"] == is_greedy);
  }
  CHECK(score["usage"]["prompt_tokens"] == given);
  CHECK(score["usage"]["completion_tokens"] == 0);
  CHECK(served.becomes_idle());
}

TEST_CASE("what the model would say is greedy, anything else is not") {
  const Served served;
  const std::string said =
      served.complete(R"({"prompt":"Once upon a","max_tokens":3,"temperature":0})")["choices"][0]["text"];
  const Json score =
      served.complete(Json{{"prompt", "Once upon a"}, {"completions", {said, " zebra"}}}.dump(), kScore);
  CHECK(score["data"][0]["is_greedy"] == true);
  CHECK(score["data"][1]["is_greedy"] == false);
  CHECK(score["data"][0]["logprob"] > score["data"][1]["logprob"]);
}

TEST_CASE("more completions than slots, ids instead of texts, and one alone are scored alike") {
  const Served served;
  const std::vector<TokenId> ids = served.tokenizer->encode_continuation(" a time");
  const Json many = served.complete(
      Json{{"prompt", "Once upon"}, {"completions", std::vector<std::string>(11, " a time")}}.dump(), kScore);
  REQUIRE(many["data"].size() == 11);
  const Json one =
      served.complete(Json{{"prompt", "Once upon"}, {"completions", ids}}.dump(), kScore)["data"][0];
  for (std::size_t i = 0; i < 11; ++i) {
    CHECK(many["data"][i]["index"] == i);
    CHECK(many["data"][i]["token_logprobs"] == one["token_logprobs"]);
  }
  const Json text = served.complete(R"({"prompt":["Once upon"],"completions":" a time"})", kScore)["data"][0];
  CHECK(text == one);
  CHECK(many["usage"]["prompt_tokens"] == served.tokenizer->encode("Once upon").size() + 1 + 11 * ids.size());
}

TEST_CASE("scores that cannot be had are refused with the field at fault") {
  ServedOptions options;
  options.api.limits.max_prompt_tokens = 50;
  options.api.limits.max_prompts = 20;
  options.api.limits.max_score_tokens = 100;
  const Served served(options);
  struct Case {
    std::string body;
    const char* param;
  };
  const std::string long_text(400, 'x');
  const Case cases[] = {
      {R"({"prompt":"a"})", "completions"},
      {R"({"prompt":"a","completions":null})", "completions"},
      {R"({"prompt":"a","completions":[]})", "completions"},
      {R"({"prompt":"a","completions":""})", "completions"},
      {R"({"prompt":"a","completions":["a",""]})", "completions"},
      {R"({"prompt":"a","completions":[[]]})", "completions"},
      {R"({"prompt":"a","completions":[99999999]})", "completions"},
      {R"({"prompt":"a","completions":["a",1]})", "completions"},
      {R"({"prompt":"a","completions":{}})", "completions"},
      {R"({"prompt":["a","b"],"completions":["a"]})", "prompt"},
      {R"({"prompt":7,"completions":["a"]})", "prompt"},
      {Json{{"prompt", "a"}, {"completions", {"b", long_text}}}.dump(), "completions"},
      {Json{{"prompt", "a"}, {"completions", std::vector<std::string>(21, "b")}}.dump(), "completions"},
      {Json{{"prompt", std::vector<int>(40, 5)}, {"completions", std::vector<std::string>(12, "b")}}.dump(),
       "completions"},  // with four slots the prompt would be read three times
  };
  for (const Case& each : cases) {
    INFO(each.body);
    const Answer answer = served.answer(post(kScore, each.body));
    CHECK(answer.status == 400);
    CHECK(error_of(answer)["param"] == each.param);
  }
  CHECK(served.becomes_idle());
}

}  // namespace ttt::server
