// SPDX-License-Identifier: Apache-2.0
#include "cli/info.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "cli/exit_code.h"
#include "cli/json_output.h"
#include "cli/progress.h"
#include "cli/readable.h"
#include "cli/signals.h"
#include "cli/standard_streams.h"
#include "cpu/dispatch.h"
#include "cpu/processors.h"
#include "engine/snapshot.h"
#include "engine/state_layout.h"
#include "engine/tensor_pieces.h"
#include "engine/weights_hash.h"

namespace ttt::cli {
namespace {

void add_tensor(ModelInfo& info, const weights::TensorView& view) {
  const std::string type(weights::dtype_info(view.dtype).name);
  auto place = std::ranges::find(info.precision, type, &ModelInfo::Precision::type);
  if (place == info.precision.end()) place = info.precision.insert(place, {type, 0, 0});
  ++place->tensors;
  const std::uint64_t bytes = weights::tensor_bytes(view.dtype, view.shape).value_or(0);
  place->bytes += bytes;
  info.parameters += weights::num_elements(view.shape).value_or(0);
  info.tensors.push_back({view.name, type, view.shape, bytes});
}

// The number of values that are NaN or infinite, and the index of the first.
struct NonFinite {
  std::uint64_t count = 0;
  std::uint64_t first = 0;
};

NonFinite find_non_finite(const Model& model, const weights::TensorView& view) {
  NonFinite found;
  std::vector<std::byte> fetched;
  std::uint64_t done = 0;
  std::vector<float> values;
  for_each_piece_as(with_bytes(model, view, fetched), weights::DType::kF32,
                    [&](std::span<const std::byte> source, std::span<const std::byte> bytes) {
                      values.resize(bytes.size() / sizeof(float));
                      std::memcpy(values.data(), bytes.data(), bytes.size());
                      for (std::size_t i = 0; i < values.size(); ++i) {
                        if (std::isfinite(values[i])) continue;
                        if (found.count++ == 0) found.first = done + i;
                      }
                      done += values.size();
                      if (model.release) model.release(source);
                      check_interrupted();
                      return true;
                    });
  return found;
}

void check_special_token(std::string_view name, std::optional<TokenId> config_id,
                         std::optional<TokenId> tokenizer_id, std::vector<std::string>& problems) {
  if (!config_id || !tokenizer_id || *config_id == *tokenizer_id) return;
  problems.push_back(fmt::format("the configuration's {} token is {}, the tokenizer's is {}", name,
                                 *config_id, *tokenizer_id));
}

std::string on_off(bool on) { return on ? "yes" : "no"; }

std::string family(const ModelInfo& info) { return info.config.is_mlp() ? "TTT-MLP" : "TTT-Linear"; }

std::string backbone(const ModelConfig& config) {
  const bool mamba = config.pre_conv && config.share_qk && config.use_gate;
  const bool transformer = !config.pre_conv && !config.share_qk && !config.use_gate;
  return fmt::format("{} (pre-convolution {}, shared q/k {}, gate {})",
                     mamba         ? "Mamba"
                     : transformer ? "Transformer"
                                   : "mixed",
                     on_off(config.pre_conv), on_off(config.share_qk), on_off(config.use_gate));
}

std::string token_text(std::optional<TokenId> id) { return id ? fmt::format("{}", *id) : "none"; }

std::string tokenizer_text(const ModelInfo& info) {
  if (!info.tokenizer) return "none: token ids only";
  const ModelInfo::Tokenizer& t = *info.tokenizer;
  return fmt::format("SentencePiece {}, {} pieces, bos {}{}, eos {}", t.type, t.pieces, token_text(t.bos),
                     t.adds_bos ? " (added to prompts)" : "", token_text(t.eos));
}

std::string precision_text(const ModelInfo& info) {
  std::string text;
  for (const auto& [type, tensors, bytes] : info.precision) {
    text += fmt::format("{}{} in {} tensors ({})", text.empty() ? "" : ", ", type, tensors,
                        readable_bytes(bytes));
  }
  return text;
}

std::string as_text(const ModelInfo& info, const InfoOptions& options) {
  const ModelConfig& config = info.config;
  std::string text = info.path + "\n";
  const auto line = [&](std::string_view key, const std::string& value) {
    text += fmt::format("  {:<16}{}\n", key, value);
  };
  if (!config.name.empty()) line("name", escaped(config.name));
  line("family", family(info));
  line("parameters", readable_count(info.parameters));
  line("backbone", backbone(config));
  line("shape", fmt::format("{} layers of width {}, {} heads of {}, feed-forward {}",
                            config.num_hidden_layers, config.hidden_size, config.num_attention_heads,
                            config.head_size(), config.intermediate_size));
  line("vocabulary", fmt::format("{}, output head {}", config.vocab_size,
                                 config.tie_word_embeddings ? "tied to the embedding" : "of its own"));
  line("inner loop",
       fmt::format("mini-batch of {} tokens, base rate {}", config.mini_batch_size, config.ttt_base_lr));
  line("precision", precision_text(info));
  line("tokenizer", tokenizer_text(info));
  line("state", fmt::format("{} per sequence when fresh, {} at most, however long the context",
                            readable_bytes(info.fresh_state_bytes), readable_bytes(info.max_state_bytes)));
  line("trained on", fmt::format("{} tokens of context (no limit here)", config.context_length));
  line("file", fmt::format("{}, {}", info.format, readable_bytes(info.file_bytes)));
  line("weights hash", info.stored_hash.empty() ? "not stored (--check computes it)" : info.stored_hash);
  for (const std::string& warning : info.warnings) line("warning", warning);
  if (info.check) {
    line("computed hash", info.check->weights_hash);
    for (const std::string& problem : info.check->problems) line("problem", problem);
    line("check", info.check->problems.empty() ? "sound" : "NOT SOUND");
  }
  if (options.tensors) {
    for (const auto& [name, type, shape, bytes] : info.tensors) {
      text += fmt::format("  {:<36}{:<6}{:<20}{}\n", name, type, weights::to_string(shape),
                          readable_bytes(bytes));
    }
  }
  return text;
}

std::string as_text(const Snapshot& snapshot, const std::string& path) {
  return fmt::format(
      "{}\n"
      "  saved state     {}, sound\n"
      "  sequence        {} tokens, of which {} are read\n"
      "  computed by     {}\n"
      "  weights hash    {}\n"
      "  config hash     {}\n",
      path, readable_bytes(snapshot.state->bytes.size()), snapshot.tokens.size(), snapshot.state->position,
      snapshot.dispatch_target, snapshot.weights_hash, snapshot.config_hash);
}

std::string as_text(const DeviceList& list) {
  std::string text = fmt::format("cpu     {}, {} processors, kernels for {}\n", list.cpu.name,
                                 list.cpu.processors, list.cpu.target);
  for (const auto& [device, fault] : list.gpus) {
    text +=
        fmt::format("cuda:{}  {}, compute {}.{}, {}{}{}\n", device.index, device.name,
                    device.compute_capability_major, device.compute_capability_minor,
                    readable_memory(device.memory_bytes), fault.empty() ? "" : "; cannot be used: ", fault);
  }
  return text + fmt::format("CUDA    {}\n", list.cuda);
}

// What does not depend on the format.
ModelInfo describe(const Model& model, const std::optional<tokenizer::Tokenizer>& tokenizer) {
  ModelInfo info;
  info.config = model.config;
  for (const NamedTensor& tensor : list_tensors(model)) add_tensor(info, tensor.view);
  if (tokenizer) {
    info.tokenizer = {.type = std::string(tokenizer->model_type()),
                      .pieces = tokenizer->vocab_size(),
                      .bos = model.config.bos_token_id ? model.config.bos_token_id : tokenizer->bos_id(),
                      .eos = model.config.eos_token_id ? model.config.eos_token_id : tokenizer->eos_id()};
    info.tokenizer->adds_bos = info.tokenizer->bos.has_value();
  }
  info.fresh_state_bytes = state_bytes(info.config, 0);
  info.max_state_bytes = max_state_bytes(info.config);
  info.warnings = model.warnings;
  return info;
}

}  // namespace

ModelInfo describe_model(const ModelFiles& files) {
  ModelInfo info = describe(files.model, files.tokenizer);
  info.path = files.checkpoint.path();
  info.format =
      files.checkpoint.format() == weights::CheckpointFormat::kGguf ? "GGUF" : "Hugging Face folder";
  if (info.tokenizer) info.tokenizer->adds_bos = info.tokenizer->adds_bos && files.text.adds_bos;
  info.file_bytes = files.checkpoint.file_bytes();
  info.stored_hash = files.model.stated_hash;
  return info;
}

ModelInfo describe_import(const ImportFiles& files) {
  ModelInfo info = describe(files.model, files.tokenizer);
  info.path = files.source.archive->path();
  info.format = files.source.format;
  info.file_bytes = files.source.file_bytes;
  return info;
}

std::string recognised(const ModelInfo& info) {
  const std::string_view size = official_size_of(info.config);
  return fmt::format("{} of {}: {}{}{}, {} parameters, backbone {}, {}", info.format,
                     readable_bytes(info.file_bytes), family(info), size.empty() ? "" : " ",
                     size.substr(0, size.find('-')), readable_count(info.parameters), backbone(info.config),
                     precision_text(info));
}

ModelInfo::Check check_model(const ModelFiles& files, const ModelInfo& info) {
  return check_model(files.model, files.tokenizer ? &*files.tokenizer : nullptr, info);
}

ModelInfo::Check check_model(const Model& model, const tokenizer::Tokenizer* tokenizer,
                             const ModelInfo& info) {
  ModelInfo::Check check;
  Progress progress("checking", Progress::Unit::kBytes);
  std::uint64_t total = 0;  // every byte is read twice
  for (const ModelInfo::Tensor& tensor : info.tensors) total += 2 * tensor.bytes;
  check.weights_hash = weights_hash(model, [&](std::uint64_t hashed) {
    check_interrupted();
    progress.update(hashed, total);
  });
  if (!info.stored_hash.empty() && info.stored_hash != check.weights_hash) {
    check.problems.push_back(
        "the weights are not those the file was written with (its hash differs); download or "
        "convert it again");
  }
  std::uint64_t done = total / 2;
  for (const NamedTensor& tensor : list_tensors(model)) {
    const NonFinite found = find_non_finite(model, tensor.view);
    done += weights::tensor_bytes(tensor.view.dtype, tensor.view.shape).value_or(0);
    progress.update(done, total);
    if (found.count == 0) continue;
    check.problems.push_back(fmt::format("{}: {} values are NaN or infinite, the first is number {}",
                                         tensor.view.name, found.count, found.first));
  }
  if (tokenizer != nullptr) {
    check_special_token("bos", info.config.bos_token_id, tokenizer->bos_id(), check.problems);
    check_special_token("eos", info.config.eos_token_id, tokenizer->eos_id(), check.problems);
  }
  return check;
}

DeviceList list_devices() {
  DeviceList list;
  list.cpu = {.name = cpu::processor_name(),
              .processors = cpu::available_processors(),
              .target = cpu::dispatch_target()};
  list.cuda = cuda::cuda_description();
  for (const cuda::CudaDevice& device : cuda::cuda_devices()) {
    list.gpus.push_back({device, cuda::why_not_started(device.index)});
  }
  return list;
}

int info(const InfoOptions& options) {
  if (options.devices) {
    const DeviceList list = list_devices();
    write_stdout(options.json ? to_json(list) : as_text(list));
    return kOk;
  }
  require_model(options.model);
  if (is_snapshot(options.model)) {
    const Snapshot snapshot = read_snapshot(options.model);
    write_stdout(options.json ? to_json(snapshot, options.model) : as_text(snapshot, options.model));
    return kOk;
  }
  ModelInfo described;
  if (auto source = weights::open_import_source(options.model)) {
    const ImportFiles files(std::move(*source), {}, "");
    described = describe_import(files);
    if (options.check) {
      described.check = check_model(files.model, files.tokenizer ? &*files.tokenizer : nullptr, described);
    }
  } else {
    const ModelFiles files(options.model);
    described = describe_model(files);
    if (options.check) described.check = check_model(files, described);
  }
  write_stdout(options.json ? to_json(described, options.tensors) : as_text(described, options));
  return described.check && !described.check->problems.empty() ? kInvalidModel : kOk;
}

}  // namespace ttt::cli
