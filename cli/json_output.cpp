// SPDX-License-Identifier: Apache-2.0
#include "cli/json_output.h"

#include <nlohmann/json.hpp>

namespace ttt::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kSchemaVersion = 1;

// Pieces and names from a file may be broken UTF-8; that becomes U+FFFD.
std::string finish(const Json& object) {
  return object.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

template <typename T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json config_json(const ModelConfig& config) {
  return {{"vocab_size", config.vocab_size},
          {"hidden_size", config.hidden_size},
          {"intermediate_size", config.intermediate_size},
          {"num_hidden_layers", config.num_hidden_layers},
          {"num_attention_heads", config.num_attention_heads},
          {"ttt_layer_type", to_string(config.ttt_layer_type)},
          {"mini_batch_size", config.mini_batch_size},
          {"ttt_base_lr", config.ttt_base_lr},
          {"rms_norm_eps", config.rms_norm_eps},
          {"rope_theta", config.rope_theta},
          {"pre_conv", config.pre_conv},
          {"share_qk", config.share_qk},
          {"use_gate", config.use_gate},
          {"conv_kernel", config.conv_kernel},
          {"tie_word_embeddings", config.tie_word_embeddings},
          {"context_length", config.context_length}};
}

Json tokenizer_json(const std::optional<ModelInfo::Tokenizer>& tokenizer) {
  if (!tokenizer) return nullptr;
  return {{"type", tokenizer->type},
          {"pieces", tokenizer->pieces},
          {"bos_id", or_null(tokenizer->bos)},
          {"eos_id", or_null(tokenizer->eos)},
          {"adds_bos", tokenizer->adds_bos}};
}

}  // namespace

std::string to_json(const RunResult& result) {
  const double first_token = result.load_seconds + result.prefill_seconds;
  return finish({{"schema", kSchemaVersion},
                 {"text", result.text},
                 {"tokens", result.tokens},
                 {"finish_reason", finish_reason(result)},
                 {"seed", result.seed},
                 {"usage",
                  {{"prompt_tokens", result.prompt_tokens},
                   {"completion_tokens", result.tokens.size()},
                   {"total_tokens", result.prompt_tokens + result.tokens.size()}}},
                 {"timings",
                  {{"load_seconds", result.load_seconds},
                   {"prefill_seconds", result.prefill_seconds},
                   {"prefill_tokens_per_second", result.prefill_rate()},
                   {"decode_seconds", result.decode_seconds},
                   {"decode_tokens_per_second", result.decode_rate()},
                   {"first_token_seconds", first_token}}}});
}

std::string to_json(const TokenizeResult& result) {
  return finish({{"schema", kSchemaVersion},
                 {"count", result.ids.size()},
                 {"tokens", result.ids},
                 {"pieces", result.pieces}});
}

std::string to_json(const PplResult& result) {
  Json buckets = Json::array();
  for (const auto& [first, end, loss] : result.by_position) {
    buckets.push_back({{"first", first}, {"end", end}, {"loss", loss}});
  }
  return finish({{"schema", kSchemaVersion},
                 {"tokens", result.tokens},
                 {"loss", result.loss},
                 {"perplexity", result.perplexity},
                 {"bits_per_byte", result.bits_per_byte},
                 {"by_position", buckets},
                 {"seconds", result.seconds}});
}

std::string to_json(const ModelInfo& info, bool with_tensors) {
  Json precision = Json::array();
  for (const auto& [type, tensors, bytes] : info.precision) {
    precision.push_back({{"type", type}, {"tensors", tensors}, {"bytes", bytes}});
  }
  Json object = {{"schema", kSchemaVersion},
                 {"path", info.path},
                 {"format", info.format},
                 {"name", info.config.name},
                 {"parameters", info.parameters},
                 {"config", config_json(info.config)},
                 {"precision", precision},
                 {"tokenizer", tokenizer_json(info.tokenizer)},
                 {"state_bytes", {{"fresh", info.fresh_state_bytes}, {"max", info.max_state_bytes}}},
                 {"file_bytes", info.file_bytes},
                 {"weights_hash", info.stored_hash.empty() ? Json(nullptr) : Json(info.stored_hash)},
                 {"warnings", info.warnings}};
  if (info.check) {
    object["check"] = {{"sound", info.check->problems.empty()},
                       {"weights_hash", info.check->weights_hash},
                       {"problems", info.check->problems}};
  }
  if (with_tensors) {
    object["tensors"] = Json::array();
    for (const auto& [name, type, shape, bytes] : info.tensors) {
      object["tensors"].push_back({{"name", name}, {"type", type}, {"shape", shape}, {"bytes", bytes}});
    }
  }
  return finish(object);
}

std::string to_json(const VersionInfo& info) {
  Json libraries = Json::object();
  for (const auto& [name, number] : info.libraries) libraries[name] = number;
  return finish({{"schema", kSchemaVersion},
                 {"version", info.version},
                 {"commit", info.commit},
                 {"compiler", info.compiler},
                 {"build_type", info.build_type},
                 {"sanitizers", info.sanitizers},
                 {"dispatch_target", info.dispatch_target},
                 {"processor", info.processor},
                 {"processors", info.processors},
                 {"cuda_built", info.cuda_built},
                 {"cuda", info.cuda},
                 {"libraries", libraries}});
}

}  // namespace ttt::cli
