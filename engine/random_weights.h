// SPDX-License-Identifier: Apache-2.0
// A model of an official size with random weights: its text is noise, its speed and its memory are those of
// a trained one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
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
  // Types as stored_type() of tensor_types.h gives them for `matrix_type`. Throws std::bad_alloc.
  RandomWeights(const ModelConfig& config, weights::DType matrix_type, std::uint64_t seed);
  RandomWeights(const RandomWeights&) = delete;  // the model refers to the memory
  RandomWeights& operator=(const RandomWeights&) = delete;

  // Borrows from this object. Whoever releases its bytes has read them for everybody: it makes one backend.
  const Model& model() const { return model_; }

  // The same model but for its bytes: types and shapes.
  static Model without_bytes(const ModelConfig& config, weights::DType matrix_type);

 private:
  struct Unmap {
    std::size_t size;
    void operator()(std::byte* memory) const;
  };
  weights::TensorView fill(std::string name, weights::Shape shape, bool is_matrix);

  weights::DType matrix_type_;
  std::uint64_t state_;  // of the generator
  std::unique_ptr<std::byte[], Unmap> memory_{nullptr,
                                              Unmap{0}};  // mapped, so that parts of it can be given back
  std::size_t used_ = 0;
  Model model_;
};

}  // namespace ttt
