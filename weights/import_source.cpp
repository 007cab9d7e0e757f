// SPDX-License-Identifier: Apache-2.0
#include "weights/import_source.h"

#include <fmt/format.h>

#include <filesystem>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

#include "weights/checkpoint_error.h"
#include "weights/foreign_file.h"
#include "weights/jax_checkpoint.h"
#include "weights/limits.h"
#include "weights/mapped_file.h"
#include "weights/torch_checkpoint.h"

namespace ttt::weights {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxListedNames = 1024;
constexpr std::string_view kTorchFile = "pytorch_model.bin";
constexpr std::string_view kTorchIndex = "pytorch_model.bin.index.json";

// `path`: a file, or the index of several.
ImportSource open_torch(const std::string& path) {
  ImportSource source;
  source.format = "PyTorch state dict";
  source.archive = TorchCheckpoint::open(path);
  for (const ArchivedTensor& tensor : source.archive->tensors()) {
    source.file_bytes += tensor_bytes(tensor.dtype, tensor.shape).value_or(0);
  }
  return source;
}

// Each format that is imported has its place here.
std::optional<ImportSource> open_file(const std::string& path) {
  const std::string prefix = read_prefix(path, kForeignPrefixBytes);
  ImportSource source;
  if (is_jax_stream(prefix)) {
    auto archive = std::make_unique<JaxCheckpoint>(JaxCheckpoint::open(path));
    source.format = archive->is_train_state() ? "JAX train state" : "JAX parameters";
    source.file_bytes = archive->file_bytes();
    source.archive = std::move(archive);
    return source;
  }
  if (is_zip(prefix) || path.ends_with(kTorchIndex)) return open_torch(path);
  return std::nullopt;
}

// Empty if there is none.
std::string read_config(const std::string& path) {
  std::error_code error;
  if (!fs::exists(path, error)) return {};
  std::string text = read_small_file(path, limits::kMaxConfigBytes);
  refuse_stand_in(path, text);
  return text;
}

// The one file of a folder whose name says that it is a checkpoint of this kind; empty if there is none.
std::string find_checkpoint(const std::string& folder) {
  std::set<std::string> names;
  std::error_code error;
  std::size_t listed = 0;
  for (fs::directory_iterator it(folder, error), end; !error && it != end && listed < kMaxListedNames;
       it.increment(error), ++listed) {
    std::string name = it->path().filename().string();
    // Such a folder opens directly.
    if (name == "model.safetensors" || name == "model.safetensors.index.json") return {};
    if (name.starts_with("streaming_train_state") || name.starts_with("streaming_params") ||
        name == kTorchFile || name == kTorchIndex) {
      names.insert(std::move(name));
    }
  }
  if (names.empty()) return {};
  if (names.size() > 1) {
    refuse({.file = folder,
            .wanted = "one checkpoint",
            .found = fmt::format("{} and {}", *names.begin(), *std::next(names.begin())),
            .remedy = "Leave one of them in the folder, or name the file itself."});
  }
  return (fs::path(folder) / *names.begin()).string();
}

}  // namespace

std::optional<ImportSource> open_import_source(const std::string& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) return open_file(path);
  const std::string file = find_checkpoint(path);
  std::optional<ImportSource> source = file.empty() ? std::nullopt : open_file(file);
  if (!source) return std::nullopt;
  source->config_path = (fs::path(path) / "config.json").string();
  source->config_json = read_config(source->config_path);
  source->tokenizer_files = find_tokenizer_files(path);
  return source;
}

}  // namespace ttt::weights
