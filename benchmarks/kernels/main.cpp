// SPDX-License-Identifier: Apache-2.0
// Each kernel of the CPU backend checked, then timed beside the machine's limit in the same program
// (measure.h). Ends with 1 where a kernel was wrong: then it has no time. usage: kernels_benchmark
// [--threads=N] [--target=NAME] [options of Google Benchmark: --help]
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "benchmarks/kernels/measure.h"
#include "cpu/dispatch.h"
#include "cpu/processors.h"

namespace ttt::bench {
namespace {

[[noreturn]] void fail(const std::string& what) {
  fmt::print(stderr, "kernels_benchmark: {}\n", what);
  std::exit(2);
}

int run(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);  // takes its own options away
  std::size_t threads = cpu::available_processors();
  std::string_view target;
  for (const std::string_view argument : std::vector<std::string_view>(argv + 1, argv + argc)) {
    if (argument.starts_with("--threads=")) {
      threads = std::strtoul(argument.substr(10).data(), nullptr, 10);
    } else if (argument.starts_with("--target=")) {
      target = argument.substr(9);
    } else {
      fail(fmt::format("what is {}? usage: kernels_benchmark [--threads=N] [--target=NAME] [--benchmark_...]",
                       argument));
    }
  }
  if (threads == 0 || threads > 1024) fail("--threads goes from 1 to 1024");
  try {
    cpu::choose_target(target);
  } catch (const std::invalid_argument& error) {
    fail(error.what());
  }
  benchmark::AddCustomContext("processor", cpu::processor_name());
  benchmark::AddCustomContext("threads", std::to_string(threads));
  benchmark::AddCustomContext("target", cpu::dispatch_target());
  Machine machine(threads);
  add_products(machine);
  add_inner_loops(machine);
  add_inner_loop_parts(machine);
  add_row_kernels(machine);
  add_convolutions(machine);
  add_head_kernels(machine);
  add_state_copies(machine);
  benchmark::RunSpecifiedBenchmarks();
  return machine.failed ? 1 : 0;
}

}  // namespace
}  // namespace ttt::bench

int main(int argc, char** argv) { return ttt::bench::run(argc, argv); }
