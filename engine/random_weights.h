// SPDX-License-Identifier: Apache-2.0
// A model of an official size with random weights: its text is noise, its speed and its memory are those of
// a trained one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/config.h"
#include "engine/model.h"
#include "weights/tensor.h"

namespace ttt {

// "125m", "125m-mlp", ..., "1.3b-mlp": the sizes of the paper in the form in which they were trained
// (pre-convolution, shared q/k, gate; vocabulary 32,000).
const std::vector<std::string>& official_sizes();
// Throws std::invalid_argument, with the list, for another name.
ModelConfig official_config(std::string_view size);

class RandomWeights {
 public:
  // Matrices in `matrix_type` (F32, F16, BF16), all else in F32. Throws std::bad_alloc.
  RandomWeights(const ModelConfig& config, weights::DType matrix_type, std::uint64_t seed);
  ~RandomWeights();
  RandomWeights(const RandomWeights&) = delete;
  RandomWeights& operator=(const RandomWeights&) = delete;

  // Borrows from this object.
  const Model& model() const { return model_; }

  static std::uint64_t bytes(const ModelConfig& config, weights::DType matrix_type);

 private:
  weights::TensorView fill(std::string name, weights::Shape shape, bool is_matrix);

  weights::DType matrix_type_;
  std::uint64_t state_;          // of the generator
  std::span<std::byte> memory_;  // mapped, so that parts of it can be given back
  std::size_t used_ = 0;
  Model model_;
};

}  // namespace ttt
