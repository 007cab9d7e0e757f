// SPDX-License-Identifier: Apache-2.0
// A backend on the device, and steps of one segment.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "cuda/cuda_backend.h"
#include "engine/state_layout.h"

namespace ttt::test {

inline std::unique_ptr<Backend> on_device(const Model& model, std::size_t slots = 4, std::size_t tokens = 64,
                                          cuda::Precision precision = cuda::Precision::kExact) {
  return cuda::make_cuda_backend(
      model,
      {.num_slots = slots, .max_batch_tokens = tokens, .max_logits_rows = tokens, .precision = precision});
}

inline Segment read_all(SlotId slot, std::int64_t position, std::span<const TokenId> tokens) {
  Segment segment;
  segment.slot = slot;
  segment.position = position;
  segment.tokens = tokens;
  segment.wanted.logits = Rows::kAll;
  return segment;
}

inline std::vector<float> step(Backend& backend, const Segment& segment) {
  backend.submit({&segment, 1});
  const std::span<const float> logits = backend.wait()[0].logits;
  return {logits.begin(), logits.end()};
}

inline std::vector<std::byte> saved(const Backend& backend, const ModelConfig& config, SlotId slot,
                                    std::int64_t position) {
  std::vector<std::byte> bytes(state_bytes(config, position));
  backend.save(slot, position, bytes);
  return bytes;
}

}  // namespace ttt::test
