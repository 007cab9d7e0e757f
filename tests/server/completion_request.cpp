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

}  // namespace ttt::server
