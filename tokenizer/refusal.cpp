// SPDX-License-Identifier: Apache-2.0
#include "tokenizer/refusal.h"

#include <fmt/format.h>

#include "tokenizer/tokenizer.h"

namespace ttt::tokenizer {

void refuse(const Refusal& refusal) {
  throw TokenizerError(fmt::format("{}: {}: wanted {}, found {}. {}", refusal.model, refusal.where,
                                   refusal.wanted, refusal.found, refusal.remedy));
}

std::string quoted(std::string_view text) {
  constexpr std::size_t kMaxBytes = 48;
  std::string out = "\"";
  for (const char c : text.substr(0, kMaxBytes)) {
    const bool printable = c >= ' ' && c <= '~';
    out += printable ? std::string(1, c) : fmt::format("\\x{:02X}", static_cast<unsigned char>(c));
  }
  return out + (text.size() > kMaxBytes ? "...\"" : "\"");
}

}  // namespace ttt::tokenizer
