// SPDX-License-Identifier: Apache-2.0
// The fields of one JSON object that asks for completions, as the HTTP interface and `ttt run --batch` know
// them: their names, their kinds, and where their values go. Ranges that depend on one field alone are
// checked by engine/request.h; text becomes token ids elsewhere.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "engine/request.h"
#include "tokenizer/chat_template.h"

namespace ttt::server {

enum class FieldSet : std::uint8_t {
  kBatch,       // a line of `ttt run --batch`
  kCompletion,  // POST /v1/completions
  kChat,        // POST /v1/chat/completions
  kScore,       // POST /v1/score
};

using Prompt = std::variant<std::string, std::vector<TokenId>>;
// Given back as it came; null: there is none.
using CallerId = std::variant<std::nullptr_t, std::int64_t, std::uint64_t, std::string>;

struct CompletionFields {
  GenerationRequest request;    // beginning with the caller's defaults; without prompt and seed
  std::vector<Prompt> prompts;  // empty: none was named, or null
  std::optional<std::uint64_t> seed;
  bool ignore_eos = false;
  bool echo = false;

  CallerId id = nullptr;  // of a batch's line

  // Of a request over HTTP.
  std::string model;
  std::string suffix;
  std::optional<std::string> state;  // the name of one that the server has
  bool stream = false;
  bool has_stream_options = false;
  bool include_usage = false;
  bool continuous_usage = false;
  bool add_special_tokens = true;
  bool tokens_as_ids = false;        // return_tokens_as_token_ids
  bool token_ids = false;            // return_token_ids
  std::vector<std::string> unknown;  // names of fields that were skipped

  std::vector<Prompt> completions;  // to be scored; as `prompts`

  // Of a chat.
  std::vector<tokenizer::ChatMessage> messages;  // empty: none were named, or null
  std::optional<std::int64_t> max_completion_tokens;
  bool log_probs = false;
  std::optional<std::int64_t> top_log_probs;
  struct Unsupported {
    std::string field;
    std::string sentence;
  };
  std::optional<Unsupported> unsupported;  // the first thing asked for that is sound, but not done here
};

struct FieldRules {
  FieldSet set = FieldSet::kCompletion;
  std::size_t vocab_size = 0;  // token ids lie below
  std::size_t max_string_bytes = 0;
  std::size_t max_prompts = 1;
};

std::vector<std::string> completion_field_names(FieldSet set);

// Throws RequestError naming the field; none for what is no JSON object. `place` begins the message about
// what is no JSON. Faults in one field do not keep `fields.id` from being read.
void read_completion_fields(std::string_view json, std::string_view place, const FieldRules& rules,
                            CompletionFields& fields);

}  // namespace ttt::server
