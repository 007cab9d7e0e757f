// SPDX-License-Identifier: Apache-2.0
// `ttt eval logits`: the raw logits of given token ids, and the state after them, as a safetensors file for
// comparison with other implementations.
#pragma once

#include <functional>
#include <span>
#include <string>

#include "cli/open_model.h"
#include "engine/backend.h"

namespace ttt::cli {

struct LogitsOptions {
  ModelOptions model;
  std::string ids;  // "1,2,3" or "@file"
  std::string output;
  bool state = false;
  bool force = false;  // replace an existing file
};

// Writes `logits` [tokens, V] F32, `input_ids` [tokens] I32 and, with `state`, `state.<name>` F32 for every
// tensor of engine/state_layout.h that is not empty.
int eval_logits(const LogitsOptions& options);

// What a backend needs for read_logits: 64 rows of 32000 floats are 8 MB.
inline constexpr BackendLimits kLogitsLimits = {.tokens = 64, .logits_rows = 64};

// Reads the ids in slot 0 from the beginning; `take` gets the logits of some tokens at a time, in order.
// Throws Interrupted.
void read_logits(Backend& backend, std::span<const TokenId> ids,
                 const std::function<void(std::span<const float> rows)>& take);

}  // namespace ttt::cli
