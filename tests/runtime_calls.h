// SPDX-License-Identifier: Apache-2.0
// What the CUDA runtime was asked to do. The emulated runtime counts (tests/emulator); on a GPU wrappers do
// that the linker puts before the real one's functions (tests/cuda/wrapped_runtime.cpp).
#pragma once

#include <cstddef>
#include <map>
#include <string>

namespace ttt::test {

struct RuntimeCalls {
  int allocations = 0, host_allocations = 0;
  int synchronisations =
      0;  // times that the host waited: copies of pageable memory and cudaFree are among them
  int copies = 0, fills = 0;
  // By the kernel's name with its template arguments; those of a graph whenever it is launched. A product of
  // cuBLASLt counts as one, "cublas_lt_multiply".
  std::map<std::string, int> launches;
  int launch_calls = 0;  // of kernels one by one, also into a capture, and of graphs
  int graphs_made = 0, graph_launches = 0;

  int num_launches() const {
    int sum = 0;
    for (const auto& [name, count] : launches) sum += count;
    return sum;
  }
};

// Since the program began, or since the last reset.
RuntimeCalls runtime_calls();
void reset_runtime_calls();

std::size_t num_graphs();  // executable ones that exist

}  // namespace ttt::test
