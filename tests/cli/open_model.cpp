// SPDX-License-Identifier: Apache-2.0
#include "cli/open_model.h"

#include <catch2/catch.hpp>
#include <stdexcept>

#include "cli/exit_code.h"
#include "tests/cli/test_models.h"

using namespace ttt;
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
  options.numa = "distribute";
  options.threads = 2;
  options.cpu_target = "generic";
  options.packed_cache = "folder";
  CHECK(cpu_only_options(options) == Names{"--mlock", "--no-huge-pages", "--pin-threads", "--numa",
                                           "--threads", "--cpu-target", "--packed-cache"});
}

TEST_CASE("a model that does not fit into memory is refused before its weights are read") {
  ModelOptions options;
  options.device = "cpu";
  options.no_mmap = true;
  const ModelFiles files(test::id_model(), file_access(options));
  Model model = files.model;
  model.fetch = [](const weights::TensorView&, std::vector<std::byte>&) -> std::span<const std::byte> {
    throw std::logic_error("a weight is read");
  };
  BackendLimits limits;
  CHECK_THROWS_AS(make_backend(model, options, limits), std::logic_error);
  limits.slots = std::size_t{1} << 40;
  CHECK_THROWS_AS(make_backend(model, options, limits), MemoryError);
  CHECK_THROWS_AS(check_memory(model, options, limits), MemoryError);
}
