// SPDX-License-Identifier: Apache-2.0
// Models of any configuration with random weights, opened from a Hugging Face folder that is written for
// the purpose and gone again at once. Every parameter matters: no gain is 1, no bias is 0, one slot of the
// mini-batch is clamped to a rate of 0 (unless it is the only one).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "engine/model.h"
#include "tests/naive.h"
#include "tests/random.h"
#include "weights/checkpoint.h"
#include "weights/tensor.h"

namespace ttt::test {

// Every weight of a model with its Hugging Face shape.
std::vector<std::pair<std::string, weights::Shape>> hugging_face_shapes(const ModelConfig& config);

struct RandomModel {
  // `edit` may change the weights before they are rounded to `dtype` and written.
  explicit RandomModel(const ModelConfig& config, std::uint64_t seed = 1,
                       weights::DType dtype = weights::DType::kF32,
                       const std::function<void(naive::Tensors&)>& edit = {});

  naive::Tensors tensors;  // the values as written
  weights::Checkpoint checkpoint;
  Model model;
};

// A model written to a GGUF file with its matrices in another type, opened, and the file gone.
struct ConvertedModel {
  ConvertedModel(const Model& source, weights::DType matrix_type);

  weights::Checkpoint checkpoint;
  Model model;
};

}  // namespace ttt::test
