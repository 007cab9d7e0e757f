// SPDX-License-Identifier: Apache-2.0
// The page at /: type a prompt, watch tokens arrive. server/page.html, compiled in.
#pragma once

#include <string_view>

namespace ttt::server {

std::string_view page_html();

}  // namespace ttt::server
