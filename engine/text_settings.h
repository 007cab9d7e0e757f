// SPDX-License-Identifier: Apache-2.0
// How a model wants its text, besides the tokenizer: what a GGUF file says of it in two keys, and a folder in
// tokenizer_config.json and chat_template.jinja.
#pragma once

#include <string>

#include "weights/checkpoint.h"
#include "weights/gguf.h"
#include "weights/tokenizer_files.h"

namespace ttt {

struct TextSettings {
  bool adds_bos = true;       // a text prompt begins with bos, if there is one
  std::string chat_template;  // a Jinja program, which is compared with known ones and never run; empty: none
};

// Throws weights::CheckpointError for a tokenizer_config.json that is no JSON object, or in which these
// settings have another type.
TextSettings text_settings(const weights::Checkpoint& checkpoint);
TextSettings text_settings(const weights::TokenizerFiles& files);

// Appends what is not the default and not there yet.
void append_text_settings(const TextSettings& settings, weights::GgufMetadata& metadata);

}  // namespace ttt
