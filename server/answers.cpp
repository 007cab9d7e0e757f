// SPDX-License-Identifier: Apache-2.0
#include "server/answers.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "server/api_error.h"

namespace ttt::server {
namespace {

using Json = nlohmann::ordered_json;

std::string dump(const Json& object) { return object.dump(-1, ' ', false, Json::error_handler_t::replace); }

template <typename T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

// A float in the digits that tell it from its neighbours; the same value has the same text everywhere.
Json number(float value) { return std::stod(fmt::format("{}", value)); }

// OpenAI's legacy shape: four arrays of one length.
Json log_probs_json(const std::optional<std::vector<ScoredToken>>& tokens) {
  if (!tokens) return nullptr;
  Json texts = Json::array(), values = Json::array(), tops = Json::array(), offsets = Json::array();
  for (const ScoredToken& token : *tokens) {
    texts.push_back(token.text);
    offsets.push_back(token.offset);
    values.push_back(token.log_prob ? number(*token.log_prob) : Json(nullptr));
    if (!token.log_prob) {
      tops.push_back(nullptr);
      continue;
    }
    Json top = Json::object();
    for (const TopToken& other : token.top) top[other.text] = number(other.log_prob);
    tops.push_back(std::move(top));
  }
  return {{"tokens", std::move(texts)},
          {"token_logprobs", std::move(values)},
          {"top_logprobs", std::move(tops)},
          {"text_offset", std::move(offsets)}};
}

Json bytes_json(const std::optional<std::string>& bytes) {
  if (!bytes) return nullptr;
  Json list = Json::array();
  for (const char byte : *bytes) list.push_back(static_cast<unsigned char>(byte));
  return list;
}

Json token_json(const std::string& text, const std::optional<std::string>& bytes, float log_prob) {
  return {{"token", text}, {"logprob", number(log_prob)}, {"bytes", bytes_json(bytes)}};
}

// The shape of chats: an object for each token.
Json chat_log_probs_json(const std::optional<std::vector<ScoredToken>>& tokens) {
  if (!tokens) return nullptr;
  Json content = Json::array();
  for (const ScoredToken& token : *tokens) {
    Json one = token_json(token.text, token.bytes, token.log_prob.value_or(kNeverLogProb));
    one["top_logprobs"] = Json::array();
    for (std::size_t i = 0; i < token.num_best; ++i) {
      const TopToken& top = token.top[i];
      one["top_logprobs"].push_back(token_json(top.text, top.bytes, top.log_prob));
    }
    content.push_back(std::move(one));
  }
  return {{"content", std::move(content)}, {"refusal", nullptr}};
}

// "stop" or "length": clients know no third.
Json finish_reason(const std::optional<Finish>& finish) {
  if (!finish) return nullptr;
  switch (finish->reason) {
    case FinishReason::kEndOfText:
    case FinishReason::kStopId:
    case FinishReason::kStopString:
      return "stop";
    default:
      return "length";
  }
}

// What was met; beside "length" it tells the server's time limit from max_tokens.
Json stop_reason(const std::optional<Finish>& finish) {
  if (!finish) return nullptr;
  if (finish->stop_string) return *finish->stop_string;
  if (finish->stop_id) return *finish->stop_id;
  if (finish->reason == FinishReason::kTimeLimit) return std::string(to_string(finish->reason));
  return nullptr;
}

// `chat_text`: what stands in place of the text in a chat, under which name.
Json choice_json(AnswerShape shape, const AnsweredChoice& choice, const char* chat_name, Json chat_text) {
  Json object = {{"index", choice.index}};
  if (shape == AnswerShape::kText) {
    object["text"] = choice.text;
    object["logprobs"] = log_probs_json(choice.log_probs);
  } else {
    object[chat_name] = std::move(chat_text);
    object["logprobs"] = chat_log_probs_json(choice.log_probs);
  }
  object["finish_reason"] = finish_reason(choice.finish);
  object["stop_reason"] = stop_reason(choice.finish);
  if (choice.token_ids) object["token_ids"] = *choice.token_ids;
  if (shape == AnswerShape::kText && choice.prompt_ids) object["prompt_token_ids"] = *choice.prompt_ids;
  return object;
}

Json message_json(const AnsweredChoice& choice) {
  return {{"role", "assistant"}, {"content", choice.text}, {"refusal", nullptr}};
}

// Greedy: at temperature 0 the model says just this.
Json score_json(const AnsweredChoice& choice) {
  double sum = 0.0;
  bool is_greedy = true;
  Json ids = Json::array(), texts = Json::array(), values = Json::array();
  for (const ScoredToken& token : *choice.log_probs) {
    const float log_prob = token.log_prob.value_or(kNeverLogProb);
    sum += static_cast<double>(log_prob);
    is_greedy = is_greedy && token.top.size() == token.num_best;
    ids.push_back(token.id);
    texts.push_back(token.text);
    values.push_back(number(log_prob));
  }
  return {{"index", choice.index},      {"logprob", sum},
          {"is_greedy", is_greedy},     {"token_ids", std::move(ids)},
          {"tokens", std::move(texts)}, {"token_logprobs", std::move(values)}};
}

Json usage_json(const Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
          {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}}}};
}

