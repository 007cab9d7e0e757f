// SPDX-License-Identifier: Apache-2.0
// Counts on a GPU what the emulated runtime counts by itself. The linker (--wrap, tests/cuda/CMakeLists.txt)
// puts each __wrap_function here before the runtime's function, which is __real_function then. And it hides
// cuBLASLt from all tests but those that ask for it, as the emulated machine begins without one.
#include <cuda_runtime_api.h>

#include <map>
#include <mutex>

#include "cuda/cublas_lt.h"
#include "tests/cuda/installed_library.h"
#include "tests/kernel_name.h"
#include "tests/runtime_calls.h"

namespace ttt::test {
namespace {

struct Counted {
  RuntimeCalls calls;
  std::map<cudaStream_t, RuntimeCalls> captures;  // what goes into a graph, while it does
  std::map<cudaGraph_t, RuntimeCalls> graphs;
  std::map<cudaGraphExec_t, RuntimeCalls> executables;
  bool shows_library = false;
  std::mutex mutex;
};

Counted& counted() {
  static Counted all;
  return all;
}

using Lock = std::lock_guard<std::mutex>;

// Whose work it is that is put on the stream. REQUIRES: the lock.
RuntimeCalls& of_stream(cudaStream_t stream) {
  const auto capture = counted().captures.find(stream);
  return capture == counted().captures.end() ? counted().calls : capture->second;
}

void count_launch(cudaStream_t stream, const std::string& name) {
  const Lock lock(counted().mutex);
  ++counted().calls.launch_calls;
  ++of_stream(stream).launches[name];
}

const std::string& name_of(const void* kernel) {
  static std::map<const void*, std::string> names;
  const Lock lock(counted().mutex);
  std::string& name = names[kernel];
  const char* symbol = nullptr;
  if (name.empty() && cudaFuncGetName(&symbol, kernel) == cudaSuccess) name = kernel_name(symbol);
  return name;
}

bool is_pageable(const void* memory) {
  cudaPointerAttributes attributes = {};
  return cudaPointerGetAttributes(&attributes, memory) == cudaSuccess &&
         attributes.type == cudaMemoryTypeUnregistered;
}

void count_copy(cudaStream_t stream, const void* to, const void* from) {
  const bool waits = is_pageable(to) || is_pageable(from);
  const Lock lock(counted().mutex);
  ++of_stream(stream).copies;
  if (waits) ++counted().calls.synchronisations;
}

void count_one(int RuntimeCalls::*what) {
  const Lock lock(counted().mutex);
  ++(counted().calls.*what);
}

}  // namespace

RuntimeCalls runtime_calls() {
  const Lock lock(counted().mutex);
  return counted().calls;
}

void reset_runtime_calls() {
  const Lock lock(counted().mutex);
  counted().calls = {};
}

std::size_t num_graphs() {
  const Lock lock(counted().mutex);
  return counted().executables.size();
}

void show_cublas_lt(bool shown) { counted().shows_library = shown; }

}  // namespace ttt::test

// The names are the linker's.
// NOLINTBEGIN(bugprone-reserved-identifier)
extern "C" {

using ttt::test::RuntimeCalls;

cudaError_t __real_cudaMalloc(void**, std::size_t);
cudaError_t __wrap_cudaMalloc(void** memory, std::size_t bytes) {
  ttt::test::count_one(&RuntimeCalls::allocations);
  return __real_cudaMalloc(memory, bytes);
}

cudaError_t __real_cudaMallocHost(void**, std::size_t);
cudaError_t __wrap_cudaMallocHost(void** memory, std::size_t bytes) {
  ttt::test::count_one(&RuntimeCalls::host_allocations);
  return __real_cudaMallocHost(memory, bytes);
}

cudaError_t __real_cudaFree(void*);
cudaError_t __wrap_cudaFree(void* memory) {
  if (memory != nullptr) ttt::test::count_one(&RuntimeCalls::synchronisations);
  return __real_cudaFree(memory);
}

cudaError_t __real_cudaFreeHost(void*);
cudaError_t __wrap_cudaFreeHost(void* memory) {
  if (memory != nullptr) ttt::test::count_one(&RuntimeCalls::synchronisations);
  return __real_cudaFreeHost(memory);
}

cudaError_t __real_cudaStreamSynchronize(cudaStream_t);
cudaError_t __wrap_cudaStreamSynchronize(cudaStream_t stream) {
  ttt::test::count_one(&RuntimeCalls::synchronisations);
  return __real_cudaStreamSynchronize(stream);
}

cudaError_t __real_cudaDeviceSynchronize();
cudaError_t __wrap_cudaDeviceSynchronize() {
  ttt::test::count_one(&RuntimeCalls::synchronisations);
  return __real_cudaDeviceSynchronize();
}

cudaError_t __real_cudaMemcpyAsync(void*, const void*, std::size_t, cudaMemcpyKind, cudaStream_t);
cudaError_t __wrap_cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind,
                                   cudaStream_t stream) {
  ttt::test::count_copy(stream, to, from);
  return __real_cudaMemcpyAsync(to, from, bytes, kind, stream);
}

