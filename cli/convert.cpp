// SPDX-License-Identifier: Apache-2.0
#include "cli/convert.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <system_error>
#include <utility>

#include "cli/exit_code.h"
#include "cli/free_space.h"
#include "cli/import_files.h"
#include "cli/info.h"
#include "cli/open_model.h"
#include "cli/progress.h"
#include "cli/readable.h"
#include "cli/signals.h"
#include "cli/standard_streams.h"
#include "engine/attention_import.h"
#include "engine/convert.h"
#include "engine/import.h"
#include "engine/random_weights.h"
#include "engine/text_settings.h"
#include "engine/tokenizer_metadata.h"
#include "weights/block_types.h"
#include "weights/import_source.h"

namespace ttt::cli {
namespace {

namespace fs = std::filesystem;

// Also where `input` is a folder, of whose files those named .gguf are none that is read.
bool would_replace(const fs::path& output, const fs::path& input) {
  std::error_code error;
  if (!fs::is_regular_file(output, error)) return false;
  if (fs::equivalent(output, input, error)) return true;
  if (!fs::is_directory(input, error) || output.extension() == ".gguf") return false;
  for (fs::directory_iterator entry(input, error), end; !error && entry != end; entry.increment(error)) {
    std::error_code gone;
    if (fs::equivalent(output, *entry, gone)) return true;
  }
  return false;
}

// Room for metadata, token lists and padding beside the tensors.
constexpr std::uint64_t kHeaderAllowance = 1U << 20;

std::uint64_t expected_bytes(const std::vector<NamedTensor>& tensors, const tokenizer::Tokenizer* tokenizer,
                             const TensorTypes& types) {
  std::uint64_t bytes = kHeaderAllowance;
  for (const NamedTensor& tensor : tensors) {
    bytes += weights::tensor_bytes(stored_type(types, tensor), tensor.view.shape).value_or(0);
  }
  // The SentencePiece model, and its pieces once more as lists.
  if (tokenizer != nullptr) bytes += 3 * tokenizer->model_bytes().size();
  return bytes;
}

// Shows progress, gives up on a signal, says what was written. `write` converts with the options it is given.
ConvertResult write_with_progress(const std::string& output, const TensorTypes& types,
                                  const std::function<void(const std::string& path)>& check,
                                  const std::function<ConvertResult(const ConvertOptions&)>& write) {
  const auto begin = std::chrono::steady_clock::now();
  Progress progress("converting", Progress::Unit::kBytes);
  ConvertOptions options;
  options.matrix_type = types.matrices;
  options.kept = types.kept;
  options.progress = [&](std::uint64_t written, std::uint64_t total) {
    progress.update(written, total);
    return !interrupted();
  };
  double seconds = 0.0;  // of the conversion alone
  const auto stop = [&] {
    progress.clear();
    seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  if (check) {
    options.check = [&](const std::string& path) {
      stop();
      check(path);
    };
  }
  ConvertResult result = write(options);
  if (!check) stop();
  if (!result.completed) throw Interrupted();
  print_notice(fmt::format("{}: {} in {}, weights hash {}", output, readable_bytes(result.file_bytes),
                           readable_seconds(seconds), result.weights_hash));
  return result;
}

// Says what was found, then writes it unless this is a dry run.
void convert_model(const Model& model, const ModelInfo& info, const weights::GgufMetadata& metadata,
                   const tokenizer::Tokenizer* tokenizer, const ConvertCommandOptions& options) {
  const weights::DType type = *weights::dtype_from_name(options.type);
  const TensorTypes types{.matrices = type};
  if (weights::is_block_type(type)) refuse_quantised(model);
  for (const std::string& warning : model.warnings) print_warning(warning);
  if (tokenizer == nullptr) {
    print_warning(
        fmt::format("{} has no tokenizer: the new file will take and give token ids only; --tokenizer "
                    "FILE adds one",
                    options.source));
  }
  if (options.dry_run) {
    print_notice(fmt::format("nothing written; the file would take about {}",
                             readable_bytes(expected_bytes(list_tensors(model), tokenizer, types))));
    return;
  }
  const bool is_widened = type == weights::DType::kF32 && model.token_embd.dtype == weights::DType::kBF16;
  std::function<void(const std::string&)> check;
  if (options.verify || !options.verification.reference.empty()) {
    check_reference(options.verification, model.config.vocab_size);
    check = [&](const std::string& path) {
      verify_file(path, options.output, {.model = model, .tokenizer = tokenizer, .types = types},
                  options.verification);
    };
  }
  write_gguf(model, metadata, tokenizer, options.output, types, check);
  if (is_widened) {
    print_notice(fmt::format("the matrices of {} are BF16: --type bf16 keeps their values at half the size",
                             info.path));
  }
}

ImportOptions import_options(const ConvertCommandOptions& options) {
  ImportOptions result;
  if (options.preset) {
    if (std::ranges::find(official_sizes(), *options.preset) == official_sizes().end()) {
      throw UsageError(fmt::format("--preset: wanted one of {}, found '{}'",
                                   fmt::join(official_sizes(), ", "), *options.preset));
    }
    result.size = *options.preset;
  }
  if (options.base_lr > 0.0) result.base_lr = static_cast<float>(options.base_lr);
  return result;
}

// The self-attention baseline, which this program converts and does not run.
int convert_baseline(const weights::ImportSource& source, const ConvertCommandOptions& options) {
  if (options.preset || options.base_lr > 0.0 || options.verify || !options.verification.reference.empty()) {
    throw UsageError(
        fmt::format("{} is a Transformer with self-attention, which this program does not run: --preset, "
                    "--base-lr, --verify "
                    "and --reference are for TTT models",
                    options.source));
  }
  const AttentionModel model = import_attention(
      *source.archive, {.config_json = source.config_json, .config_path = source.config_path});
  const auto tokenizer = tokenizer_of(source, options.tokenizer.value_or(""), model.config.vocab_size);
  print_notice(
      fmt::format("{} of {}: a Transformer with self-attention, {} layers of width {}, {} heads; the "
                  "new file is for llama.cpp, this program does not run it",
                  source.format, readable_bytes(source.file_bytes), model.config.num_hidden_layers,
                  model.config.hidden_size, model.config.num_attention_heads));
  for (const std::string& warning : model.warnings) print_warning(warning);
  if (tokenizer) {
    for (const std::string& warning : tokenizer_warnings(*tokenizer, model.config.vocab_size)) {
      print_warning(warning);
    }
  }
  const TensorTypes types{.matrices = *weights::dtype_from_name(options.type)};
  const std::uint64_t bytes = expected_bytes(model.tensors, tokenizer ? &*tokenizer : nullptr, types);
  if (options.dry_run) {
    print_notice(fmt::format("nothing written; the file would take about {}", readable_bytes(bytes)));
    return kOk;
  }
  check_free_space(options.output, bytes);
  write_with_progress(options.output, types, {}, [&](const ConvertOptions& converting) {
    return convert_attention(model, tokenizer ? &*tokenizer : nullptr, options.output, converting);
  });
  return kOk;
}

}  // namespace

int convert(const ConvertCommandOptions& options) {
  require_model(options.source);
  if (options.dry_run && (options.verify || !options.verification.reference.empty())) {
    throw UsageError("--dry-run writes no file that --verify could read; leave one of them out");
  }
  if (!options.dry_run) {
    if (options.output.empty()) throw UsageError("name the file to write: ttt convert SRC OUT.gguf");
    refuse_input_as_output(options.output,
                           {options.source, options.tokenizer.value_or(""), options.verification.reference});
    check_output(options.output, options.force);
  }
  const ImportOptions importing = import_options(options);
  if (auto source = weights::open_import_source(options.source)) {
    if (is_attention_baseline(*source->archive)) return convert_baseline(*source, options);
    const ImportFiles files(std::move(*source), importing, options.tokenizer.value_or(""));
    const ModelInfo info = describe_import(files);
    print_notice(recognised(info));
    weights::GgufMetadata metadata;
    append_text_settings(files.text, metadata);
    convert_model(files.model, info, metadata, files.tokenizer ? &*files.tokenizer : nullptr, options);
    return kOk;
  }
  const ModelFiles files(options.source, weights::FileAccess::kMap, options.tokenizer.value_or(""));
  if (!importing.size.empty() || importing.base_lr) {
    throw UsageError(fmt::format(
        "--preset and --base-lr are for JAX and PyTorch files; {} says these things itself", options.source));
  }
  const ModelInfo info = describe_model(files);
  if (options.dry_run) print_notice(recognised(info));
  weights::GgufMetadata metadata = files.checkpoint.metadata();
  append_text_settings(files.text, metadata);
  convert_model(files.model, info, metadata, files.tokenizer ? &*files.tokenizer : nullptr, options);
  return kOk;
}

void refuse_quantised(const Model& model) {
  if (!is_quantised(model)) return;
  throw UsageError(
      fmt::format("{} is quantised already: start from the original, whose weights were rounded less, or use "
                  "`ttt quantize --requantize`",
                  model.source));
}

void refuse_input_as_output(const std::string& output, const std::vector<std::string>& inputs) {
  const auto is_read = [&](const std::string& input) { return would_replace(output, input); };
  if (std::ranges::none_of(inputs, is_read)) return;
  throw UsageError(
      fmt::format("{} is an input, and the output would replace it; name another output", output));
}

ConvertResult write_gguf(const Model& model, const weights::GgufMetadata& source,
                         const tokenizer::Tokenizer* tokenizer, const std::string& output,
                         const TensorTypes& types,
                         const std::function<void(const std::string& path)>& check) {
  check_free_space(output, expected_bytes(list_tensors(model), tokenizer, types));
  return write_with_progress(output, types, check, [&](const ConvertOptions& options) {
    return ttt::convert(model, source, tokenizer, output, options);
  });
}

}  // namespace ttt::cli
