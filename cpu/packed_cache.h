// SPDX-License-Identifier: Apache-2.0
// Packed matrices in a file, so that a later start maps them instead of packing them anew: --packed-cache.
// The folder holds a file for each model, named by a hash of its weights, types and shapes, and may be
// deleted at any time. A file is used only if every weight is the one that was written; whatever else it is,
// the weights are packed anew. Panels are the same for every instruction set, so that none is part of the
// name. Who can write the folder can change results, not more. docs/decisions/0017-packed-cache.md
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cpu/packed_matrix.h"
#include "cpu/thread_pool.h"
#include "engine/model.h"
#include "weights/mapped_file.h"

namespace ttt::cpu {

struct PackedCacheOptions {
  std::string folder;           // made where it is missing
  std::uint64_t max_bytes = 0;  // of all its files; those that were used longest ago are removed
  weights::FileAccess access = weights::FileAccess::kMap;
  // Sentences for the user. A cache never stops anything: what fails is told here.
  std::function<void(const std::string&)> warn = [](const std::string&) {};
  std::function<void(const std::string&)> inform = [](const std::string&) {};
};

// A model's packed matrices, one behind another; the matrices made of it borrow from it.
class PackedFile {
 public:
  // The matrix that comes next. REQUIRES: called once for each tensor, in order.
  PackedMatrix next(const weights::TensorView& tensor);

 private:
  friend class PackedCache;
  explicit PackedFile(weights::MappedFile file) : file_(std::move(file)) {}

  weights::MappedFile file_;
  std::uint64_t next_ = 0;  // offset
};

class PackedCache {
 public:
  // `model` is the one whose matrices are `tensors`, in the order that they will be asked for. It must
  // outlive the cache.
  PackedCache(const PackedCacheOptions& options, const Model& model,
              std::vector<weights::TensorView> tensors);

  // The model's file, if it is there and whole. A panel of each matrix is packed from the model and compared,
  // so that a model that was changed under its old hash is found out. Else prepares for store().
  std::optional<PackedFile> find(ThreadPool& pool);
  // Writes the matrices, of which there is no file. REQUIRES: find() found nothing; one for each tensor.
  void store(std::span<const PackedMatrix* const> matrices) const;

 private:
  std::uint64_t file_bytes() const;
  std::optional<std::string> fault_of(const weights::MappedFile& file, ThreadPool& pool) const;
  void prepare_to_store();
  void make_room() const;

  const PackedCacheOptions& options_;
  const Model& model_;
  std::vector<weights::TensorView> tensors_;
  std::string key_;  // 32 digits that stand for the weights and how they are packed
  std::string path_;
  bool may_store_ = false;
};

}  // namespace ttt::cpu
