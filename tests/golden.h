// SPDX-License-Identifier: Apache-2.0
// The golden cases of tests/golden/: a tiny checkpoint each, with float64 logits and final states.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/naive.h"
#include "tokenizer/tokenizer.h"
#include "weights/checkpoint.h"
#include "weights/float16.h"
#include "weights/safetensors.h"

namespace ttt::test {

inline constexpr std::array kGoldenCases = {
    "linear-gate-only",    "linear-headdim64",   "linear-mamba",
    "linear-preconv-only", "linear-transformer", "linear-untied-minibatch8",
    "mlp-headdim64",       "mlp-mamba",          "mlp-transformer"};

// Values of a tensor in any of the float types, or I32.
inline std::vector<double> read_doubles(const weights::TensorView& tensor) {
  const auto read = [&]<typename Stored>(Stored, auto convert) {
    std::vector<double> values(tensor.bytes.size() / sizeof(Stored));
    for (std::size_t i = 0; i < values.size(); ++i) {
      Stored stored;
      std::memcpy(&stored, tensor.bytes.data() + i * sizeof(Stored), sizeof(Stored));
      values[i] = static_cast<double>(convert(stored));
    }
    return values;
  };
  const auto unchanged = [](auto value) { return value; };
  switch (tensor.dtype) {
    case weights::DType::kF64:
      return read(double{}, unchanged);
    case weights::DType::kF32:
      return read(float{}, unchanged);
    case weights::DType::kI32:
      return read(std::int32_t{}, unchanged);
    case weights::DType::kF16:
      return read(std::uint16_t{}, weights::f16_to_float);
    case weights::DType::kBF16:
      return read(std::uint16_t{}, weights::bf16_to_float);
    default:
      throw std::invalid_argument("read_doubles: " + tensor.name + " has another type");
  }
}

// Every weight of a Hugging Face folder, for the oracle.
inline naive::Tensors read_tensors(const weights::Checkpoint& checkpoint) {
  naive::Tensors tensors;
  for (const weights::TensorView& tensor : checkpoint.tensors()) tensors[tensor.name] = read_doubles(tensor);
  return tensors;
}

struct GoldenCase {
  explicit GoldenCase(const std::string& name)
      : folder(std::string(TTT_TEST_DATA "/golden/") + name),
        checkpoint(weights::Checkpoint::open(folder)),
        golden(weights::SafetensorsFile::open(folder + "/golden.safetensors", weights::FileAccess::kMap)) {
    for (const double id : values("input_ids")) input_ids.push_back(static_cast<tokenizer::TokenId>(id));
  }

  // A tensor of golden.safetensors.
  std::vector<double> values(const std::string& tensor) const {
    const weights::TensorView* view = golden.find_tensor(tensor);
    if (view == nullptr) throw std::invalid_argument(folder + " has no golden " + tensor);
    return read_doubles(*view);
  }
  // Of one layer's final state: "W1_states", "conv.pre_conv".
  std::vector<double> final_values(std::size_t layer, const std::string& tensor) const {
    return values("final." + std::to_string(layer) + "." + tensor);
  }

  std::string folder;
  weights::Checkpoint checkpoint;
  weights::SafetensorsFile golden;
  std::vector<tokenizer::TokenId> input_ids;
};

}  // namespace ttt::test
