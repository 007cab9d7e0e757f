// SPDX-License-Identifier: Apache-2.0
#include "cli/open_model.h"

#include <catch2/catch.hpp>

using namespace ttt::cli;

TEST_CASE("options that a GPU ignores are known by name") {
  CHECK(cpu_only_options({.model = "a.gguf", .device = "cuda", .no_mmap = true}).empty());
  using Names = std::vector<std::string>;
  CHECK(cpu_only_options({.mlock = true}) == Names{"--mlock"});
  CHECK(
      cpu_only_options({.threads = 2, .no_huge_pages = true, .pin_threads = true, .cpu_target = "generic"}) ==
      Names{"--no-huge-pages", "--pin-threads", "--threads", "--cpu-target"});
}
