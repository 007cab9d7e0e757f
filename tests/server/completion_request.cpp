// SPDX-License-Identifier: Apache-2.0
// Bodies of requests. What the fields do is tested in completions.cpp, over sockets.
#include "server/completion_request.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <string>

#include "engine/tokenizer_metadata.h"
#include "server/api_error.h"
#include "tests/weights/fixtures.h"
#include "weights/checkpoint.h"

extern "C" int fuzz_completion(const std::uint8_t* data, std::size_t size);

namespace ttt::server {

TEST_CASE("the fuzzer's corpus of bodies is judged as its names say") {
  const weights::Checkpoint checkpoint = weights::Checkpoint::open(TTT_MODELS "/demo-linear.gguf");
  const auto tokenizer = load_tokenizer(checkpoint, 4096);
  ServedModel model;
  model.names = {"demo"};
  model.config.vocab_size = 4096;
  model.tokenizer = &*tokenizer;
  model.bos_id = tokenizer->bos_id();
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(TTT_TEST_DATA "/fuzz/corpus/completion")) {
    const std::string body = weights::read_file(entry.path());
    const std::string name = entry.path().filename();
    INFO(name);
    ++count;
    CHECK(fuzz_completion(reinterpret_cast<const std::uint8_t*>(body.data()), body.size()) == 0);
    unsigned status = 200;
    try {
      parse_completion(body, AnswerShape::kText, model, {}, 1);
    } catch (const ApiError& error) {
      status = error.status;
      CHECK(std::string(error.what()).size() > 10);
    }
    CHECK((status == 200) == name.starts_with("accepted-"));
    CHECK((status == 400) == name.starts_with("refused-"));
  }
  CHECK(count >= 16);
}

TEST_CASE("a short body cannot ask for an answer of any size: prompts told as often as there are choices") {
  ServedModel model;
  model.names = {"demo"};
  model.config.vocab_size = 100;
  RequestLimits limits;
  limits.max_answer_ids = 12;
  const auto found = [&](const std::string& body) -> std::string {
    try {
      parse_completion(body, AnswerShape::kText, model, limits, 1);
      return "accepted";
    } catch (const ApiError& error) {
      return error.what();
    }
  };
  CHECK(found(R"({"prompt":[1,2,3,4],"n":3,"return_token_ids":true})") == "accepted");
  CHECK(found(R"({"prompt":[1,2,3,4],"n":4})") == "accepted");
  CHECK(found(R"({"prompt":[1,2,3,4],"n":4,"return_token_ids":true})") ==
        "return_token_ids: wanted at most 12 tokens of prompts in an answer, found 16");
  CHECK(found(R"({"prompt":[[1,2,3,4],[1,2,3,4,5]],"n":2,"return_token_ids":true})") ==
        "return_token_ids: wanted at most 12 tokens of prompts in an answer, found 18");
}

}  // namespace ttt::server
