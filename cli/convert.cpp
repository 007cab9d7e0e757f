// SPDX-License-Identifier: Apache-2.0
#include "cli/convert.h"

#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <system_error>

#include "cli/exit_code.h"
#include "cli/open_model.h"
#include "cli/progress.h"
#include "cli/readable.h"
#include "cli/signals.h"
#include "cli/standard_streams.h"
#include "engine/convert.h"

namespace ttt::cli {
namespace {

namespace fs = std::filesystem;

// Room for metadata, token lists and padding beside the tensors.
constexpr std::uint64_t kHeaderAllowance = 1U << 20;

std::uint64_t expected_bytes(const Model& model, const tokenizer::Tokenizer* tokenizer,
                             weights::DType matrix_type) {
  std::uint64_t bytes = kHeaderAllowance;
  for (const NamedTensor& tensor : list_tensors(model)) {
    const weights::DType type = tensor.is_matrix ? matrix_type : weights::DType::kF32;
    bytes += weights::tensor_bytes(type, tensor.view.shape).value_or(0);
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

}  // namespace

int convert(const ConvertCommandOptions& options) {
  require_model(options.source);
  if (options.output.empty()) throw UsageError("name the file to write: ttt convert SRC OUT.gguf");
  check_output(options.output, options.force);
  const weights::DType type = *weights::dtype_from_name(options.type);
  const ModelFiles files(options.source);
  for (const std::string& warning : files.model.warnings) print_warning(warning);
  if (!files.tokenizer) {
    print_warning(fmt::format("{} has no tokenizer.model: the new file will take and give token ids only",
                              options.source));
  }
  write_gguf(files.model, files.checkpoint.metadata(), files.tokenizer ? &*files.tokenizer : nullptr,
             options.output, type);
  return kOk;
}

void write_gguf(const Model& model, const weights::GgufMetadata& source,
                const tokenizer::Tokenizer* tokenizer, const std::string& output, weights::DType type) {
  check_free_space(output, expected_bytes(model, tokenizer, type));
  const auto begin = std::chrono::steady_clock::now();
  Progress progress("converting", Progress::Unit::kBytes);
  ConvertOptions options;
  options.matrix_type = type;
  options.progress = [&](std::uint64_t written, std::uint64_t total) {
    progress.update(written, total);
    return !interrupted();
  };
  const ConvertResult result = ttt::convert(model, source, tokenizer, output, options);
  progress.clear();
  if (!result.completed) throw Interrupted();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  print_notice(fmt::format("{}: {} in {}, weights hash {}", output, readable_bytes(result.file_bytes),
                           readable_seconds(seconds), result.weights_hash));
}

}  // namespace ttt::cli
