// SPDX-License-Identifier: Apache-2.0
// An opened checkpoint: one GGUF file, or a Hugging Face folder (config.json, model.safetensors or its
// shards, tokenizer.model or tokenizer.json). Knows files and containers only; engine/ gives the names their
// meaning.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "weights/gguf.h"
#include "weights/mapped_file.h"
#include "weights/safetensors.h"
#include "weights/tensor.h"
#include "weights/tokenizer_files.h"

namespace ttt::weights {

enum class CheckpointFormat { kGguf, kHuggingFace };

class Checkpoint {
 public:
  // `path`: a .gguf file, or a folder. Throws CheckpointError; says so plainly when the file is a Git LFS
  // pointer, a PyTorch or a JAX file, a folder without config.json or without tensors.
  static Checkpoint open(const std::string& path, FileAccess access = FileAccess::kMap);

  CheckpointFormat format() const { return format_; }
  const std::string& path() const { return path_; }
  const GgufMetadata& metadata() const;                            // empty for a folder
  const std::string& config_json() const { return config_json_; }  // empty for a GGUF file
  // A folder's; empty for a GGUF file (where it is a tensor like any other).
  const TokenizerFiles& tokenizer_files() const { return tokenizer_files_; }
  const std::vector<TensorView>& tensors() const { return tensors_; }
  const TensorView* find_tensor(std::string_view name) const;
  // The file that a tensor lies in, for messages.
  const std::string& file_of(const TensorView& tensor) const;
  void release(std::span<const std::byte> part) const;  // MappedFile::release; any part of any tensor
  // Copies a part of a tensor to `to` as its file has it, without touching the part: MappedFile::read.
  // REQUIRES: access() is kReadParts.
  void read(std::span<const std::byte> part, std::span<std::byte> to) const;
  FileAccess access() const { return access_; }
  std::uint64_t file_bytes() const;  // of all weight files

 private:
  Checkpoint() = default;
  static Checkpoint open_gguf(const std::string& path, FileAccess access);
  static Checkpoint open_folder(const std::string& path, FileAccess access);
  void add_tensors(const std::vector<TensorView>& tensors, std::size_t shard);

  FileAccess access_ = FileAccess::kMap;
  CheckpointFormat format_ = CheckpointFormat::kGguf;
  std::string path_;
  std::string config_json_;
  TokenizerFiles tokenizer_files_;
  std::optional<GgufFile> gguf_;
  std::vector<SafetensorsFile> shards_;
  std::vector<TensorView> tensors_;  // of all files
  std::vector<std::size_t> shard_of_tensor_;
  std::map<std::string, std::size_t, std::less<>> index_;  // into tensors_
};

}  // namespace ttt::weights
