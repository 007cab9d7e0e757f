// SPDX-License-Identifier: Apache-2.0
#include "weights/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "weights/checkpoint_error.h"
#include "weights/foreign_file.h"
#include "weights/gguf_format.h"
#include "weights/limits.h"
#include "weights/shard_index.h"

namespace ttt::weights {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kConfig = "config.json";
constexpr std::string_view kSingleFile = "model.safetensors";
constexpr std::string_view kIndex = "model.safetensors.index.json";
constexpr std::size_t kMaxListedNames = 1024;  // of a folder, for messages

std::string join(const std::string& folder, std::string_view name) {
  return (fs::path(folder) / name).string();
}

bool exists(const std::string& path) {
  std::error_code error;
  return fs::exists(path, error);
}

// Names in the folder, sorted: what a message can suggest.
std::set<std::string> names_in(const std::string& folder) {
  std::set<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end && names.size() < kMaxListedNames;
       it.increment(error)) {
    names.insert(it->path().filename().string());
  }
  return names;
}

// The first name with this beginning and this ending; empty if there is none.
std::string find_name(const std::set<std::string>& names, std::string_view begin, std::string_view end) {
  const auto found = std::ranges::find_if(
      names, [&](const std::string& name) { return name.starts_with(begin) && name.ends_with(end); });
  return found == names.end() ? std::string() : *found;
}

void suggest_gguf(const std::string& folder, const std::set<std::string>& names) {
  const std::string gguf = find_name(names, "", ".gguf");
  if (gguf.empty()) return;
  refuse({.file = folder,
          .wanted = "the path of a GGUF file",
          .found = "the folder it is in",
          .remedy = fmt::format("Give {} instead.", join(folder, gguf))});
}

// For a folder whose files are there, but not in a form that opens.
void suggest_conversion(const std::string& folder, const std::set<std::string>& names) {
  for (const std::string& name :
       {find_name(names, "pytorch_model", ".bin"), find_name(names, "streaming_", ""),
        find_name(names, "", ".msgpack"), find_name(names, "", ".bin")}) {
    if (name.empty()) continue;
    const std::string path = join(folder, name);
    refuse_foreign_file(path, read_prefix(path, kForeignPrefixBytes));
  }
}

[[noreturn]] void refuse_without_config(const std::string& folder) {
  const auto names = names_in(folder);
  suggest_gguf(folder, names);
  suggest_conversion(folder, names);
  refuse({.file = folder,
          .wanted = "a config.json beside the tensors",
          .found = names.empty() ? "an empty folder" : "none",
          .remedy = "Give a GGUF file or a Hugging Face folder; download config.json if it is missing."});
}

[[noreturn]] void refuse_without_tensors(const std::string& folder) {
  const auto names = names_in(folder);
  suggest_gguf(folder, names);
  suggest_conversion(folder, names);
  const std::string other = find_name(names, "", ".safetensors");
  refuse({.file = folder,
          .wanted = "model.safetensors, or model.safetensors.index.json and its shards",
          .found = other.empty() ? "a folder without tensors" : other,
          .remedy = other.empty()
                        ? "Download the tensors beside config.json."
                        : "Rename a single file to model.safetensors; for shards, download the index."});
}

std::string read_config(const std::string& path) {
  std::string text = read_small_file(path, limits::kMaxConfigBytes);
  refuse_stand_in(path, text);
  return text;
}

SafetensorsFile open_safetensors(const std::string& path, FileAccess access) {
  refuse_stand_in(path, read_prefix(path, kForeignPrefixBytes));
  return SafetensorsFile::open(path, access);
}

std::vector<SafetensorsFile> open_shards(const std::string& folder, FileAccess access) {
  ShardCheck check(join(folder, kIndex), folder);
  std::vector<SafetensorsFile> shards;
  for (const std::string& file_name : check.file_names()) {
    shards.push_back(open_safetensors(check.path_of(file_name), access));
    for (const TensorView& tensor : shards.back().tensors()) check.found(tensor.name, file_name);
  }
  check.finish();
  return shards;
}

}  // namespace

