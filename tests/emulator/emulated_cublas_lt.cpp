// SPDX-License-Identifier: Apache-2.0
// cuBLASLt on the CPU, as strict as the manual: descriptors, types, strides, alignment and sizes are looked
// at, and an algorithm multiplies nothing but what it was found for. What it computes is computed by value,
// each sum in two halves, of even and odd terms: right, and not bit by bit what any kernel of the project
// gives.
#include <cuda_runtime.h>
#include <emulated_cublas_lt.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "cuda/cublas_lt.h"
#include "cuda/kernels/device.cuh"

namespace ttt::cuda {

struct CublasLt::HandleTag {
  int device = 0;
};
struct CublasLt::DescTag {
  int compute_type = 0, scale_type = 0;
  std::int32_t transpose_a = kNoTranspose, transpose_b = kNoTranspose;
};
struct CublasLt::LayoutTag {
  int type = 0;
  std::uint64_t rows = 0, columns = 0;
  std::int64_t stride = 0;
};
struct CublasLt::PreferenceTag {
  std::uint64_t workspace_bytes = 0;
};

}  // namespace ttt::cuda

namespace ttt::emulator {
namespace {

using cuda::CublasLt;
using Status = CublasLt::Status;

bool is_installed = false;
std::size_t refused_outputs = 0;
std::size_t refused_product[2] = {};  // outputs and rows
Status creation_status = CublasLt::kSuccess;

template <typename Object, typename... Arguments>
Status make(Object** object, Arguments... arguments) {
  const Uncounted uncounted;
  *object = new Object{arguments...};
  return CublasLt::kSuccess;
}

template <typename Object>
Status destroy(Object* object) {
  const Uncounted uncounted;
  delete object;
  return CublasLt::kSuccess;
}

template <typename Value>
Status set(Value& value, const void* from, std::size_t bytes) {
  if (bytes != sizeof value) return CublasLt::kInvalidValue;
  std::memcpy(&value, from, bytes);
  return CublasLt::kSuccess;
}

Status create(CublasLt::Handle* handle) {
  if (creation_status != CublasLt::kSuccess) return creation_status;
  int device = 0;
  cudaGetDevice(&device);
  return make(handle, device);
}

Status desc_create(CublasLt::Desc* desc, int compute_type, int scale_type) {
  return make(desc, compute_type, scale_type);
}

Status desc_set(CublasLt::Desc desc, int attribute, const void* value, std::size_t bytes) {
  if (attribute == CublasLt::kDescTransposeA) return set(desc->transpose_a, value, bytes);
  if (attribute == CublasLt::kDescTransposeB) return set(desc->transpose_b, value, bytes);
  return CublasLt::kInvalidValue;
}

Status layout_create(CublasLt::Layout* layout, int type, std::uint64_t rows, std::uint64_t columns,
                     std::int64_t stride) {
  if (stride < static_cast<std::int64_t>(rows)) return CublasLt::kInvalidValue;
  return make(layout, type, rows, columns, stride);
}

Status layout_set(CublasLt::Layout layout, int attribute, const void* value, std::size_t bytes) {
  return attribute == CublasLt::kLayoutColumns ? set(layout->columns, value, bytes) : CublasLt::kInvalidValue;
}

Status preference_create(CublasLt::Preference* preference) { return make(preference); }

Status preference_set(CublasLt::Preference preference, int attribute, const void* value, std::size_t bytes) {
  return attribute == CublasLt::kPreferenceWorkspaceBytes ? set(preference->workspace_bytes, value, bytes)
                                                          : CublasLt::kInvalidValue;
}

// What an algorithm is for, but for the number of columns of b.
CublasLt::Algorithm algorithm_for(CublasLt::Desc desc, CublasLt::Layout a, CublasLt::Layout d) {
  return {{0x7474742D6C74U, static_cast<std::uint64_t>(desc->compute_type),
           static_cast<std::uint64_t>(desc->transpose_a * 2 + desc->transpose_b),
           static_cast<std::uint64_t>(a->type), a->rows, a->columns, d->rows, 0}};
}

// d [m, n] = op(a) [m, k] op(b) [k, n] + c [m, n]
struct Sizes {
  std::uint64_t m = 0, n = 0, k = 0;
};

Sizes sizes_of(CublasLt::Desc desc, CublasLt::Layout a, CublasLt::Layout b) {
  const bool turn_a = desc->transpose_a == CublasLt::kTranspose;
  const bool turn_b = desc->transpose_b == CublasLt::kTranspose;
  return {turn_a ? a->columns : a->rows, turn_b ? b->rows : b->columns, turn_a ? a->rows : a->columns};
}

bool fit(CublasLt::Desc desc, CublasLt::Layout a, CublasLt::Layout b, CublasLt::Layout c,
         CublasLt::Layout d) {
  const Sizes sizes = sizes_of(desc, a, b);
  const bool is_half = a->type == CublasLt::kTypeF16 || a->type == CublasLt::kTypeBF16;
  const std::uint64_t depth_of_b = desc->transpose_b == CublasLt::kTranspose ? b->columns : b->rows;
  return desc->compute_type == CublasLt::kCompute32F && desc->scale_type == CublasLt::kTypeF32 && is_half &&
         b->type == a->type && c->type == CublasLt::kTypeF32 && d->type == CublasLt::kTypeF32 &&
         depth_of_b == sizes.k && c->rows == sizes.m && c->columns == sizes.n && d->rows == sizes.m &&
         d->columns == sizes.n;
}

Status find_algorithms(CublasLt::Handle, CublasLt::Desc desc, CublasLt::Layout a, CublasLt::Layout b,
                       CublasLt::Layout c, CublasLt::Layout d, CublasLt::Preference preference, int wanted,
                       CublasLt::Heuristic* found, int* num_found) {
  *num_found = 0;
  if (wanted < 1 || !fit(desc, a, b, c, d)) return CublasLt::kInvalidValue;
  if (d->rows == refused_outputs) return CublasLt::kNotSupported;
  *found = {algorithm_for(desc, a, d),
            static_cast<std::size_t>(preference->workspace_bytes),
            CublasLt::kSuccess,
            1.0F,
            {}};
  *num_found = 1;
  return CublasLt::kSuccess;
}

float element(const void* matrix, const CublasLt::LayoutTag& layout, bool turned, std::uint64_t row,
              std::uint64_t column) {
  const std::uint64_t at = turned ? row * static_cast<std::uint64_t>(layout.stride) + column
                                  : column * static_cast<std::uint64_t>(layout.stride) + row;
  const std::uint16_t bits = static_cast<const std::uint16_t*>(matrix)[at];
  return layout.type == CublasLt::kTypeF16 ? cuda::load_half(bits) : cuda::load_bf16(bits);
}

std::vector<float> elements(const void* matrix, const CublasLt::LayoutTag& layout, bool turned,
                            std::uint64_t rows, std::uint64_t columns) {
  std::vector<float> values;
  for (std::uint64_t row = 0; row < rows; ++row) {
    for (std::uint64_t column = 0; column < columns; ++column)
      values.push_back(element(matrix, layout, turned, row, column));
  }
  return values;
}

}  // namespace

using cuda::CublasLt;

struct Multiplication {
  CublasLt::DescTag desc;
  CublasLt::LayoutTag a_layout, b_layout, c_layout, d_layout;
  float alpha = 0.0F, beta = 0.0F;
  const void *a = nullptr, *b = nullptr, *c = nullptr;
  void *d = nullptr, *workspace = nullptr;
  std::size_t workspace_bytes = 0;
};

// Not a private name: the emulator counts launches by the names that the program exports.
void cublas_lt_multiply(const Multiplication& p) {
  if (threadIdx.x != 0) return;
  const Uncounted uncounted;
  std::memset(p.workspace, 0xFF, p.workspace_bytes);
  CublasLt::DescTag desc = p.desc;
  CublasLt::LayoutTag a_layout = p.a_layout, b_layout = p.b_layout;
  const auto [m, n, k] = sizes_of(&desc, &a_layout, &b_layout);
  const auto a = elements(p.a, p.a_layout, p.desc.transpose_a == CublasLt::kTranspose, m, k);
  const auto b = elements(p.b, p.b_layout, p.desc.transpose_b == CublasLt::kTranspose, k, n);
  for (std::uint64_t row = 0; row < m; ++row) {
    for (std::uint64_t column = 0; column < n; ++column) {
      float halves[2] = {};
      for (std::uint64_t i = 0; i < k; ++i) halves[i % 2] += a[row * k + i] * b[i * n + column];
      const float sum = p.alpha * (halves[0] + halves[1]);
      const auto at = [&](const CublasLt::LayoutTag& layout) {
        return column * static_cast<std::uint64_t>(layout.stride) + row;
      };
      static_cast<float*>(p.d)[at(p.d_layout)] =
          p.beta == 0.0F ? sum : sum + p.beta * static_cast<const float*>(p.c)[at(p.c_layout)];
    }
  }
}

namespace {

Status multiply(CublasLt::Handle handle, CublasLt::Desc desc, const void* alpha, const void* a,
                CublasLt::Layout a_layout, const void* b, CublasLt::Layout b_layout, const void* beta,
                const void* c, CublasLt::Layout c_layout, void* d, CublasLt::Layout d_layout,
                const CublasLt::Algorithm* algorithm, void* workspace, std::size_t workspace_bytes,
                cudaStream_t stream) {
  int device = 0;
  cudaGetDevice(&device);
  const CublasLt::Algorithm wanted = algorithm_for(desc, a_layout, d_layout);
  if (handle->device != device || !fit(desc, a_layout, b_layout, c_layout, d_layout) ||
      std::memcmp(algorithm, &wanted, sizeof wanted) != 0) {
    return CublasLt::kInvalidValue;
  }
  for (const void* const matrix : {a, b, c, static_cast<const void*>(d)}) {
    if (reinterpret_cast<std::uintptr_t>(matrix) % CublasLt::kAlignment != 0) return CublasLt::kInvalidValue;
  }
  if (d_layout->rows == refused_product[0] && d_layout->columns == refused_product[1]) {
    return CublasLt::kNotSupported;
  }
  Multiplication product{*desc, *a_layout, *b_layout, *c_layout, *d_layout, 0.0F,           0.0F,
                         a,     b,         c,         d,         workspace, workspace_bytes};
  std::memcpy(&product.alpha, alpha, sizeof product.alpha);
  std::memcpy(&product.beta, beta, sizeof product.beta);
  const cudaError_t error = launch_kernel(
      reinterpret_cast<const void*>(cublas_lt_multiply), 1, 1, kWarpSize, 0,
      [product] { cublas_lt_multiply(product); }, stream);
  return error == cudaSuccess ? CublasLt::kSuccess : Status{13};  // CUBLAS_STATUS_EXECUTION_FAILED
}

std::size_t version() { return 130001; }

const CublasLt kEmulatedLibrary{.create = create,
                                .destroy = destroy<CublasLt::HandleTag>,
                                .version = version,
                                .desc_create = desc_create,
                                .desc_destroy = destroy<CublasLt::DescTag>,
                                .desc_set = desc_set,
                                .layout_create = layout_create,
                                .layout_destroy = destroy<CublasLt::LayoutTag>,
                                .layout_set = layout_set,
                                .preference_create = preference_create,
                                .preference_destroy = destroy<CublasLt::PreferenceTag>,
                                .preference_set = preference_set,
                                .find_algorithms = find_algorithms,
                                .multiply = multiply};

}  // namespace

void install_cublas_lt(bool installed) { is_installed = installed; }
void fail_cublas_lt(int status) { creation_status = status; }
void refuse_outputs(std::size_t outputs) { refused_outputs = outputs; }
void refuse_product(std::size_t outputs, std::size_t rows) {
  refused_product[0] = outputs;
  refused_product[1] = rows;
}

}  // namespace ttt::emulator

namespace ttt::cuda {

const CublasLt* cublas_lt() { return emulator::is_installed ? &emulator::kEmulatedLibrary : nullptr; }

}  // namespace ttt::cuda
