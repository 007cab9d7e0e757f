// SPDX-License-Identifier: Apache-2.0
// An archive in memory, copied from another or filled by hand, that a test may spoil.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "weights/tensor_archive.h"

namespace ttt::test {

class MemoryArchive final : public weights::TensorArchive {
 public:
  MemoryArchive() = default;
  explicit MemoryArchive(const weights::TensorArchive& other) {
    for (std::size_t i = 0; i < other.tensors().size(); ++i) {
      const weights::ArchivedTensor& tensor = other.tensors()[i];
      std::vector<std::byte> bytes(weights::tensor_bytes(tensor.dtype, tensor.shape).value());
      other.read(i, bytes);
      add(tensor, std::move(bytes));
    }
  }

  void add(weights::ArchivedTensor tensor, std::vector<std::byte> bytes) {
    tensors_.push_back(std::move(tensor));
    bytes_.push_back(std::move(bytes));
  }
  weights::ArchivedTensor& tensor(const std::string& name) { return tensors_[find(name)]; }
  std::vector<std::byte>& bytes(const std::string& name) { return bytes_[find(name)]; }
  void remove(const std::string& name) {
    const auto index = static_cast<std::ptrdiff_t>(find(name));
    tensors_.erase(tensors_.begin() + index);
    bytes_.erase(bytes_.begin() + index);
  }

  const std::string& path() const override { return path_; }
  const std::vector<weights::ArchivedTensor>& tensors() const override { return tensors_; }
  void read(std::size_t index, std::span<std::byte> to) const override {
    if (to.size() != bytes_.at(index).size()) throw std::logic_error("MemoryArchive: another size");
    std::ranges::copy(bytes_[index], to.begin());
  }

 private:
  std::size_t find(const std::string& name) const {
    const auto entry = std::ranges::find(tensors_, name, &weights::ArchivedTensor::name);
    if (entry == tensors_.end()) throw std::invalid_argument("MemoryArchive: no " + name);
    return static_cast<std::size_t>(entry - tensors_.begin());
  }

  std::string path_ = "archive";
  std::vector<weights::ArchivedTensor> tensors_;
  std::vector<std::vector<std::byte>> bytes_;
};

}  // namespace ttt::test
