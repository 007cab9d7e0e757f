// SPDX-License-Identifier: Apache-2.0
// The tokenizer that lies in a folder beside a checkpoint's tensors, as bytes. What they mean is not asked
// here.
#pragma once

#include <string>

namespace ttt::weights {

struct TokenizerFile {
  std::string path;   // for messages
  std::string bytes;  // of tokenizer.model, or of tokenizer.json where there is no other; empty: neither
};

// Throws CheckpointError for a file that is too large, cannot be read or only stands in for the real one.
TokenizerFile find_tokenizer_file(const std::string& folder);

}  // namespace ttt::weights
