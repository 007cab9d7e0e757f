// SPDX-License-Identifier: Apache-2.0
#include "cli/json_output.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <utility>

namespace ttt::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kSchemaVersion = 1;

// Pieces and names from a file may be broken UTF-8; that becomes U+FFFD.
std::string finish(const Json& object) {
  return object.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string finish_line(const Json& object) {
  return object.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

template <typename T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json or_null(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

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

Json token_json(TokenId id, const std::optional<float>& log_prob, const tokenizer::Tokenizer* tokenizer) {
  Json token = {{"id", id}};
  if (tokenizer != nullptr && id < tokenizer->vocab_size()) token["piece"] = tokenizer->piece(id).text;
  token["logprob"] = or_null(log_prob);
  return token;
}

Json log_probs_json(const std::vector<TokenInfo>& tokens, const tokenizer::Tokenizer* tokenizer) {
  Json array = Json::array();
  for (const TokenInfo& info : tokens) {
    Json token = token_json(info.id, info.log_prob, tokenizer);
    token["top"] = Json::array();
    for (const TokenLogProb& top : info.top)
      token["top"].push_back(token_json(top.id, top.log_prob, tokenizer));
    array.push_back(std::move(token));
  }
  return array;
}

// `prompt_text` stands before the text with --echo.
Json choice_json(const Choice& choice, const std::string& prompt_text,
                 const tokenizer::Tokenizer* tokenizer) {
  Json object = {{"text", prompt_text + choice.text},
                 {"tokens", choice.output_ids()},
                 {"finish_reason", finish_reason(choice)},
                 {"stop_string", or_null(choice.finish.stop_string)},
                 {"stop_id", or_null(choice.finish.stop_id)}};
  if (!choice.tokens.empty() && choice.tokens.front().log_prob) {
    object["mean_logprob"] = choice.finish.mean_log_prob;
    object["logprobs"] = log_probs_json(choice.tokens, tokenizer);
  }
  return object;
}

Json choices_json(const RunResult& result, const tokenizer::Tokenizer* tokenizer) {
  Json choices = Json::array();
  for (const Choice& choice : result.generation.choices) {
    choices.push_back(choice_json(choice, result.prompt_text, tokenizer));
  }
  return choices;
}

Json usage_json(const RunResult& result) {
  const std::size_t prompt = std::max(result.generation.prompt_tokens_read, result.tokens_from_state);
  Json usage = {{"prompt_tokens", prompt},
                {"completion_tokens", result.completion_tokens()},
                {"total_tokens", prompt + result.completion_tokens()}};
  if (result.tokens_from_state > 0) {
    usage["prompt_tokens_details"] = {{"cached_tokens", result.tokens_from_state}};
  }
  return usage;
}

// The begin of every record of a batch; cli/batch_files.cpp reads it again.
Json record_json(const BatchKey& key) {
  return {{"schema", kSchemaVersion},
          {"line", key.line},
          {"input_hash", key.input_hash},
          {"id", std::visit([](const auto& id) { return Json(id); }, key.id)}};
}

Json version_json(const VersionInfo& info) {
  Json libraries = Json::object();
  for (const auto& [name, number] : info.libraries) libraries[name] = number;
  return {{"version", info.version},
          {"commit", info.commit},
          {"compiler", info.compiler},
          {"build_type", info.build_type},
          {"sanitizers", info.sanitizers},
          {"dispatch_target", info.dispatch_target},
          {"cpu_targets", info.cpu_targets},
          {"processor", info.processor},
          {"processors", info.processors},
          {"cuda_built", info.cuda_built},
          {"cuda", info.cuda},
          {"libraries", libraries}};
}

Json processor_json(const Machine& machine) {
  Json caches = Json::array();
  for (const auto& [level, type, bytes, shared_by] : machine.caches) {
    caches.push_back({{"level", level}, {"type", type}, {"bytes", bytes}, {"shared_by", shared_by}});
  }
  return {{"name", machine.processor},
          {"online", machine.online},
          {"affinity", or_null(machine.affinity)},
          {"cgroup_quota", or_null(machine.cgroup.processors)},
          {"simd", machine.simd},
          {"caches", caches},
          {"governor", or_null(machine.governor)}};
}

Json memory_json(const Machine& machine) {
  return {{"total_bytes", or_null(machine.memory_total)},
          {"available_bytes", or_null(machine.memory_available)},
          {"cgroup_max_bytes", or_null(machine.cgroup.memory_max)},
          {"cgroup_current_bytes", or_null(machine.cgroup.memory_current)},
          {"swap_total_bytes", or_null(machine.swap_total)},
          {"swap_free_bytes", or_null(machine.swap_free)},
          {"huge_pages", or_null(machine.huge_pages)},
          {"overcommit", or_null(machine.overcommit)},
          {"lockable", or_null(machine.lockable_memory)}};
}

Json model_report_json(const ModelReport& model) {
  Json object = {{"path", model.path},
                 {"file_system", or_null(model.file_system)},
                 {"opened", model.error.empty()},
                 {"error", or_null(model.error)}};
  if (!model.error.empty()) return object;
  object.update({{"format", model.format},
                 {"family", model.family},
                 {"parameters", model.parameters},
                 {"weights_bytes", model.weights_bytes},
                 {"max_state_bytes", model.max_state_bytes},
                 {"needed_bytes", model.needed_bytes()},
                 {"weights_hash", or_null(model.weights_hash)},
                 {"sequences_that_fit", or_null(model.sequences)}});
  return object;
}

Json threads_json(const BenchReport& report) {
  return report.computes_on_processors() ? Json(report.backend.num_threads) : Json(nullptr);
}

Json row_json(const BenchReport& report, const BenchRow& row) {
  const bool decodes = row.kind == BenchRow::Kind::kDecode;
  const auto least = [&](double (BenchReport::*seconds)(const BenchRow&) const) {
    return report.has_limits() ? Json((report.*seconds)(row)) : Json(nullptr);
  };
  Json object = {{"test", decodes ? "decode" : "prefill"},
                 {"tokens", row.tokens},
                 {"depth", row.depth},
                 {"batch", row.batch},
                 {"tokens_per_second", row.rate()},
                 {"tokens_per_second_sd", row.deviation()},
                 {"share_of_limit", or_null(report.share_of_limit(row))},
                 {"processors_taken_by_others", row.others},
                 {"bytes", row.bytes},
                 {"flops", row.flops},
                 {"product_ops", row.product_ops},
                 {"read_bytes_per_second", row.read_rates},
                 {"seconds_to_read", least(&BenchReport::seconds_to_read)},
                 {"seconds_to_compute", least(&BenchReport::seconds_to_compute)},
                 {"seconds", row.seconds}};
  if (decodes) {
    object["step_seconds"] = {{"mean", row.time_per_token()},
                              {"p50", row.percentile_step(0.5)},
                              {"p90", row.percentile_step(0.9)},
                              {"p99", row.percentile_step(0.99)}};
  } else {
    object["first_token_seconds"] = row.mean_seconds();
  }
  return object;
}

Json estimate_json(const MeanEstimate& estimate) {
  return {{"mean", estimate.mean}, {"error", estimate.error}};
}

Json predictions_json(const std::string& file, const PredictionComparison& p) {
  Json divergence = estimate_json(p.divergence);
  divergence["p99"] = p.divergence_p99;
  divergence["max"] = p.divergence_max;
  return {{"file", file},
          {"tokens", p.tokens},
          {"source", {{"loss", p.source_loss}, {"perplexity", p.source_perplexity}}},
          {"output", {{"loss", p.output_loss}, {"perplexity", p.output_perplexity}}},
          {"perplexity_change", estimate_json(p.perplexity_change)},
          {"divergence", divergence},
          {"same_top", estimate_json(p.same_top)},
          {"seconds", p.seconds}};
}

}  // namespace

std::string to_json(const RunResult& result, const tokenizer::Tokenizer* tokenizer) {
  const Generation& generation = result.generation;
  const Choice& first = generation.choices.front();
  const RequestTimes& times = result.times();
  Json object = {{"schema", kSchemaVersion},
                 {"text", result.prompt_text + first.text},
                 {"tokens", first.output_ids()},
                 {"finish_reason", finish_reason(first)},
                 {"choices", choices_json(result, tokenizer)},
                 {"seed", result.seed},
                 {"usage", usage_json(result)},
                 {"timings",
                  {{"load_seconds", result.load_seconds},
                   {"prefill_seconds", times.prefill},
                   {"prefill_tokens_per_second", result.prefill_rate()},
                   {"decode_seconds", times.decode},
                   {"decode_tokens_per_second", result.decode_rate()},
                   {"first_token_seconds", result.load_seconds + times.queued + times.prefill}}}};
  if (!generation.prompt_tokens.empty()) {
    object["prompt_logprobs"] = log_probs_json(generation.prompt_tokens, tokenizer);
  }
  return finish(object);
}

std::string to_json(const BenchReport& report) {
  Json rows = Json::array();
  for (const BenchRow& row : report.rows) rows.push_back(row_json(report, row));
  Json flat = Json::array();
  for (const Flatness& line : flatness(report)) {
    flat.push_back({{"batch", line.batch},
                    {"from_depth", line.from},
                    {"to_depth", line.to},
                    {"rounds", line.rounds},
                    {"change_of_time", line.change.mean},
                    {"low", line.change.low},
                    {"high", line.change.high}});
  }
  const BackendInfo& backend = report.backend;
  const MachineLimits& limits = report.limits;
  const auto limit = [](double value) { return value > 0.0 ? Json(value) : Json(nullptr); };
  return finish({{"schema", kSchemaVersion},
                 {"program", version_json(describe_version())},
                 {"time", report.time},
                 {"model",
                  {{"name", report.model},
                   {"family", report.family},
                   {"parameters", report.parameters},
                   {"precision", report.precision},
                   {"matrix_bytes", report.matrix_bytes},
                   {"state_traffic_bytes", report.state_traffic_bytes},
                   {"token_flops",
                    {{"products", report.token_flops.products},
                     {"inner_loop", report.token_flops.inner_loop},
                     {"head", report.head_flops}}}}},
                 {"device",
                  {{"device", backend.device},
                   {"name", backend.device_name},
                   {"dispatch_target", backend.dispatch_target},
                   {"threads", threads_json(report)},
                   {"processors", report.processors},
                   {"read_bytes_per_second", limit(limits.read_bytes_per_second)},
                   {"flops_per_second", limit(limits.flops_per_second)},
                   {"int8_ops_per_second", limit(limits.int8_ops_per_second)},
                   {"half_flops_per_second", limit(limits.half_flops_per_second)}}},
                 {"memory",
                  {{"weights_bytes", backend.weights_bytes},
                   {"slot_bytes", backend.slot_bytes},
                   {"workspace_bytes", backend.workspace_bytes},
                   {"peak_bytes", report.peak_memory_bytes}}},
                 {"load_seconds", report.load_seconds},
                 {"rows", rows},
                 {"flatness", flat}});
}

std::string to_json_lines(const BenchReport& report) {
  std::string lines;
  for (const BenchRow& row : report.rows) {
    Json line = {{"schema", kSchemaVersion},
                 {"time", report.time},
                 {"model", report.model},
                 {"family", report.family},
                 {"precision", report.precision},
                 {"device", report.backend.device_name},
                 {"dispatch_target", report.backend.dispatch_target},
                 {"threads", threads_json(report)}};
    line.update(row_json(report, row));
    lines += finish_line(line);
  }
  return lines;
}

std::string to_json(const LoadReport& report) {
  const auto rate = [&](std::uint64_t count) { return report.per_second(static_cast<double>(count)); };
  Json object = {{"schema", kSchemaVersion},
                 {"program", version_json(describe_version())},
                 {"date", report.time},
                 {"endpoint_type", "openai"},
                 {"base_url", report.url},
                 {"model_id", report.model},
                 {"num_prompts", report.completed + report.failed()},
                 {"request_rate", report.rate > 0.0 ? Json(report.rate) : Json("inf")},
                 {"burstiness", report.burstiness},
                 {"max_concurrency", report.concurrency > 0 ? Json(report.concurrency) : Json(nullptr)},
                 {"seed", report.seed},
                 {"interrupted", report.interrupted},
                 {"duration", report.seconds},
                 {"completed", report.completed},
                 {"failed", report.failed()},
                 {"errors", report.errors},
                 {"total_input_tokens", report.prompt_tokens},
                 {"total_output_tokens", report.output_tokens},
                 {"request_throughput", rate(report.completed)},
                 {"request_goodput", report.goodput.is_set() ? Json(rate(report.good)) : Json(nullptr)},
                 {"output_throughput", rate(report.output_tokens)},
                 {"total_token_throughput", rate(report.prompt_tokens + report.output_tokens)},
                 {"max_send_lag_ms", report.max_lag * 1000.0}};
  const std::pair<const char*, const LoadStatistics*> all[] = {
      {"ttft", &report.ttft}, {"tpot", &report.tpot}, {"itl", &report.itl}, {"e2el", &report.e2el}};
  for (const auto& [name, values] : all) {
    object[fmt::format("mean_{}_ms", name)] = values->mean;
    object[fmt::format("median_{}_ms", name)] = values->percentile(50.0);
    object[fmt::format("std_{}_ms", name)] = values->deviation;
    for (const double percent : report.percentiles) {
      object[fmt::format("p{}_{}_ms", percent, name)] = values->percentile(percent);
    }
    object[fmt::format("max_{}_ms", name)] = values->max;
  }
  return finish(object);
}

std::string load_request_json(const std::string& model, const PlannedRequest& request,
                              const std::string* text, bool ignore_eos) {
  Json body = {{"model", model},
               {"prompt", text != nullptr ? Json(*text) : Json(request.prompt)},
               {"max_tokens", request.output_tokens},
               {"temperature", 0},
               {"stream", true},
               {"stream_options", {{"include_usage", true}}}};
  if (ignore_eos) body["ignore_eos"] = true;
  return finish_line(body);
}

std::string to_json_line(const BatchKey& key, const RunResult& result,
                         const tokenizer::Tokenizer* tokenizer) {
  Json object = record_json(key);
  object["choices"] = choices_json(result, tokenizer);
  object["usage"] = usage_json(result);
  object["seed"] = result.seed;
  if (!result.generation.prompt_tokens.empty()) {
    object["prompt_logprobs"] = log_probs_json(result.generation.prompt_tokens, tokenizer);
  }
  return finish_line(object);
}

std::string to_json_line(const BatchKey& key, const RequestError& error) {
  Json object = record_json(key);
  object["error"] = {{"parameter", or_null(error.parameter)}, {"message", error.what()}};
  return finish_line(object);
}

std::string to_json(const QuantizeReport& report) {
  Json tensors = Json::array();
  for (const ConvertedTensor& tensor : report.tensors) {
    tensors.push_back({{"name", tensor.name},
                       {"shape", tensor.shape},
                       {"from", weights::dtype_info(tensor.from).name},
                       {"to", weights::dtype_info(tensor.to).name},
                       {"bytes", tensor.bytes},
                       {"relative_error", tensor.relative_error}});
  }
  Json object = {{"schema", kSchemaVersion},
                 {"source", report.source},
                 {"output", report.output},
                 {"file_bytes", report.file_bytes},
                 {"weights_hash", report.weights_hash},
                 {"tensors", tensors}};
  if (report.predictions) object["text"] = predictions_json(report.file, *report.predictions);
  return finish(object);
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

std::string to_json(const Snapshot& snapshot, const std::string& path) {
  return finish({{"schema", kSchemaVersion},
                 {"path", path},
                 {"format", "saved state"},
                 {"tokens", snapshot.tokens},
                 {"tokens_read", snapshot.state->position},
                 {"state_bytes", snapshot.state->bytes.size()},
                 {"dispatch_target", snapshot.dispatch_target},
                 {"weights_hash", snapshot.weights_hash},
                 {"config_hash", snapshot.config_hash}});
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

std::string to_json(const DeviceList& list) {
  Json devices = Json::array();
  devices.push_back({{"device", "cpu"},
                     {"name", list.cpu.name},
                     {"processors", list.cpu.processors},
                     {"dispatch_target", list.cpu.target}});
  for (const auto& [device, fault] : list.gpus) {
    devices.push_back(
        {{"device", "cuda:" + std::to_string(device.index)},
         {"name", device.name},
         {"compute_capability", {device.compute_capability_major, device.compute_capability_minor}},
         {"memory_bytes", device.memory_bytes},
         {"unusable_because", or_null(fault)}});
  }
  return finish({{"schema", kSchemaVersion}, {"devices", devices}, {"cuda", list.cuda}});
}

std::string to_json(const VersionInfo& info) {
  Json object = {{"schema", kSchemaVersion}};
  object.update(version_json(info));
  return finish(object);
}

std::string to_json(const DoctorReport& report) {
  Json gpus = Json::array();
  for (const cuda::CudaDevice& device : report.gpus) {
    gpus.push_back(
        {{"index", device.index},
         {"name", device.name},
         {"compute_capability", {device.compute_capability_major, device.compute_capability_minor}},
         {"memory_bytes", device.memory_bytes}});
  }
  Json environment = Json::object();
  for (const auto& [name, value] : report.environment) environment[name] = value;
  Json models = Json::array();
  for (const ModelReport& model : report.models) models.push_back(model_report_json(model));
  return finish(
      {{"schema", kSchemaVersion},
       {"version", version_json(report.version)},
       {"processor", processor_json(report.machine)},
       {"memory", memory_json(report.machine)},
       {"system",
        {{"kernel", or_null(report.machine.kernel)},
         {"distribution", or_null(report.machine.distribution)},
         {"libc", report.machine.libc},
         {"containers", report.machine.containers},
         {"open_files", or_null(report.machine.open_files)}}},
       {"cuda", {{"description", report.gpu}, {"devices", gpus}}},
       {"environment", environment},
       {"config_file", {{"path", or_null(report.config.path)}, {"error", or_null(report.config.error)}}},
       {"models", models},
       {"problems", report.problems}});
}

std::string to_json(const SelftestReport& report) {
  Json checks = Json::array();
  for (const SelftestCheck& check : report.checks) {
    const Measured& measured = check.measured;
    const bool has_value = !measured.unit.empty();
    checks.push_back({{"subject", check.subject},
                      {"name", check.name},
                      {"status", to_string(check.status)},
                      {"value", has_value ? Json(measured.value) : Json(nullptr)},  // null, too, if NaN
                      {"bound", has_value ? Json(measured.bound) : Json(nullptr)},
                      {"unit", or_null(measured.unit)},
                      {"note", or_null(measured.note)},
                      {"seconds", check.seconds}});
  }
  return finish({{"schema", kSchemaVersion},
                 {"passed", report.passed()},
                 {"counts",
                  {{"pass", report.count(CheckStatus::kPass)},
                   {"fail", report.count(CheckStatus::kFail)},
                   {"skip", report.count(CheckStatus::kSkip)}}},
                 {"model", or_null(report.model)},
                 {"version", version_json(report.version)},
                 {"checks", checks},
                 {"seconds", report.seconds}});
}

}  // namespace ttt::cli
