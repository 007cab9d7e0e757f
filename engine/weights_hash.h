// SPDX-License-Identifier: Apache-2.0
// The identity of a model's weights: XXH3-128 over name, type, shape and bytes of every weight in name
// order; the tokenizer is not part of it. Small tensors count as F32, as GGUF files store them, so that a
// Hugging Face folder and the GGUF file made from it without a change of type have the same hash.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "engine/model.h"

namespace ttt {

inline constexpr std::string_view kWeightsHashKey = "ttt.weights_hash";  // where a GGUF file states it

class WeightsHash {
 public:
  WeightsHash();
  ~WeightsHash();
  void begin_tensor(const std::string& name, weights::DType dtype, const weights::Shape& shape);
  void update(std::span<const std::byte> bytes);
  std::string hex() const;  // 32 lower-case digits

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Reads every byte once and releases it; `progress` is told the bytes read so far.
std::string weights_hash(const Model& model, const std::function<void(std::uint64_t)>& progress = {});

// `found`: the hash of the weights as they were read. Throws weights::CheckpointError where the model's file
// states another.
void check_stated_hash(const Model& model, std::string_view found);

}  // namespace ttt