Json head_json(const AnswerHead& head, bool is_chunk) {
  const char* const object = head.shape == AnswerShape::kText    ? "text_completion"
                             : head.shape == AnswerShape::kScore ? "score"
                             : is_chunk                          ? "chat.completion.chunk"
                                                                 : "chat.completion";
  return {{"id", head.id},
          {"object", object},
          {"created", head.created},
          {"model", head.model},
          {"system_fingerprint", head.fingerprint}};
}

// `delta`: of a chat.
std::string chunk_json(const AnswerHead& head, const AnsweredChoice& choice, Json delta, bool has_usage,
                       const std::optional<Usage>& usage) {
  Json object = head_json(head, /*is_chunk=*/true);
  object["choices"] = Json::array({choice_json(head.shape, choice, "delta", std::move(delta))});
  if (head.shape == AnswerShape::kChat && choice.prompt_ids) object["prompt_token_ids"] = *choice.prompt_ids;
  if (has_usage) object["usage"] = usage ? usage_json(*usage) : Json(nullptr);
  return dump(object);
}

double milliseconds(double seconds) { return std::round(seconds * 1e6) / 1e3; }

Json describe_model(const ServedModel& model, const std::string& name) {
  const ModelConfig& config = model.config;
  return {{"id", name},
          {"object", "model"},
          {"created", model.created},
          {"owned_by", "local"},
          {"root", name},
          {"parent", nullptr},
          {"max_model_len", nullptr},
          {"meta",
           {{"arch", config.is_mlp() ? "ttt-mlp" : "ttt-linear"},
            {"n_params", model.num_parameters},
            {"n_layers", config.num_hidden_layers},
            {"mini_batch", config.mini_batch_size},
            {"vocab", config.vocab_size},
            {"weights", model.weights_type},
            {"weights_hash", model.weights_hash},
            {"state_bytes", model.slot_bytes}}}};
}

Json error_json(const ApiError& error) {
  return {{"error",
           {{"message", error.what()},
            {"type", error_type(error.status)},
            {"param", or_null(error.param)},
            {"code", error.code}}}};
}

}  // namespace

std::string_view id_prefix(AnswerShape shape) {
  switch (shape) {
    case AnswerShape::kText:
      return "cmpl-";
    case AnswerShape::kChat:
      return "chatcmpl-";
    case AnswerShape::kScore:
      return "score-";
  }
  return "";
}

std::string answer_json(const AnswerHead& head, const std::vector<AnsweredChoice>& choices,
                        const Usage& usage, const AnswerTimings& timings) {
  Json object = head_json(head, /*is_chunk=*/false);
  const bool is_score = head.shape == AnswerShape::kScore;
  Json& all = object[is_score ? "data" : "choices"] = Json::array();
  for (const AnsweredChoice& choice : choices) {
    all.push_back(is_score ? score_json(choice)
                           : choice_json(head.shape, choice, "message", message_json(choice)));
  }
  object["usage"] = usage_json(usage);
  if (is_score) return dump(object);
  const std::optional<std::vector<TokenId>>& prompt_ids = choices.front().prompt_ids;
  if (head.shape == AnswerShape::kChat && prompt_ids) object["prompt_token_ids"] = *prompt_ids;
  object["timings"] = {{"prompt_n", usage.prompt_tokens - usage.cached_tokens},
                       {"prompt_ms", milliseconds(timings.prompt_seconds)},
                       {"predicted_n", usage.completion_tokens},
                       {"predicted_ms", milliseconds(timings.decode_seconds)},
                       {"seed", timings.seed},
                       {"beyond_trained_len", timings.beyond_trained_length}};
  return dump(object);
}

std::vector<std::string> first_chunks_json(const AnswerHead& head, const AnsweredChoice& choice,
                                           bool has_usage, const std::optional<Usage>& usage) {
  if (head.shape == AnswerShape::kText) return {};
  return {chunk_json(head, choice, {{"role", "assistant"}, {"content", ""}}, has_usage, usage)};
}

// In a chat what ends a choice comes alone, with an empty delta.
std::vector<std::string> chunks_json(const AnswerHead& head, const AnsweredChoice& choice, bool has_usage,
                                     const std::optional<Usage>& usage) {
  if (head.shape == AnswerShape::kText) return {chunk_json(head, choice, nullptr, has_usage, usage)};
  std::vector<std::string> chunks;
  const bool has_tokens =
      (choice.log_probs && !choice.log_probs->empty()) || (choice.token_ids && !choice.token_ids->empty());
  if (!choice.text.empty() || has_tokens) {
    AnsweredChoice content = choice;
    content.finish.reset();
    chunks.push_back(chunk_json(head, content, {{"content", choice.text}}, has_usage, usage));
  }
  if (choice.finish) {
    const AnsweredChoice last{.index = choice.index, .finish = choice.finish};
    chunks.push_back(chunk_json(head, last, Json::object(), has_usage, usage));
  }
  return chunks;
}

