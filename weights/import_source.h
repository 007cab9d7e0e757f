// SPDX-License-Identifier: Apache-2.0
// Finds a checkpoint in a format that is converted before it is used (JAX, PyTorch), as a file of its own or
// in a folder with what belongs to it. Files that open directly are checkpoint.h's.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "weights/tensor_archive.h"
#include "weights/tokenizer_files.h"

namespace ttt::weights {

struct ImportSource {
  std::unique_ptr<TensorArchive> archive;
  std::string format;  // "JAX train state", for people
  std::uint64_t file_bytes = 0;
  // Of a folder: its config.json and its tokenizer, empty where there are none. What lies beside a file that
  // was named itself is not looked at.
  std::string config_path, config_json;
  TokenizerFiles tokenizer_files;
};

// Empty if nothing of the kind is at `path`: Checkpoint::open opens it, or says what it is. Throws
// CheckpointError for a checkpoint of this kind that is damaged, and for a folder with several.
std::optional<ImportSource> open_import_source(const std::string& path);

}  // namespace ttt::weights
