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
    for (const auto& [text, log_prob] : token.top) top[text] = number(log_prob);
    tops.push_back(std::move(top));
  }
  return {{"tokens", std::move(texts)},
          {"token_logprobs", std::move(values)},
          {"top_logprobs", std::move(tops)},
          {"text_offset", std::move(offsets)}};
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

Json stop_reason(const std::optional<Finish>& finish) {
  if (finish && finish->stop_string) return *finish->stop_string;
  if (finish && finish->stop_id) return *finish->stop_id;
  return nullptr;
}

Json choice_json(const AnsweredChoice& choice) {
  return {{"index", choice.index},
          {"text", choice.text},
          {"logprobs", log_probs_json(choice.log_probs)},
          {"finish_reason", finish_reason(choice.finish)},
          {"stop_reason", stop_reason(choice.finish)}};
}

Json usage_json(const Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
          {"prompt_tokens_details", {{"cached_tokens", 0}}}};
}

Json head_json(const AnswerHead& head) {
  return {{"id", head.id},
          {"object", "text_completion"},
          {"created", head.created},
          {"model", head.model},
          {"system_fingerprint", head.fingerprint}};
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

std::string completion_json(const AnswerHead& head, const std::vector<AnsweredChoice>& choices,
                            const Usage& usage, const AnswerTimings& timings) {
  Json object = head_json(head);
  object["choices"] = Json::array();
  for (const AnsweredChoice& choice : choices) object["choices"].push_back(choice_json(choice));
  object["usage"] = usage_json(usage);
  object["timings"] = {{"prompt_n", usage.prompt_tokens},
                       {"prompt_ms", milliseconds(timings.prompt_seconds)},
                       {"predicted_n", usage.completion_tokens},
                       {"predicted_ms", milliseconds(timings.decode_seconds)},
                       {"seed", timings.seed},
                       {"beyond_trained_len", timings.beyond_trained_length}};
  return dump(object);
}

std::string chunk_json(const AnswerHead& head, const AnsweredChoice* choice, bool has_usage,
                       const std::optional<Usage>& usage) {
  Json object = head_json(head);
  object["choices"] = Json::array();
  if (choice != nullptr) object["choices"].push_back(choice_json(*choice));
  if (has_usage) object["usage"] = usage ? usage_json(*usage) : Json(nullptr);
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
