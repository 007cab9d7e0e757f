// SPDX-License-Identifier: Apache-2.0
// What a load test reads in the JSON of OpenAI-style servers. Anything else in it is passed over.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ttt::cli {

// One event of a streamed answer.
struct AnswerChunk {
  std::size_t num_choices = 0;
  bool has_text = false;
  bool has_finish = false;
  std::optional<std::size_t> prompt_tokens, output_tokens;  // of its usage
  std::string error;                                        // a sentence; also if it is no JSON

  // Some servers end a stream with a chunk that brings the reason alone: that is no token.
  bool is_token() const { return num_choices > 0 && (has_text || !has_finish); }
};
AnswerChunk read_chunk(std::string_view json);

// The sentence in the body of a refusal, or the body itself, on one line and not too long.
std::string error_message(std::string_view body);

struct ListedModel {
  std::string name;
  std::optional<std::int64_t> vocab_size;  // where the server tells
};
// The first of a list of models; none if it is no such list.
std::optional<ListedModel> read_first_model(std::string_view json);

}  // namespace ttt::cli
