// SPDX-License-Identifier: Apache-2.0
#include "cuda/kernels/elementwise.cuh"

#include "cuda/kernels/threads_for.h"
#include "cuda/launch.cuh"

namespace ttt::cuda {
namespace {

LaunchShape by_elements(std::size_t size) {
  const std::uint32_t threads = threads_for(size);
  return {static_cast<std::uint32_t>((size + threads - 1) / threads), 1, threads, 0};
}

LaunchShape by_pairs(const RopeParams& params) {
  return {params.num_rows, 1, threads_for(params.width / 2), 0};
}

}  // namespace

void launch_embed(const EmbedParams& params, cudaStream_t stream) {
  const LaunchShape shape{params.num_rows, 1, threads_for(params.table.inputs), 0};
  switch (params.table.type) {
    case MatrixType::kF32:
      return launch(embed<Plain<float>>, shape, params, stream);
    case MatrixType::kF16:
      return launch(embed<Plain<Half>>, shape, params, stream);
    case MatrixType::kBF16:
      return launch(embed<Plain<Bfloat16>>, shape, params, stream);
    case MatrixType::kQ8_0:
      return launch(embed<Blocks<Q8_0Weights>>, shape, params, stream);
    case MatrixType::kQ4_0:
      return launch(embed<Blocks<Q4_0Weights>>, shape, params, stream);
    case MatrixType::kQ4_K:
      return launch(embed<Blocks<Q4_KWeights>>, shape, params, stream);
    case MatrixType::kQ6_K:
      return launch(embed<Blocks<Q6_KWeights>>, shape, params, stream);
  }
}

void launch_rms_norm(const RmsNormParams& params, cudaStream_t stream) {
  params.width % 4 == 0 ? launch(rms_norm<4>, by_rows(params.num_rows, params.width, 4), params, stream)
                        : launch(rms_norm<1>, by_rows(params.num_rows, params.width, 1), params, stream);
}

void launch_gated_norm(const GatedNormParams& params, cudaStream_t stream) {
  params.width % 4 == 0 ? launch(gated_norm<4>, by_rows(params.num_rows, params.width, 4), params, stream)
                        : launch(gated_norm<1>, by_rows(params.num_rows, params.width, 1), params, stream);
}

void launch_add(const AddParams& params, cudaStream_t stream) {
  launch(add, by_elements(params.size), params, stream);
}

void launch_silu_multiply(const SiluMultiplyParams& params, cudaStream_t stream) {
  launch(silu_multiply, by_elements(params.size), params, stream);
}

void launch_rates(const RatesParams& params, cudaStream_t stream) {
  launch(rates, by_elements(std::size_t{params.num_rows} * params.heads), params, stream);
}

void launch_rope(const RopeParams& params, cudaStream_t stream) {
  launch(rope, by_pairs(params), params, stream);
}

void launch_rope_operands(const RopeOperandsParams& params, cudaStream_t stream) {
  launch(rope_operands, by_pairs(params.rope), params, stream);
}

}  // namespace ttt::cuda
