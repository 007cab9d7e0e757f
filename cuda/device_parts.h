// SPDX-License-Identifier: Apache-2.0
// All device memory of a backend: what it is for, how much of it a model needs, and what is said where there
// is not enough. plan_memory() and check_memory() of cuda_backend.h are here.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>

#include "cuda/cublas_lt.h"
#include "cuda/cuda_backend.h"
#include "cuda/device_memory.h"
#include "cuda/device_weights.h"
#include "cuda/forward.h"
#include "cuda/library_products.h"
#include "cuda/state_pool.h"
#include "engine/model.h"

namespace ttt::cuda {

// Null: the own kernels do all products.
const CublasLt* library_for(const CudaOptions& options);

// In the order in which it lies in the arena.
struct DeviceParts {
  // Takes every part's place from the arena; where it does not measure, loads the weights by the stream.
  DeviceParts(const Model& model, const CudaOptions& options, DeviceArena& arena, cudaStream_t stream);

  MemoryPlan plan() const {
    return {.weights = weights_end, .states = states_end - weights_end, .workspace = end - states_end};
  }

  DeviceWeights weights;
  std::size_t weights_end;
  StatePool states;
  std::size_t states_end;
  Workspace work;
  LibraryMemory library_memory;  // empty: the library is not used
  std::size_t end;
};

// Throws DeviceMemoryError with the sum of what is needed. `beyond`: what there was no memory for though the
// sum was free; null: the sum itself is too large.
[[noreturn]] void refuse_memory(const Model& model, const CudaOptions& options, const char* beyond = nullptr);

// An arena of exactly the size that the parts take. Throws DeviceMemoryError.
DeviceArena arena_for(const Model& model, const CudaOptions& options);

// Ready for every matrix of the model; null without a library, and, with a warning, where it cannot be
// used.
std::unique_ptr<LibraryProducts> make_library_products(const DeviceParts& parts, const CudaOptions& options);

}  // namespace ttt::cuda
