// SPDX-License-Identifier: Apache-2.0
// Tiny models for the command line: one without a tokenizer, one that reads and writes text.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace ttt::cli::test {

// A folder with 320 ids and random weights, without a tokenizer.
std::string id_model();

// Writes a folder with that model under `folder`: its embedding is made larger for a real tokenizer of 4096
// pieces, so that it writes real words in random order. Returns the folder's path. `edit_config` is applied
// to the text of config.json.
std::string make_text_model(const std::string& folder, std::size_t vocab_size = 4096);

// The path of one such folder, made at the first call, for the tests that only read it.
const std::string& text_model();

// Replaces `from` by `to` in a file; throws if it is not there.
void edit_file(const std::string& path, std::string_view from, std::string_view to);

// A .gguf file made of make_text_model under `folder`, by the program itself.
std::string make_gguf(const std::string& folder);

}  // namespace ttt::cli::test
