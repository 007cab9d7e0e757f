// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/probe.cuh"

#include "cuda/launch.cuh"

namespace ttt::cuda {
namespace {

LaunchShape probe_shape() {
  return {.grid_x = static_cast<unsigned>(num_multiprocessors() * ProbeShape::kBlocks),
          .threads = ProbeShape::kThreads};
}

}  // namespace

cudaError_t look_for_code() {
  cudaFuncAttributes attributes = {};
  return cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(probe_fill));
}

std::size_t num_probe_threads() { return std::size_t{probe_shape().grid_x} * ProbeShape::kThreads; }

void launch_probe_fill(const ProbeFillParams& params, cudaStream_t stream) {
  launch(probe_fill, probe_shape(), params, stream);
}

void launch_probe_read(const ProbeReadParams& params, cudaStream_t stream) {
  launch(probe_read, probe_shape(), params, stream);
}

double launch_probe_multiply_add(const ProbeMultiplyParams& params, cudaStream_t stream) {
  launch(probe_multiply_add, probe_shape(), params, stream);
  return 2.0 * ProbeShape::kChains * ProbeShape::kRepeats * params.rounds *
         static_cast<double>(num_probe_threads());
}

double launch_probe_mma(const ProbeMultiplyParams& params, cudaStream_t stream) {
  launch(probe_mma, probe_shape(), params, stream);
  return static_cast<double>(ProbeShape::kMmaFlops) * ProbeShape::kFragments * params.rounds *
         static_cast<double>(num_probe_threads() / kWarp);
}

}  // namespace ttt::cuda
