// SPDX-License-Identifier: Apache-2.0
// A config.json beside a checkpoint says again what the tensors tell: the two must agree.
#pragma once

#include <fmt/format.h>

#include <string_view>

#include "weights/checkpoint_error.h"

namespace ttt {

// Throws CheckpointError naming the field of `path` that says something else than the tensors.
template <typename Value>
void check_agreement(std::string_view path, std::string_view field, const Value& from_tensors,
                     const Value& found) {
  if (from_tensors == found) return;
  weights::refuse({.file = path,
                   .where = field,
                   .wanted = fmt::format("{}, as the tensors have it", from_tensors),
                   .found = fmt::format("{}", found),
                   .remedy = "The file belongs to another model: correct it or take it away."});
}

}  // namespace ttt
