// SPDX-License-Identifier: Apache-2.0
// Backend 1: the CPU. Weights are used where they lie in the mapped file.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>

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
};

// `model` and its checkpoint must outlive the backend. Everything is allocated here; a step allocates
// nothing, unless it wants more log-probabilities than any step before it. Throws std::bad_alloc.
std::unique_ptr<Backend> make_cpu_backend(const Model& model, const CpuOptions& options);

// Which kernels this build runs; also in BackendInfo.
std::string_view dispatch_target();

}  // namespace ttt::cpu
