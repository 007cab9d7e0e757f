// SPDX-License-Identifier: Apache-2.0
// Compares the weights of a file that was written with those that it was made from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "engine/model.h"
#include "engine/tensor_types.h"

namespace ttt {

struct WeightsComparison {
  std::size_t tensors = 0;
  std::size_t rounded = 0;  // of these, those with a value that is not the source's
  // Over all rounded values: the error over the most that rounding to the type may cost.
  double worst_rounding = 0.0;
};

// The most that a value of a tensor or block, whose largest magnitude is `largest`, may lose in this type:
// half a step of it, and what a block's own scale loses.
double rounding_bound(weights::DType type, double value, double largest);

// Reads both once, piece by piece, and checks of every weight: name, shape, and type as stored_type has it;
// the bytes are those of the source converted again; no value is farther from the source's than
// rounding_bound. `progress` is told the source's bytes read so far. Throws weights::CheckpointError naming
// the first weight and value that differ.
WeightsComparison compare_weights(const Model& source, const Model& written, const TensorTypes& types,
                                  const std::function<void(std::uint64_t)>& progress = {});

}  // namespace ttt
