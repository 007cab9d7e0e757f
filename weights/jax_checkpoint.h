// SPDX-License-Identifier: Apache-2.0
// A checkpoint as the JAX code base of TTT writes it ("streaming_train_state", "streaming_params"): pairs of
// a path and an array, one after another in MessagePack, without a header or an index. Opening finds the
// parameters in one pass over the headers; the optimizer's state, twice as large, is stepped over unread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "weights/tensor_archive.h"

namespace ttt::weights {

// Whether a file that begins so can be such a stream: an array of two whose first value is an array.
bool is_jax_stream(std::string_view prefix);

class JaxCheckpoint final : public TensorArchive {
 public:
  static JaxCheckpoint open(const std::string& path);  // throws CheckpointError
  // `bytes` must outlive the result. For tests and fuzzing.
  static JaxCheckpoint parse(std::span<const std::byte> bytes, std::string_view name);

  const std::string& path() const override { return path_; }
  // A name is the path within the parameters, its components joined by '/': "model/h/0/seq_norm/kernel".
  // (Some components hold a slash of their own; nothing tells the two apart, and nothing needs to.)
  const std::vector<ArchivedTensor>& tensors() const override { return tensors_; }
  void read(std::size_t index, std::span<std::byte> to) const override;  // any thread

  std::uint64_t file_bytes() const { return file_bytes_; }
  bool is_train_state() const { return is_train_state_; }  // has the optimizer's state or a step count

 private:
  // Fills the span from the file's byte `offset` on as far as there is any; returns the number of bytes.
  using ReadAt = std::function<std::size_t(std::uint64_t offset, std::span<std::byte> to)>;
  struct Part {
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;
  };
  class Scanner;

  JaxCheckpoint(std::string path, std::uint64_t file_bytes, ReadAt read_at);

  std::string path_;
  std::uint64_t file_bytes_ = 0;
  ReadAt read_at_;
  bool is_train_state_ = false;
  std::vector<ArchivedTensor> tensors_;
  std::vector<std::vector<Part>> parts_;  // of tensors_: one each, or the chunks of a very large array
};

}  // namespace ttt::weights
