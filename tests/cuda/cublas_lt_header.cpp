// SPDX-License-Identifier: Apache-2.0
// cuda/cublas_lt.h against the toolkit's header: compiled where there is one. Run, it opens the library and
// asks for its version.
#include <cublasLt.h>
#include <cstddef>
#include <cstdio>
#include <type_traits>

#include "cuda/cublas_lt.h"

namespace {

using Lt = ttt::cuda::CublasLt;

// Pointers for pointers, and numbers of the same size.
template <typename A, typename B>
constexpr bool passes_as = std::is_pointer_v<A> == std::is_pointer_v<B> && sizeof(A) == sizeof(B);

template <typename R, typename... A, typename S, typename... B>
constexpr bool same_call(R (*)(A...), S (*)(B...)) {
  if constexpr (sizeof...(A) == sizeof...(B)) {
    return passes_as<R, S> && (passes_as<A, B> && ...);
  } else {
    return false;
  }
}

constexpr Lt kNone;
static_assert(same_call(cublasLtCreate, kNone.create) && same_call(cublasLtDestroy, kNone.destroy));
static_assert(same_call(cublasLtGetVersion, kNone.version));
static_assert(same_call(cublasLtMatmulDescCreate, kNone.desc_create));
static_assert(same_call(cublasLtMatmulDescDestroy, kNone.desc_destroy));
static_assert(same_call(cublasLtMatmulDescSetAttribute, kNone.desc_set));
static_assert(same_call(cublasLtMatrixLayoutCreate, kNone.layout_create));
static_assert(same_call(cublasLtMatrixLayoutDestroy, kNone.layout_destroy));
static_assert(same_call(cublasLtMatrixLayoutSetAttribute, kNone.layout_set));
static_assert(same_call(cublasLtMatmulPreferenceCreate, kNone.preference_create));
static_assert(same_call(cublasLtMatmulPreferenceDestroy, kNone.preference_destroy));
static_assert(same_call(cublasLtMatmulPreferenceSetAttribute, kNone.preference_set));
static_assert(same_call(cublasLtMatmulAlgoGetHeuristic, kNone.find_algorithms));
static_assert(same_call(cublasLtMatmul, kNone.multiply));

static_assert(Lt::kSuccess == CUBLAS_STATUS_SUCCESS && Lt::kInvalidValue == CUBLAS_STATUS_INVALID_VALUE &&
              Lt::kNotSupported == CUBLAS_STATUS_NOT_SUPPORTED);
static_assert(Lt::kTypeF32 == CUDA_R_32F && Lt::kTypeF16 == CUDA_R_16F && Lt::kTypeBF16 == CUDA_R_16BF);
static_assert(Lt::kCompute32F == CUBLAS_COMPUTE_32F);
static_assert(Lt::kNoTranspose == CUBLAS_OP_N && Lt::kTranspose == CUBLAS_OP_T);
static_assert(Lt::kDescTransposeA == CUBLASLT_MATMUL_DESC_TRANSA &&
              Lt::kDescTransposeB == CUBLASLT_MATMUL_DESC_TRANSB);
static_assert(Lt::kLayoutColumns == CUBLASLT_MATRIX_LAYOUT_COLS);
static_assert(Lt::kPreferenceWorkspaceBytes == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES);

static_assert(sizeof(Lt::Algorithm) == sizeof(cublasLtMatmulAlgo_t));
static_assert(sizeof(Lt::Heuristic) == sizeof(cublasLtMatmulHeuristicResult_t) &&
              offsetof(Lt::Heuristic, algorithm) == offsetof(cublasLtMatmulHeuristicResult_t, algo) &&
              offsetof(Lt::Heuristic, workspace_bytes) ==
                  offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize) &&
              offsetof(Lt::Heuristic, state) == offsetof(cublasLtMatmulHeuristicResult_t, state));

}  // namespace

int main() {
  const Lt* const library = ttt::cuda::cublas_lt();
  if (library == nullptr) {
    std::puts("not run: no cuBLASLt on this machine");
    return 0;
  }
  const std::size_t version = library->version();
  std::printf("cuBLASLt %zu\n", version);
  return version / 10000 == 12 || version / 10000 == 13 ? 0 : 1;
}