Checkpoint Checkpoint::open(const std::string& path, FileAccess access) {
  std::error_code error;
  Checkpoint checkpoint = fs::is_directory(path, error) ? open_folder(path, access) : open_gguf(path, access);
  checkpoint.access_ = access;
  return checkpoint;
}

Checkpoint Checkpoint::open_gguf(const std::string& path, FileAccess access) {
  const std::string prefix = read_prefix(path, kForeignPrefixBytes);
  if (!prefix.starts_with(kGgufMagic)) refuse_foreign_file(path, prefix);
  Checkpoint checkpoint;
  checkpoint.format_ = CheckpointFormat::kGguf;
  checkpoint.path_ = path;
  checkpoint.gguf_ = GgufFile::open(path, access);
  checkpoint.add_tensors(checkpoint.gguf_->tensors(), 0);
  return checkpoint;
}

Checkpoint Checkpoint::open_folder(const std::string& path, FileAccess access) {
  const std::string config = join(path, kConfig);
  if (!exists(config)) refuse_without_config(path);
  const bool single = exists(join(path, kSingleFile));
  if (!single && !exists(join(path, kIndex))) refuse_without_tensors(path);
  Checkpoint checkpoint;
  checkpoint.format_ = CheckpointFormat::kHuggingFace;
  checkpoint.path_ = path;
  checkpoint.config_json_ = read_config(config);
  checkpoint.tokenizer_files_ = find_tokenizer_files(path);
  // A single file wins over an index, as in the transformers library.
  if (single) {
    checkpoint.shards_.push_back(open_safetensors(join(path, kSingleFile), access));
  } else {
    checkpoint.shards_ = open_shards(path, access);
  }
  for (std::size_t i = 0; i < checkpoint.shards_.size(); ++i)
    checkpoint.add_tensors(checkpoint.shards_[i].tensors(), i);
  if (checkpoint.tensors_.empty()) refuse_without_tensors(path);
  return checkpoint;
}

void Checkpoint::add_tensors(const std::vector<TensorView>& tensors, std::size_t shard) {
  for (const TensorView& tensor : tensors) {
    index_.emplace(tensor.name, tensors_.size());
    tensors_.push_back(tensor);
    shard_of_tensor_.push_back(shard);
  }
}

const GgufMetadata& Checkpoint::metadata() const {
  static const GgufMetadata kEmpty;
  return gguf_ ? gguf_->metadata() : kEmpty;
}

const TensorView* Checkpoint::find_tensor(std::string_view name) const {
  const auto entry = index_.find(name);
  return entry == index_.end() ? nullptr : &tensors_[entry->second];
}

const std::string& Checkpoint::file_of(const TensorView& tensor) const {
  const auto entry = index_.find(tensor.name);
  return gguf_ || entry == index_.end() ? path_ : shards_[shard_of_tensor_[entry->second]].path();
}

void Checkpoint::release(std::span<const std::byte> part) const {
  if (gguf_) gguf_->release(part);
  for (const SafetensorsFile& shard : shards_) shard.release(part);  // only one of them holds it
}

void Checkpoint::read(std::span<const std::byte> part, std::span<std::byte> to) const {
  const auto reads = [&](const SafetensorsFile& shard) { return shard.read(part, to); };
  if (gguf_ ? gguf_->read(part, to) : std::ranges::any_of(shards_, reads)) return;
  throw std::logic_error("Checkpoint::read: bytes of no tensor of this checkpoint");
}

std::uint64_t Checkpoint::file_bytes() const {
  std::uint64_t sum = gguf_ ? gguf_->file_bytes() : 0;
  for (const SafetensorsFile& shard : shards_) sum += shard.file_bytes();
  return sum;
}

}  // namespace ttt::weights
