// SPDX-License-Identifier: Apache-2.0
// A checkpoint that torch.save wrote (PyTorch 1.6 or later): one file, or shards with their index. Tensors
// are read as data; nothing in the file is run.
#pragma once

#include <cstddef>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "weights/stored_zip.h"
#include "weights/strided_view.h"
#include "weights/tensor_archive.h"

namespace ttt::weights {

class TorchCheckpoint : public TensorArchive {
 public:
  // `path`: a file of any name, a shard index (*.index.json), or a folder with pytorch_model.bin or
  // pytorch_model.bin.index.json. The file holds a state dict, or a dict with one as "state_dict",
  // "model_state_dict" or "model". Its floating-point tensors are listed; others are left out, unless they
  // are parameters, which is refused. The position of every element is checked here. Throws CheckpointError.
  static std::unique_ptr<TorchCheckpoint> open(const std::string& path);
  // One file in memory, which must outlive the result. For tests and fuzzing.
  static std::unique_ptr<TorchCheckpoint> parse(std::span<const std::byte> bytes, std::string_view name);

  const std::string& path() const override { return path_; }
  const std::vector<ArchivedTensor>& tensors() const override { return tensors_; }
  // One thread at a time.
  void read(std::size_t index, std::span<std::byte> to) const override;

 private:
  struct Source {
    std::size_t file = 0;
    std::size_t member = 0;
    StridedView view;
  };

  TorchCheckpoint() = default;
  static std::unique_ptr<TorchCheckpoint> open_shards(const std::string& index_path);
  // Returns all names of the file's state dict, those of tensors that are left out among them.
  std::set<std::string> add_file(StoredZip file);

  std::string path_;
  std::vector<StoredZip> files_;
  std::vector<ArchivedTensor> tensors_;
  std::vector<Source> sources_;  // where each tensor lies
};

}  // namespace ttt::weights
