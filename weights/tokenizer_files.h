// SPDX-License-Identifier: Apache-2.0
// The tokenizer that lies in a folder beside a checkpoint's tensors, as bytes. What they mean is not asked
// here.
#pragma once

#include <string>

namespace ttt::weights {

struct TokenizerFile {
  std::string path;   // for messages
  std::string bytes;  // empty: there is none
};

struct TokenizerFiles {
  TokenizerFile tokenizer;      // tokenizer.model, or tokenizer.json where there is no other
  TokenizerFile config;         // tokenizer_config.json
  TokenizerFile chat_template;  // chat_template.jinja, where newer folders keep it
};

// Throws CheckpointError for a file that is too large, cannot be read or only stands in for the real one.
TokenizerFiles find_tokenizer_files(const std::string& folder);

}  // namespace ttt::weights
