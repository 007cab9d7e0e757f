// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: any bytes as the body of POST /v1/completions, /v1/chat/completions and /v1/score, to a
// model with a tokenizer.
#include <optional>

#include "engine/tokenizer_metadata.h"
#include "server/api_error.h"
#include "server/completion_request.h"
#include "tests/fuzz/tensor_check.h"
#include "weights/checkpoint.h"

namespace {

constexpr int kVocabSize = 4096;

struct Fixture {
  ttt::weights::Checkpoint checkpoint = ttt::weights::Checkpoint::open(TTT_MODELS "/demo-linear.gguf");
  std::optional<ttt::tokenizer::Tokenizer> tokenizer = ttt::load_tokenizer(checkpoint, kVocabSize);
  ttt::server::ServedModel model;

  Fixture() {
    model.names = {"demo", "*"};
    model.config.vocab_size = kVocabSize;
    model.tokenizer = &*tokenizer;
    model.bos_id = tokenizer->bos_id();
    model.eos_id = tokenizer->eos_id();
    model.chat_template = ttt::tokenizer::ChatTemplate::kChatMl;
  }
};

// Any refusal is one; what is accepted is within the limits.
void check(std::string_view body, ttt::server::AnswerShape shape, const ttt::server::ServedModel& model,
           const ttt::server::RequestLimits& limits) {
  using ttt::weights::require;
  try {
    const auto request = ttt::server::parse_completion(body, shape, model, limits, 1);
    require(!request.prompts.empty() && request.prompts.size() <= limits.max_prompts);
    for (const ttt::GenerationRequest& prompt : request.prompts) {
      require(prompt.prompt.size() <= 1000);
      for (const ttt::TokenId id : prompt.prompt) require(id >= 0 && id < kVocabSize);
    }
  } catch (const ttt::server::ApiError& error) {
    require(error.status >= 400 && error.status < 500);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Fixture fixture;
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  const ttt::server::RequestLimits limits{.max_prompt_tokens = 1000, .strict_fields = size % 2 == 1};
  using Shape = ttt::server::AnswerShape;
  for (const Shape shape : {Shape::kText, Shape::kChat, Shape::kScore})
    check(body, shape, fixture.model, limits);
  return 0;
}
