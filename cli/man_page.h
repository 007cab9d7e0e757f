// SPDX-License-Identifier: Apache-2.0
// `ttt man`: the manual page in roff, made from the declarations of options.h.
#pragma once

#include <span>
#include <string>

#include "cli/options.h"

namespace ttt::cli {

std::string man_page(std::span<const Command> commands);

}  // namespace ttt::cli
