// SPDX-License-Identifier: Apache-2.0
// A backend against the float64 oracle on a random model.
#pragma once

#include <algorithm>
#include <functional>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "engine/backend.h"
#include "engine/state_layout.h"
#include "tests/error_metric.h"
#include "tests/naive.h"
#include "tests/random_model.h"
#include "tests/saved_state.h"

namespace ttt::test {

// The largest error of each kind, over the layers.
struct OracleErrors {
  double logits = 0.0, fast_weights = 0.0, conv_inputs = 0.0, open_rows = 0.0, losses = 0.0;
};

// Reads the tokens at once with the backend, into slot 0, one by one with the oracle. REQUIRES: room for the
// tokens, and for as many rows of raw logits.
inline OracleErrors oracle_errors(const RandomModel& model, std::span<const TokenId> tokens,
                                  Backend& backend) {
  const ModelConfig& config = model.model.config;
  backend.reset(0);
  Segment segment;
  segment.tokens = tokens;
  segment.wanted.logits = Rows::kAll;
  segment.wanted.inner_losses = true;
  backend.submit({&segment, 1});
  const SegmentResult result = backend.wait()[0];

  naive::NaiveModel oracle(config, model.tensors);
  OracleErrors errors;
  errors.logits = max_over_rms(to_doubles(result.logits), oracle.read_all(tokens));
  errors.losses = max_over_rms(to_doubles(result.inner_losses), oracle.inner_losses());

  const auto position = static_cast<std::int64_t>(tokens.size());
  const SavedState state(backend, config, 0, position);
  const std::vector<double> found = state.all(), wanted = oracle.canonical_state();
  REQUIRE(found.size() == wanted.size());
  for (const StateTensor& tensor : list_state(config, position)) {
    const bool is_open = tensor.name.find(".open.") != std::string::npos;
    const std::size_t size =
        std::accumulate(tensor.shape.begin() + 1, tensor.shape.end(), std::size_t{1}, std::multiplies<>());
    std::vector<double> found_part, wanted_part;
    for (std::size_t row = 0; row < tensor.shape[0]; ++row) {
      const auto begin = static_cast<std::ptrdiff_t>(tensor.offset + row * tensor.row_stride);
      const auto end = begin + static_cast<std::ptrdiff_t>(size);
      found_part.insert(found_part.end(), found.begin() + begin, found.begin() + end);
      wanted_part.insert(wanted_part.end(), wanted.begin() + begin, wanted.begin() + end);
    }
    double& error = is_open                         ? errors.open_rows
                    : tensor.name.ends_with("conv") ? errors.conv_inputs
                                                    : errors.fast_weights;
    error = std::max(error, max_over_rms(found_part, wanted_part));
  }
  return errors;
}

}  // namespace ttt::test
