// SPDX-License-Identifier: Apache-2.0
// Text of the command line to values, and the name that was probably meant.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ttt::cli {

// 512, -1, 2k (2000), 32K (32768), 1m, 1M, 1g, 1G. Empty if it is none of these or beyond 64 bits.
std::optional<std::int64_t> parse_integer(std::string_view text);

// A finite decimal number.
std::optional<double> parse_number(std::string_view text);

std::optional<bool> parse_bool(std::string_view text);  // true/false, yes/no, on/off, 1/0

// Token ids separated by commas, spaces or newlines, in brackets or not. Throws UsageError naming the place
// of what is no id and of an id outside [0, vocab_size), and for an empty list. `what` stands in messages.
std::vector<std::int32_t> parse_id_list(std::string_view text, std::int64_t vocab_size,
                                        std::string_view what);

// The candidate that `text` was probably meant to be, if one is close.
std::optional<std::string> nearest(std::string_view text, std::span<const std::string> candidates);

}  // namespace ttt::cli
