// SPDX-License-Identifier: Apache-2.0
// `ttt tokenize` and `ttt detokenize`: text to ids and back, with a model or a bare tokenizer.model.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace ttt::cli {

struct TokenizeOptions {
  std::string model;  // also a bare tokenizer.model
  std::string text;   // empty or "-": stdin
  std::optional<std::string> file;
  bool ids = false;     // "1,2,3" on one line
  bool pieces = false;  // one piece a line
  bool count = false;   // the number alone
  bool no_bos = false;
  bool parse_special = false;
  bool json = false;
};

struct TokenizeResult {
  std::vector<tokenizer::TokenId> ids;
  std::vector<std::string> pieces;
};

int tokenize(const TokenizeOptions& options);

struct DetokenizeOptions {
  std::string model;
  std::string ids;  // "1,2,3"; empty or "-": stdin
};

int detokenize(const DetokenizeOptions& options);

}  // namespace ttt::cli
