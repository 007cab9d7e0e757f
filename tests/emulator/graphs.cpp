// SPDX-License-Identifier: Apache-2.0
// Captures and graphs of the emulated CUDA runtime. A graph is a row of work; launching it puts all of it on
// a stream.
#include <utility>

#include "tests/emulator/machine.h"

namespace ttt::emulator {
namespace {

// Whether what this thread does is of concern to the capture.
bool concerns(const Capture& capture) {
  return capture.mode == cudaStreamCaptureModeGlobal ||
         (capture.mode == cudaStreamCaptureModeThreadLocal && capture.thread == std::this_thread::get_id());
}

}  // namespace

cudaError_t refuse_while_capturing() {
  cudaError_t refused = cudaSuccess;
  for (CUstream_st* const stream : machine().streams) {
    if (stream->capture == nullptr || !concerns(*stream->capture)) continue;
    stream->capture->is_spoiled = true;
    refused = cudaErrorStreamCaptureUnsupported;
  }
  return refused;
}

cudaError_t refuse_on_capturing(cudaStream_t stream) {
  if (!machine().streams.contains(stream) || stream->capture == nullptr) return cudaSuccess;
  stream->capture->is_spoiled = true;
  return cudaErrorStreamCaptureUnsupported;
}

}  // namespace ttt::emulator

using namespace ttt::emulator;

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  const Lock lock(machine().mutex);
  if (machine().sticky_error != cudaSuccess) return machine().sticky_error;
  if (stream == nullptr) return report(cudaErrorStreamCaptureUnsupported);
  if (!machine().streams.contains(stream)) return report(cudaErrorInvalidResourceHandle);
  if (stream->capture != nullptr) return report(cudaErrorInvalidValue);
  stream->capture = std::make_unique<Capture>(
      Capture{.graph = std::make_unique<CUgraph_st>(), .mode = mode, .thread = std::this_thread::get_id()});
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const Lock lock(machine().mutex);
  *graph = nullptr;
  if (!machine().streams.contains(stream)) return report(cudaErrorInvalidResourceHandle);
  if (stream->capture == nullptr) return report(cudaErrorInvalidValue);
  if (stream->capture->mode != cudaStreamCaptureModeRelaxed &&
      stream->capture->thread != std::this_thread::get_id()) {
    return report(cudaErrorStreamCaptureWrongThread);
  }
  const std::unique_ptr<Capture> capture = std::move(stream->capture);
  if (machine().sticky_error != cudaSuccess) return machine().sticky_error;
  if (capture->is_spoiled) return report(cudaErrorStreamCaptureInvalidated);
  *graph = capture->graph.release();
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  const Lock lock(machine().mutex);
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  const Lock lock(machine().mutex);
  *executable = nullptr;
  if (machine().sticky_error != cudaSuccess) return machine().sticky_error;
  if (graph == nullptr) return report(cudaErrorInvalidValue);
  if (takes_effect_now(machine().failing_allocation)) return report(cudaErrorMemoryAllocation);
  *executable = new CUgraphExec_st{graph->nodes};
  machine().graphs.insert(*executable);
  ++machine().counters.graphs_made;
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  const Lock lock(machine().mutex);
  if (machine().sticky_error != cudaSuccess) return machine().sticky_error;
  if (!machine().graphs.contains(executable)) return report(cudaErrorInvalidValue);
  if (const cudaError_t refused = refuse_on_capturing(stream); refused != cudaSuccess) return report(refused);
  ++machine().counters.launch_calls;
  if (takes_effect_now(machine().failing_launch)) return report(cudaErrorLaunchOutOfResources);
  ++machine().counters.graph_launches;
  for (const SharedWork& node : executable->nodes) {
    if (const cudaError_t error = put(stream, node); error != cudaSuccess) return report(error);
  }
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  const Lock lock(machine().mutex);
  if (machine().graphs.erase(executable) == 0) return report(cudaErrorInvalidValue);
  delete executable;
  return cudaSuccess;
}
