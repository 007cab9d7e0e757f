// SPDX-License-Identifier: Apache-2.0
#include "cli/convert.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <system_error>
#include <utility>

#include "cli/exit_code.h"
#include "cli/import_files.h"
#include "cli/info.h"
#include "cli/open_model.h"
#include "cli/progress.h"
#include "cli/readable.h"
#include "cli/signals.h"
#include "cli/standard_streams.h"
#include "engine/convert.h"
#include "engine/import.h"
#include "engine/random_weights.h"
#include "weights/block_types.h"
#include "weights/import_source.h"

namespace ttt::cli {
namespace {

namespace fs = std::filesystem;

// Room for metadata, token lists and padding beside the tensors.
constexpr std::uint64_t kHeaderAllowance = 1U << 20;

std::uint64_t expected_bytes(const Model& model, const tokenizer::Tokenizer* tokenizer,
                             const TensorTypes& types) {
  std::uint64_t bytes = kHeaderAllowance;
  for (const NamedTensor& tensor : list_tensors(model)) {
    bytes += weights::tensor_bytes(stored_type(types, tensor), tensor.view.shape).value_or(0);
  }
  // The SentencePiece model, and its pieces once more as lists.
  if (tokenizer != nullptr) bytes += 3 * tokenizer->model_bytes().size();
  return bytes;
}

void check_free_space(const std::string& output, std::uint64_t wanted) {
  const fs::path folder = fs::absolute(output).parent_path();
  std::error_code error;
  const fs::space_info space = fs::space(folder, error);
  if (error || space.available >= wanted) return;  // a file system that does not say: the write will
  throw std::runtime_error(fmt::format("{}: needs about {}, and {} has {} free; nothing was written", output,
                                       readable_bytes(wanted), folder.string(),
                                       readable_bytes(space.available)));
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
        fmt::format("{} has no tokenizer.model: the new file will take and give token ids only; --tokenizer "
                    "FILE adds one",
                    options.source));
  }
  if (options.dry_run) {
    print_notice(fmt::format("nothing written; the file would take about {}",
                             readable_bytes(expected_bytes(model, tokenizer, types))));
    return;
  }
  const bool is_widened = type == weights::DType::kF32 && model.token_embd.dtype == weights::DType::kBF16;
  write_gguf(model, metadata, tokenizer, options.output, types);
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

}  // namespace

int convert(const ConvertCommandOptions& options) {
  require_model(options.source);
  if (!options.dry_run) {
    if (options.output.empty()) throw UsageError("name the file to write: ttt convert SRC OUT.gguf");
    check_output(options.output, options.force);
  }
  const ImportOptions importing = import_options(options);
  if (auto source = weights::open_import_source(options.source)) {
    const ImportFiles files(std::move(*source), importing, options.tokenizer.value_or(""));
    const ModelInfo info = describe_import(files);
    print_notice(recognised(info));
    convert_model(files.model, info, {}, files.tokenizer ? &*files.tokenizer : nullptr, options);
    return kOk;
  }
  const ModelFiles files(options.source);
  if (!importing.size.empty() || importing.base_lr) {
    throw UsageError(fmt::format(
        "--preset and --base-lr are for JAX and PyTorch files; {} says these things itself", options.source));
  }
  const ModelInfo info = describe_model(files);
  if (options.dry_run) print_notice(recognised(info));
  std::optional<tokenizer::Tokenizer> given;
  if (options.tokenizer) given = read_tokenizer(*options.tokenizer, files.model.config.vocab_size);
  const std::optional<tokenizer::Tokenizer>& tokenizer = given ? given : files.tokenizer;
  convert_model(files.model, info, files.checkpoint.metadata(), tokenizer ? &*tokenizer : nullptr, options);
  return kOk;
}

void refuse_quantised(const Model& model) {
  if (!is_quantised(model)) return;
  throw UsageError(
      fmt::format("{} is quantised already: start from the original, whose weights were rounded less, or use "
                  "`ttt quantize --requantize`",
                  model.source));
}

ConvertResult write_gguf(const Model& model, const weights::GgufMetadata& source,
                         const tokenizer::Tokenizer* tokenizer, const std::string& output,
                         const TensorTypes& types) {
  check_free_space(output, expected_bytes(model, tokenizer, types));
  const auto begin = std::chrono::steady_clock::now();
  Progress progress("converting", Progress::Unit::kBytes);
  ConvertOptions options;
  options.matrix_type = types.matrices;
  options.kept = types.kept;
  options.progress = [&](std::uint64_t written, std::uint64_t total) {
    progress.update(written, total);
    return !interrupted();
  };
  ConvertResult result = ttt::convert(model, source, tokenizer, output, options);
  progress.clear();
  if (!result.completed) throw Interrupted();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  print_notice(fmt::format("{}: {} in {}, weights hash {}", output, readable_bytes(result.file_bytes),
                           readable_seconds(seconds), result.weights_hash));
  return result;
}

}  // namespace ttt::cli
