// SPDX-License-Identifier: Apache-2.0
// Backend 1: the CPU. Matrices are packed for the kernels when it is made, and the pages that they came from
// are let go.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "cpu/packed_cache.h"
#include "engine/backend.h"
#include "engine/model.h"

namespace ttt::cpu {

struct CpuOptions {
  std::size_t num_slots = 1;
  std::size_t max_batch_tokens = 512;
  std::size_t max_logits_rows = 1;
  // Work of fewer multiply-adds is not shared between threads: some 20 us of one. It changes no result.
  std::size_t min_parallel_work = 100'000;
  std::size_t num_threads = 0;  // 0: available_processors() of cpu/processors.h
  // Ties each thread but the caller's to a processor of its own, where there are enough, the threads spread
  // over the memory nodes: then the weights that it packed, and so placed, stay near to it.
  bool pin_threads = false;
  // One of cpu_targets() of cpu/dispatch.h; empty: the best. It holds for the whole process: the backend made
  // last decides for all, so that backends of one process should agree.
  std::string cpu_target = {};
  std::optional<PackedCacheOptions> packed_cache = {};
};

// Memory of a backend, in bytes, known before anything is allocated and before a weight is read. The weights
// are beside the mapped file, whose pages are let go as they are packed. Those of a packed cache count in
// full, though the system may drop and read them again.
struct MemoryPlan {
  std::uint64_t weights = 0;
  std::uint64_t fetched = 0;  // the weight that is being packed, before there are states and workspace
  std::uint64_t states = 0;   // of all slots
  std::uint64_t workspace = 0;

  std::uint64_t total() const { return weights + std::max(fetched, states + workspace); }
};
MemoryPlan plan_memory(const Model& model, const CpuOptions& options);

// `model` and its checkpoint must outlive the backend. Everything is allocated here; a step allocates
// nothing, unless it wants more log-probabilities than any step before it. Throws std::bad_alloc, and
// std::invalid_argument for a cpu_target that this machine does not have.
std::unique_ptr<Backend> make_cpu_backend(const Model& model, const CpuOptions& options);

}  // namespace ttt::cpu
