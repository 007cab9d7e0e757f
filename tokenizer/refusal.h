// SPDX-License-Identifier: Apache-2.0
// The text of a TokenizerError for a model that cannot be used. Private to this folder.
#pragma once

#include <string>
#include <string_view>

namespace ttt::tokenizer {

struct Refusal {
  std::string_view model;  // file name as the user gave it
  std::string_view where;  // "piece 7", "byte 120", a setting
  std::string_view wanted;
  std::string_view found;
  std::string_view remedy = "Use the tokenizer.model that was published with the checkpoint.";
};

// Throws TokenizerError: "model: where: wanted W, found F. remedy".
[[noreturn]] void refuse(const Refusal& refusal);

// `text` in quotes for a message: control characters and everything beyond ASCII as \xNN, cut after 48 bytes.
std::string quoted(std::string_view text);

}  // namespace ttt::tokenizer
