// SPDX-License-Identifier: Apache-2.0
// The JSON of every answer: the one file of server/ that knows the JSON library. Text that is no valid UTF-8
// becomes U+FFFD.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/engine.h"
#include "engine/token_stream.h"
#include "server/scored_tokens.h"
#include "server/served_model.h"

namespace ttt::server {

struct Usage {
  std::size_t prompt_tokens = 0;
  std::size_t completion_tokens = 0;
  std::size_t cached_tokens = 0;  // of the prompts: not read, as a state had read them
};

// In what objects an answer is told: those of POST /v1/completions, /v1/chat/completions or /v1/score.
enum class AnswerShape : std::uint8_t { kText, kChat, kScore };

std::string_view id_prefix(AnswerShape shape);  // "cmpl-"

// What all objects of one answer have in common.
struct AnswerHead {
  AnswerShape shape = AnswerShape::kText;
  std::string id;
  std::int64_t created = 0;
  std::string model;
  std::string fingerprint;
};

struct AnsweredChoice {
  std::size_t index = 0;
  std::string text = {};
  std::optional<std::vector<ScoredToken>> log_probs = {};  // empty: none were asked for
  std::optional<std::vector<TokenId>> token_ids = {};      // likewise
  std::optional<std::vector<TokenId>> prompt_ids = {};  // likewise; of a stream in the choice's first chunk
  std::optional<Finish> finish = {};                    // empty in a chunk that is not the choice's last
};

struct AnswerTimings {
  double prompt_seconds = 0.0;  // waiting included
  double decode_seconds = 0.0;
  std::uint64_t seed = 0;
  bool beyond_trained_length = false;
};

// A whole answer.
std::string answer_json(const AnswerHead& head, const std::vector<AnsweredChoice>& choices,
                        const Usage& usage, const AnswerTimings& timings);
// The data of events, in order. With `has_usage` it is null or filled in each.
// What comes before the first token of a choice; none for a text.
std::vector<std::string> first_chunks_json(const AnswerHead& head, const AnsweredChoice& choice,
                                           bool has_usage, const std::optional<Usage>& usage);
std::vector<std::string> chunks_json(const AnswerHead& head, const AnsweredChoice& choice, bool has_usage,
                                     const std::optional<Usage>& usage);
std::string usage_chunk_json(const AnswerHead& head, const Usage& usage);

std::string model_json(const ServedModel& model, const std::string& name);
std::string models_json(const ServedModel& model);
std::string states_json(const ServedModel& model);
std::string version_json(const ServedModel& model);
std::string capacity_json(const ServedModel& model, const Engine::Load& load);
std::string tokenizer_info_json(const ServedModel& model);
// `strings`: with the texts of the tokens.
std::string tokens_json(const ServedModel& model, const std::vector<TokenId>& ids, bool strings);
std::string text_json(const std::string& text);
std::string status_json(const std::string& status);

struct RunningRequest {
  std::string id;
  std::string request_id;
  double seconds = 0.0;
  std::size_t prompt_tokens = 0;
  std::size_t prompt_tokens_read = 0;
  std::size_t completion_tokens = 0;
  bool stream = false;
};
std::string requests_json(const std::vector<RunningRequest>& requests);

}  // namespace ttt::server
