// SPDX-License-Identifier: Apache-2.0
// The part of cuBLASLt that is used. Declared here, because neither a build nor a machine has to have it:
// tests/cuda/cublas_lt_header.cpp compares this with the real header where there is one. Names are cuBLASLt's
// but for its prefixes; matrices are column-major.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace ttt::cuda {

struct CublasLt {
  using Status = int;
  static constexpr Status kSuccess = 0, kInvalidValue = 7, kNotSupported = 15;

  // cudaDataType, cublasComputeType_t, cublasOperation_t and attributes
  static constexpr int kTypeF32 = 0, kTypeF16 = 2, kTypeBF16 = 14;
  static constexpr int kCompute32F = 68;
  static constexpr int kNoTranspose = 0, kTranspose = 1;
  static constexpr int kDescTransposeA = 3, kDescTransposeB = 4;
  static constexpr int kLayoutColumns = 3;
  static constexpr int kPreferenceWorkspaceBytes = 1;

  // Matrices begin at multiples of it, unless a preference says otherwise.
  static constexpr std::size_t kAlignment = 256;

  struct Algorithm {
    std::uint64_t data[8];
  };
  struct Heuristic {
    Algorithm algorithm;
    std::size_t workspace_bytes;
    Status state;
    float waves_count;
    int reserved[4];
  };

  struct HandleTag;
  struct DescTag;
  struct LayoutTag;
  struct PreferenceTag;
  using Handle = HandleTag*;
  using Desc = DescTag*;
  using Layout = LayoutTag*;
  using Preference = PreferenceTag*;

  Status (*create)(Handle*) = nullptr;
  Status (*destroy)(Handle) = nullptr;
  std::size_t (*version)() = nullptr;  // 10000 * major + 100 * minor + patch
  Status (*desc_create)(Desc*, int compute_type, int scale_type) = nullptr;
  Status (*desc_destroy)(Desc) = nullptr;
  Status (*desc_set)(Desc, int attribute, const void* value, std::size_t bytes) = nullptr;
  Status (*layout_create)(Layout*, int type, std::uint64_t rows, std::uint64_t columns,
                          std::int64_t stride) = nullptr;
  Status (*layout_destroy)(Layout) = nullptr;
  Status (*layout_set)(Layout, int attribute, const void* value, std::size_t bytes) = nullptr;
  Status (*preference_create)(Preference*) = nullptr;
  Status (*preference_destroy)(Preference) = nullptr;
  Status (*preference_set)(Preference, int attribute, const void* value, std::size_t bytes) = nullptr;
  Status (*find_algorithms)(Handle, Desc, Layout a, Layout b, Layout c, Layout d, Preference, int wanted,
                            Heuristic* found, int* num_found) = nullptr;
  // d = alpha op(a) op(b) + beta c; alpha and beta are floats of the host.
  Status (*multiply)(Handle, Desc, const void* alpha, const void* a, Layout, const void* b, Layout,
                     const void* beta, const void* c, Layout, void* d, Layout, const Algorithm*,
                     void* workspace, std::size_t workspace_bytes, cudaStream_t) = nullptr;
};

// The installed library, opened when it is first asked for; null where there is none.
const CublasLt* cublas_lt();

// "13.1.2"
std::string version_of(const CublasLt& library);

}  // namespace ttt::cuda
