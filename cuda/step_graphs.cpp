// SPDX-License-Identifier: Apache-2.0
#include "cuda/step_graphs.h"

#include <algorithm>
#include <exception>
#include <utility>

namespace ttt::cuda {

StepGraphs::Entry* StepGraphs::find(const StepShape& shape) {
  const auto entry = std::ranges::find(entries_, shape, &Entry::shape);
  if (entry == entries_.end()) return nullptr;
  entry->last_use = ++uses_;
  return &*entry;
}

StepGraphs::Entry& StepGraphs::add(const StepShape& shape) {
  if (entries_.size() < kMostShapes) entries_.emplace_back();
  Entry& entry = *std::ranges::min_element(entries_, {}, &Entry::last_use);
  entry = {.shape = shape, .graph = nullptr, .last_use = ++uses_};
  return entry;
}

bool StepGraphs::launch(const StepShape& shape) {
  Entry* const entry = find(shape);
  if (entry == nullptr || entry->graph == nullptr) return false;
  if (cudaGraphLaunch(entry->graph.get(), stream_) == cudaSuccess) return true;
  cudaGetLastError();  // piece by piece it may go, or say why not
  entry->graph.reset();
  return false;
}

void StepGraphs::make(const StepShape& shape, const std::function<void()>& put) {
  if (find(shape) != nullptr) return;
  Entry& entry = add(shape);
  cudaGraphExec_t executable = nullptr;
  const Owner<cudaGraph_t> graph = capture(put);
  if (graph != nullptr && cudaGraphInstantiate(&executable, graph.get(), 0) == cudaSuccess) {
    entry.graph.reset(executable);
  } else {
    cudaGetLastError();  // the step has been put on the stream without: nobody needs to know
  }
}

// Null: something was refused. The stream is as before either way.
StepGraphs::Owner<cudaGraph_t> StepGraphs::capture(const std::function<void()>& put) const {
  // Other threads may allocate and wait meanwhile.
  if (cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal) != cudaSuccess) return nullptr;
  bool is_whole = true;
  try {
    put();
  } catch (const std::exception&) {
    is_whole = false;
  }
  cudaGraph_t graph = nullptr;
  is_whole = cudaStreamEndCapture(stream_, &graph) == cudaSuccess && is_whole;
  Owner<cudaGraph_t> owner(graph);
  return is_whole ? std::move(owner) : nullptr;
}

}  // namespace ttt::cuda
