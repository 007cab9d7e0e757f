// SPDX-License-Identifier: Apache-2.0
// CUDA graphs of decode steps: hundreds of small kernels that are launched as one thing. A graph is made once
// for each shape, and launched in every later step of that shape.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <type_traits>
#include <vector>

#include "cuda/step_shape.h"

namespace ttt::cuda {

class StepGraphs {
 public:
  // As many shapes are known at once; of more, the one that was used longest ago is forgotten.
  static constexpr std::size_t kMostShapes = 64;

  // REQUIRES: the stream outlives this and has nothing left to do when this ends.
  explicit StepGraphs(cudaStream_t stream) : stream_(stream) { entries_.reserve(kMostShapes); }

  // Puts a step of this shape on the stream. False: there is no graph, or its launch was refused, and then
  // there is none from here on; nothing was put.
  bool launch(const StepShape& shape);

  // Makes the graph of a shape unless it is known. `put` puts such a step on the stream, and has done so
  // before: a kernel's first launch may load it, which not every driver does in a capture. Nothing is put on
  // the stream. A shape whose graph cannot be made is known too, so that it is not tried at every step.
  void make(const StepShape& shape, const std::function<void()>& put);

 private:
  struct Destroy {
    void operator()(cudaGraph_t graph) const { cudaGraphDestroy(graph); }
    void operator()(cudaGraphExec_t graph) const { cudaGraphExecDestroy(graph); }
  };
  template <typename Handle>
  using Owner = std::unique_ptr<std::remove_pointer_t<Handle>, Destroy>;

  struct Entry {
    StepShape shape;
    Owner<cudaGraphExec_t> graph;  // null: it could not be made
    std::uint64_t last_use = 0;
  };
  Entry* find(const StepShape& shape);
  Entry& add(const StepShape& shape);
  Owner<cudaGraph_t> capture(const std::function<void()>& put) const;

  cudaStream_t stream_;
  std::vector<Entry> entries_;
  std::uint64_t uses_ = 0;
};

}  // namespace ttt::cuda