cudaError_t __real_cudaMemcpy2DAsync(void*, std::size_t, const void*, std::size_t, std::size_t, std::size_t,
                                     cudaMemcpyKind, cudaStream_t);
cudaError_t __wrap_cudaMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from, std::size_t from_pitch,
                                     std::size_t width, std::size_t height, cudaMemcpyKind kind,
                                     cudaStream_t stream) {
  ttt::test::count_copy(stream, to, from);
  return __real_cudaMemcpy2DAsync(to, to_pitch, from, from_pitch, width, height, kind, stream);
}

cudaError_t __real_cudaLaunchKernelExC(const cudaLaunchConfig_t*, const void*, void**);
cudaError_t __wrap_cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* kernel,
                                       void** arguments) {
  ttt::test::count_launch(config->stream, ttt::test::name_of(kernel));
  return __real_cudaLaunchKernelExC(config, kernel, arguments);
}

cudaError_t __real_cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode);
cudaError_t __wrap_cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  {
    const ttt::test::Lock lock(ttt::test::counted().mutex);
    ttt::test::counted().captures[stream] = {};
  }
  return __real_cudaStreamBeginCapture(stream, mode);
}

cudaError_t __real_cudaStreamEndCapture(cudaStream_t, cudaGraph_t*);
cudaError_t __wrap_cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const cudaError_t error = __real_cudaStreamEndCapture(stream, graph);
  const ttt::test::Lock lock(ttt::test::counted().mutex);
  const auto work = ttt::test::counted().captures.extract(stream);
  if (error == cudaSuccess && !work.empty()) ttt::test::counted().graphs[*graph] = work.mapped();
  return error;
}

cudaError_t __real_cudaGraphDestroy(cudaGraph_t);
cudaError_t __wrap_cudaGraphDestroy(cudaGraph_t graph) {
  {
    const ttt::test::Lock lock(ttt::test::counted().mutex);
    ttt::test::counted().graphs.erase(graph);
  }
  return __real_cudaGraphDestroy(graph);
}

cudaError_t __real_cudaGraphInstantiate(cudaGraphExec_t*, cudaGraph_t, unsigned long long);
cudaError_t __wrap_cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph,
                                        unsigned long long flags) {
  const cudaError_t error = __real_cudaGraphInstantiate(executable, graph, flags);
  const ttt::test::Lock lock(ttt::test::counted().mutex);
  if (error == cudaSuccess) {
    ++ttt::test::counted().calls.graphs_made;
    ttt::test::counted().executables[*executable] = ttt::test::counted().graphs[graph];
  }
  return error;
}

cudaError_t __real_cudaGraphLaunch(cudaGraphExec_t, cudaStream_t);
cudaError_t __wrap_cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  {
    const ttt::test::Lock lock(ttt::test::counted().mutex);
    RuntimeCalls& calls = ttt::test::counted().calls;
    const RuntimeCalls& work = ttt::test::counted().executables[executable];
    ++calls.launch_calls;
    ++calls.graph_launches;
    calls.copies += work.copies;
    for (const auto& [name, count] : work.launches) calls.launches[name] += count;
  }
  return __real_cudaGraphLaunch(executable, stream);
}

cudaError_t __real_cudaGraphExecDestroy(cudaGraphExec_t);
cudaError_t __wrap_cudaGraphExecDestroy(cudaGraphExec_t executable) {
  {
    const ttt::test::Lock lock(ttt::test::counted().mutex);
    ttt::test::counted().executables.erase(executable);
  }
  return __real_cudaGraphExecDestroy(executable);
}

const ttt::cuda::CublasLt* __real__ZN3ttt4cuda9cublas_ltEv();
const ttt::cuda::CublasLt* __wrap__ZN3ttt4cuda9cublas_ltEv() {
  using ttt::cuda::CublasLt;
  static const CublasLt* const real = __real__ZN3ttt4cuda9cublas_ltEv();
  static const CublasLt counting = [] {
    CublasLt library = real != nullptr ? *real : CublasLt{};
    library.multiply = [](CublasLt::Handle handle, CublasLt::Desc desc, const void* alpha, const void* a,
                          CublasLt::Layout a_layout, const void* b, CublasLt::Layout b_layout,
                          const void* beta, const void* c, CublasLt::Layout c_layout, void* d,
                          CublasLt::Layout d_layout, const CublasLt::Algorithm* algorithm, void* workspace,
                          std::size_t workspace_bytes, cudaStream_t stream) {
      const CublasLt::Status status =
          real->multiply(handle, desc, alpha, a, a_layout, b, b_layout, beta, c, c_layout, d, d_layout,
                         algorithm, workspace, workspace_bytes, stream);
      if (status == CublasLt::kSuccess) ttt::test::count_launch(stream, "cublas_lt_multiply");
      return status;
    };
    return library;
  }();
  return real != nullptr && ttt::test::counted().shows_library ? &counting : nullptr;
}

}  // extern "C"
// NOLINTEND(bugprone-reserved-identifier)
