// SPDX-License-Identifier: Apache-2.0
#include "weights/checkpoint_error.h"

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>

#include "weights/utf8.h"

namespace ttt::weights {
namespace {

constexpr std::size_t kMaxQuotedCharacters = 120;  // of a string that a file may have chosen
constexpr std::size_t kMaxPathCharacters = 4096;   // PATH_MAX: a path is never cut

// Characters that would move the cursor, hide text or turn its direction on a terminal.
bool is_unprintable(std::uint32_t c) {
  const bool control = c < 0x20 || (c >= 0x7f && c <= 0x9f);
  const bool separator = c == 0x2028 || c == 0x2029;
  const bool direction =
      (c >= 0x200e && c <= 0x200f) || (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
  return control || separator || direction;
}

std::string printable(std::string_view text, std::size_t max_characters) {
  std::string result;
  for (std::size_t count = 0; !text.empty(); ++count) {
    if (count == max_characters) return result + "...";
    const Utf8Sequence sequence = first_utf8_sequence(text);
    if (sequence.length == 0 || is_unprintable(sequence.code_point)) {
      const std::size_t length = sequence.length == 0 ? 1 : sequence.length;
      for (const char c : text.substr(0, length))
        result += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
      text.remove_prefix(length);
    } else {
      result += text.substr(0, sequence.length);
      text.remove_prefix(sequence.length);
    }
  }
  return result;
}

}  // namespace

void refuse(const Refusal& refusal) {
  std::string message = printable(refusal.file, kMaxPathCharacters);
  const auto quoted = [](std::string_view text) { return printable(text, kMaxQuotedCharacters); };
  if (!refusal.where.empty()) message += ": " + quoted(refusal.where);
  if (!refusal.wanted.empty()) message += ": wanted " + quoted(refusal.wanted);
  if (!refusal.found.empty())
    message += (refusal.wanted.empty() ? ": found " : ", found ") + quoted(refusal.found);
  if (!refusal.remedy.empty()) message += ". " + printable(refusal.remedy, kMaxPathCharacters);
  throw CheckpointError(message);
}

}  // namespace ttt::weights
