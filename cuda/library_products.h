// SPDX-License-Identifier: Apache-2.0
// Products of many rows by cuBLASLt: 16-bit operands, fp32 sums and results. Which algorithm multiplies a
// matrix is decided when the matrix is there, once for each power of two of rows, so that a step asks nothing
// and allocates nothing. Bits of a row may change with the algorithm, that is with the number of rows.
//
// A quantised matrix is expanded to fp16 for each product, into one place that all share: products of a
// stream run one after another.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>
#include <vector>

#include "cuda/cublas_lt.h"
#include "cuda/kernels/matrix.h"
#include "cuda/product.h"

namespace ttt::cuda {

// Fewer rows than this are the own kernels': they read weights, and have the same bits in any company.
inline constexpr std::uint32_t kLeastLibraryRows = 33;
// The same for quantised matrices: to expand one costs as much as some sixty rows of the own kernel
// (docs/decisions/0014-fast-on-the-gpu.md).
inline constexpr std::uint32_t kLeastExpandedRows = 128;
inline constexpr std::size_t kLibraryWorkspaceBytes = 32U << 20;

// Device memory that the products use.
struct LibraryMemory {
  void* workspace = nullptr;          // kLibraryWorkspaceBytes
  std::uint16_t* expanded = nullptr;  // [num_expanded] weights of a matrix in fp16
  std::size_t num_expanded = 0;
};

class LibraryProducts {
 public:
  // For the current device. Throws std::runtime_error if the library cannot be used.
  LibraryProducts(const CublasLt& library, const LibraryMemory& memory);

  // Decides for products of up to max_rows with matrices of this shape and type; does nothing for a matrix in
  // fp32, nor for a quantised one that is larger than what it would be expanded into.
  void prepare(const Matrix& weight, std::uint32_t max_rows);

  // False: y is as it was, because it is not prepared or the library does not do it.
  bool run(const Product& product, cudaStream_t stream) const;

 private:
  template <typename Handle>
  using Owner = std::unique_ptr<std::remove_pointer_t<Handle>, CublasLt::Status (*)(Handle)>;

  // One shape of matrix, quantised ones among those in fp16. In the library's view:
  // y [n, rows] = op(W [k, n]) x [k, rows], by columns.
  struct Shape {
    std::uint32_t outputs = 0, inputs = 0;
    MatrixType type = MatrixType::kF16;  // kF16 or kBF16
    Owner<CublasLt::Desc> desc;
    Owner<CublasLt::Layout> weight, x, y;
    std::vector<CublasLt::Algorithm> algorithms;  // for 64, 128, 256, ... rows
  };
  const Shape* find(const Matrix& weight) const;
  Shape make_shape(const Matrix& weight) const;
  Owner<CublasLt::Layout> make_layout(int type, std::uint64_t rows, std::uint64_t columns) const;
  void set_rows(const Shape& shape, std::uint64_t rows) const;
  const void* halves_of(const Matrix& weight) const;

  const CublasLt& library_;
  LibraryMemory memory_;
  Owner<CublasLt::Handle> handle_;
  Owner<CublasLt::Preference> preference_;
  std::vector<Shape> shapes_;
};

}  // namespace ttt::cuda
