// SPDX-License-Identifier: Apache-2.0
#include "cuda/device_parts.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "cuda/inner_kernel.h"
#include "cuda/use_device.h"

namespace ttt::cuda {
namespace {

// Slots, fewer than those of the options, with which the model would fit into `free` bytes.
std::size_t slots_that_fit(const Model& model, CudaOptions options, std::uint64_t free) {
  std::size_t fits = 0, too_many = options.num_slots;
  while (too_many - fits > 1) {
    options.num_slots = fits + (too_many - fits) / 2;
    (plan_memory(model, options).total() <= free ? fits : too_many) = options.num_slots;
  }
  return fits;
}

std::string readable(std::uint64_t bytes) {
  return fmt::format("{:.2f} GiB", static_cast<double>(bytes) / static_cast<double>(1U << 30));
}

// Those that multiply all rows of a batch.
std::array<const Matrix*, 9> matrices_of(const DeviceLayerWeights& layer) {
  return {&layer.attn_q,    &layer.attn_k,   &layer.attn_v, &layer.gate,    &layer.attn_output,
          &layer.lr_weight, &layer.ffn_gate, &layer.ffn_up, &layer.ffn_down};
}

// Weights of the largest quantised matrix that the library multiplies. The head is none: it never has so
// many rows.
std::size_t most_expanded(const DeviceWeights& weights, const CudaOptions& options) {
  static_assert(kHeadRows < kLeastExpandedRows);
  if (options.max_batch_tokens < kLeastExpandedRows) return 0;
  std::size_t most = 0;
  for (const DeviceLayerWeights& layer : weights.layers) {
    for (const Matrix* const matrix : matrices_of(layer)) {
      if (is_block_type(matrix->type)) most = std::max(most, std::size_t{matrix->outputs} * matrix->inputs);
    }
  }
  return most;
}

LibraryMemory take_library_memory(const DeviceWeights& weights, const CudaOptions& options,
                                  DeviceArena& arena) {
  if (library_for(options) == nullptr) return {};
  LibraryMemory memory{.workspace = arena.take<std::byte>(kLibraryWorkspaceBytes),
                       .num_expanded = most_expanded(weights, options)};
  memory.expanded = arena.take<std::uint16_t>(memory.num_expanded);
  return memory;
}

}  // namespace

void refuse_memory(const Model& model, const CudaOptions& options, const char* beyond) {
  const auto [free, all] = memory_of(options.device);
  const MemoryPlan plan = plan_memory(model, options);
  const std::string sum = fmt::format(
      "cuda:{} has {} free of {}, and {} are needed (weights {}, states of {} sequences {}, workspace {}, "
      "kept for CUDA itself {})",
      options.device, readable(free), readable(all), readable(plan.total()), readable(plan.weights),
      options.num_slots, readable(plan.states), readable(plan.workspace), readable(kReservedBytes));
  if (beyond != nullptr) {
    throw DeviceMemoryError(fmt::format(
        "{}, but more was taken meanwhile, by CUDA or by another program ({}): run fewer sequences, or use "
        "--device cpu",
        sum, beyond));
  }
  const std::size_t slots = slots_that_fit(model, options, free);
  throw DeviceMemoryError(fmt::format(
      "{}: {}", sum,
      slots > 0
          ? fmt::format("{} sequences would fit", slots)
          : "not even one sequence would fit; convert the model with --type bf16, or use --device cpu"));
}

const CublasLt* library_for(const CudaOptions& options) {
  return options.precision == Precision::kFast && !options.deterministic ? cublas_lt() : nullptr;
}

DeviceParts::DeviceParts(const Model& model, const CudaOptions& options, DeviceArena& arena,
                         cudaStream_t stream)
    : weights(model, options.precision, arena, stream),
      weights_end(arena.used()),
      states(model.config, options.num_slots, arena),
      states_end(arena.used()),
      work(model.config, options, arena),
      library_memory(take_library_memory(weights, options, arena)),
      end(arena.used()) {}

DeviceArena arena_for(const Model& model, const CudaOptions& options) {
  DeviceArena arena;
  const DeviceParts measured(model, options, arena, nullptr);
  // There was room when the plan was looked at.
  if (!arena.allocate()) refuse_memory(model, options, "allocation of device memory: out of memory");
  return arena;
}

std::unique_ptr<LibraryProducts> make_library_products(const DeviceParts& parts, const CudaOptions& options) {
  const CublasLt* const library = library_for(options);
  if (library == nullptr) return nullptr;
  try {
    auto products = std::make_unique<LibraryProducts>(*library, parts.library_memory);
    const auto max_rows = static_cast<std::uint32_t>(options.max_batch_tokens);
    for (const DeviceLayerWeights& layer : parts.weights.layers) {
      for (const Matrix* const matrix : matrices_of(layer)) products->prepare(*matrix, max_rows);
    }
    products->prepare(parts.weights.output, std::min(max_rows, static_cast<std::uint32_t>(kHeadRows)));
    return products;
  } catch (const std::runtime_error& error) {
    cudaGetLastError();  // it is reported here
    options.warn(
        fmt::format("{}; the own kernels do all products, which reads prompts more slowly", error.what()));
    return nullptr;
  }
}

MemoryPlan plan_memory(const Model& model, const CudaOptions& options) {
  DeviceArena arena;
  return DeviceParts(model, options, arena, nullptr).plan();
}

void check_memory(const Model& model, const CudaOptions& options) {
  use_device(options.device);
  if (inner_kernel(model.config, options.precision) == InnerKernel::kNone) {
    throw DeviceError(
        fmt::format("heads of {} elements are too large for the kernels of a GPU; use --device cpu",
                    model.config.head_size()));
  }
  if (plan_memory(model, options).total() > memory_of(options.device).free) refuse_memory(model, options);
}

}  // namespace ttt::cuda
