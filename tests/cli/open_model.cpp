// SPDX-License-Identifier: Apache-2.0
#include "cli/open_model.h"

#include <catch2/catch.hpp>

using namespace ttt::cli;

TEST_CASE("options that a GPU ignores are known by name") {
  ModelOptions options;
  options.model = "a.gguf";
  options.device = "cuda";
  options.no_mmap = options.deterministic = true;
  CHECK(cpu_only_options(options).empty());
  using Names = std::vector<std::string>;
  options.mlock = true;
  CHECK(cpu_only_options(options) == Names{"--mlock"});
  options.no_huge_pages = options.pin_threads = true;
  options.threads = 2;
  options.cpu_target = "generic";
  options.packed_cache = "folder";
  CHECK(cpu_only_options(options) ==
        Names{"--mlock", "--no-huge-pages", "--pin-threads", "--threads", "--cpu-target", "--packed-cache"});
}