std::string usage_chunk_json(const AnswerHead& head, const Usage& usage) {
  Json object = head_json(head, /*is_chunk=*/true);
  object["choices"] = Json::array();
  object["usage"] = usage_json(usage);
  return dump(object);
}

std::string model_json(const ServedModel& model, const std::string& name) {
  return dump(describe_model(model, name));
}

std::string models_json(const ServedModel& model) {
  Json data = Json::array();
  for (const std::string& name : model.names) {
    if (name != "*") data.push_back(describe_model(model, name));
  }
  return dump({{"object", "list"}, {"data", std::move(data)}});
}

std::string states_json(const ServedModel& model) {
  Json data = Json::array();
  for (const auto& [name, saved] : model.states) {
    data.push_back({{"id", name},
                    {"object", "state"},
                    {"tokens", saved.tokens.size()},
                    {"tokens_read", saved.state->position},
                    {"bytes", saved.state->bytes.size()}});
  }
  return dump({{"object", "list"}, {"data", std::move(data)}});
}

std::string version_json(const ServedModel& model) {
  return dump({{"version", model.version},
               {"device", model.device},
               {"weights_hash", model.weights_hash},
               {"system_fingerprint", model.fingerprint}});
}

std::string capacity_json(const ServedModel& model, const Engine::Load& load) {
  return dump({{"slots", model.slots},
               {"state_bytes_per_slot", model.slot_bytes},
               {"requests_running", load.running},
               {"requests_waiting", load.waiting}});
}

std::string tokenizer_info_json(const ServedModel& model) {
  const tokenizer::Tokenizer& tokenizer = *model.tokenizer;
  const auto piece = [&](std::optional<TokenId> id) {
    return id && *id < tokenizer.vocab_size() ? Json(tokenizer.piece(*id).text) : Json(nullptr);
  };
  return dump({{"tokenizer_class", "LlamaTokenizer"},
               {"vocab_size", model.config.vocab_size},
               {"bos_token", piece(tokenizer.bos_id())},
               {"eos_token", piece(model.eos_id)},
               {"unk_token", piece(tokenizer.unknown_id())},
               {"add_bos_token", model.bos_id.has_value()},
               {"chat_template", nullptr}});
}

std::string tokens_json(const ServedModel& model, const std::vector<TokenId>& ids, bool strings) {
  Json object = {{"tokens", ids}, {"count", ids.size()}, {"max_model_len", nullptr}};
  if (strings) {
    object["token_strs"] = Json::array();
    for (const TokenId id : ids) object["token_strs"].push_back(model.tokenizer->piece(id).text);
  }
  return dump(object);
}

std::string text_json(const std::string& text) { return dump({{"prompt", text}, {"content", text}}); }

std::string status_json(const std::string& status) { return dump({{"status", status}}); }

std::string requests_json(const std::vector<RunningRequest>& requests) {
  Json data = Json::array();
  for (const RunningRequest& request : requests) {
    data.push_back({{"id", request.id},
                    {"request_id", request.request_id},
                    {"seconds", std::round(request.seconds * 1e3) / 1e3},
                    {"stream", request.stream},
                    {"prompt_tokens", request.prompt_tokens},
                    {"prompt_tokens_read", request.prompt_tokens_read},
                    {"completion_tokens", request.completion_tokens}});
  }
  return dump({{"object", "list"}, {"data", std::move(data)}});
}

// Declared in api_error.h; here, where the JSON library is.

ApiError device_lost(const std::string& fault) { return {503, "device_lost", fault}; }

std::string json_fault(const weights::CheckpointError& error) {
  static constexpr std::string_view kTag = "[json.exception.", kEnd = "] ";
  std::string text = error.what();
  const std::size_t begin = text.find(kTag), end = text.find(kEnd, begin);
  if (end != std::string::npos) text.erase(begin, end + kEnd.size() - begin);
  return text;
}

const char* error_type(unsigned status) {
  switch (status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 429:
      return "rate_limit_error";
    case 503:
      return "unavailable_error";
    default:
      return status >= 500 ? "server_error" : "invalid_request_error";
  }
}

std::string to_json(const ApiError& error) { return dump(error_json(error)); }

HttpResponse to_response(const ApiError& error) {
  HttpResponse response{
      .status = error.status, .headers = {{"Content-Type", "application/json"}}, .body = to_json(error)};
  if (error.status == 401) response.headers.push_back({"WWW-Authenticate", "Bearer"});
  if (error.status == 429 || error.status == 503) response.headers.push_back({"Retry-After", "1"});
  return response;
}

}  // namespace ttt::server
