// SPDX-License-Identifier: Apache-2.0
// `ttt eval logits`: the raw logits of given token ids, and the state after them, as a safetensors file for
// comparison with other implementations.
#pragma once

#include <string>

#include "cli/open_model.h"

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

}  // namespace ttt::cli
