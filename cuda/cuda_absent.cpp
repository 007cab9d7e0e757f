// SPDX-License-Identifier: Apache-2.0
// cuda_backend.h in a build without a CUDA toolkit.
#include "cuda/cuda_backend.h"

namespace ttt::cuda {

bool cuda_built() { return false; }

std::string cuda_description() { return "built without CUDA; configure with -DTTT_CUDA=ON"; }

std::string driver_fault() { return {}; }

std::vector<CudaDevice> cuda_devices() { return {}; }

std::string why_unusable(int) { return cuda_description(); }

std::string why_not_started(int) { return cuda_description(); }

MemoryPlan plan_memory(const Model&, const CudaOptions&) { throw DeviceError(cuda_description()); }

void check_memory(const Model&, const CudaOptions&) { throw DeviceError(cuda_description()); }

std::unique_ptr<Backend> make_cuda_backend(const Model&, const CudaOptions&) {
  throw DeviceError(cuda_description());
}

std::unique_ptr<MachineProbe> make_machine_probe(int) { throw DeviceError(cuda_description()); }

}  // namespace ttt::cuda
