// SPDX-License-Identifier: Apache-2.0
// The preconditions of engine/backend.h, which every backend checks before it changes anything.
#pragma once

#include <optional>
#include <span>

#include "engine/backend.h"
#include "engine/config.h"

namespace ttt {

// Throws std::logic_error.
void require_precondition(bool condition, const char* what);

// REQUIRES of submit(), but for what is in flight. `last_sampled` holds, for each slot, the token that its
// last segment sampled. Allocates nothing.
void check_batch(std::span<const Segment> batch, const ModelConfig& config, const BackendInfo& info,
                 std::span<const std::optional<TokenId>> last_sampled);

}  // namespace ttt
