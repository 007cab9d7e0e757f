// SPDX-License-Identifier: Apache-2.0
#include "cli/export.h"

#include <fmt/format.h>

#include <filesystem>
#include <system_error>

#include "cli/exit_code.h"
#include "cli/free_space.h"
#include "cli/open_model.h"
#include "cli/progress.h"
#include "cli/readable.h"
#include "cli/signals.h"
#include "cli/standard_streams.h"
#include "engine/export.h"
#include "engine/tensor_types.h"
#include "engine/weights_hash.h"
#include "weights/atomic_folder.h"

namespace ttt::cli {
namespace {

namespace fs = std::filesystem;

// Room for headers and config.json beside the tensors.
constexpr std::uint64_t kExportAllowance = 1U << 20;

void check_target(const std::string& path) {
  std::error_code error;
  if (!fs::exists(path, error)) return;
  if (!fs::is_directory(path, error)) {
    throw UsageError(fmt::format("{} is a file; name a folder to make", path));
  }
  if (!fs::is_empty(path, error)) {
    throw UsageError(fmt::format("{} is not empty; name a folder to make, or an empty one", path));
  }
}

// The folder's files state no hash: what is not found here is found by nobody.
void check_weights(const ModelFiles& files) {
  if (files.model.stated_hash.empty()) return;
  Progress progress("checking", Progress::Unit::kBytes);
  check_stated_hash(files.model, weights_hash(files.model, [&](std::uint64_t hashed) {
                      check_interrupted();
                      progress.update(hashed, files.checkpoint.file_bytes());
                    }));
}

}  // namespace

int export_folder(const ExportOptions& options) {
  require_model(options.model);
  if (options.output.empty()) throw UsageError("name the folder to make: ttt export MODEL OUT_FOLDER");
  check_target(options.output);
  const ModelFiles files(options.model);
  if (is_quantised(files.model) && !options.dequantize) {
    throw UsageError(fmt::format(
        "{} is quantised, and Hugging Face folders hold no such types: export the original, or use "
        "--dequantize to write the rounded weights as F32",
        options.model));
  }
  const std::vector<ExportedTensor> tensors = list_exported(files.model);
  std::uint64_t bytes = kExportAllowance;
  for (const ExportedTensor& tensor : tensors) bytes += *weights::tensor_bytes(tensor.type, tensor.shape);
  const tokenizer::Tokenizer* tokenizer = files.tokenizer ? &*files.tokenizer : nullptr;
  if (tokenizer != nullptr) bytes += tokenizer->model_bytes().size();
  check_free_space(options.output, bytes);
  check_weights(files);

  weights::AtomicFolder folder(options.output);
  Progress progress("exporting", Progress::Unit::kBytes);
  const bool completed = export_model(files.model, tensors, tokenizer,
                                      {.tensors = folder.file("model.safetensors"),
                                       .config = folder.file("config.json"),
                                       .tokenizer = folder.file("tokenizer.model")},
                                      [&](std::uint64_t written, std::uint64_t total) {
                                        progress.update(written, total);
                                        return !interrupted();
                                      });
  progress.clear();
  if (!completed) throw Interrupted();
  folder.commit();
  print_notice(fmt::format("{}: model.safetensors with {} tensors, config.json{}, {}", options.output,
                           tensors.size(), tokenizer == nullptr ? "" : ", tokenizer.model",
                           readable_bytes(bytes - kExportAllowance)));
  return kOk;
}

}  // namespace ttt::cli
