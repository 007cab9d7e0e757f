// SPDX-License-Identifier: Apache-2.0
#include "server/http.h"

#include <algorithm>
#include <cctype>

namespace ttt::server {

bool equal_names(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](char x, char y) {
    return std::tolower(static_cast<unsigned char>(x)) == std::tolower(static_cast<unsigned char>(y));
  });
}

const std::string* HttpRequest::header(std::string_view name) const {
  const auto found =
      std::ranges::find_if(headers, [&](const HttpHeader& header) { return equal_names(header.name, name); });
  return found == headers.end() ? nullptr : &found->value;
}

}  // namespace ttt::server
