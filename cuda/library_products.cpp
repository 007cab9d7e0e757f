// SPDX-License-Identifier: Apache-2.0
#include "cuda/library_products.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <stdexcept>
#include <utility>

#include "cuda/kernels/expand_weights.h"

namespace ttt::cuda {
namespace {

constexpr std::uint32_t kLeastBucket = 64;

// Of powers of two from kLeastBucket: the first that has room.
std::size_t bucket_of(std::uint32_t rows) {
  const std::uint32_t bucket = std::max(std::bit_ceil(rows), kLeastBucket);
  return static_cast<std::size_t>(std::countr_zero(bucket) - std::countr_zero(kLeastBucket));
}

void check_library(CublasLt::Status status, const char* what) {
  if (status != CublasLt::kSuccess) {
    constexpr CublasLt::Status kAllocationFailed = 3;
    throw std::runtime_error(fmt::format("cuBLASLt: {} failed with status {}{}", what, status,
                                         status == kAllocationFailed ? ", out of memory" : ""));
  }
}

// A descriptor or handle that `create` makes of these arguments.
template <typename Handle, typename... Parameters, typename... Arguments>
auto make_owner(CublasLt::Status (*create)(Handle*, Parameters...), CublasLt::Status (*destroy)(Handle),
                Arguments... arguments) {
  Handle handle = nullptr;
  check_library(create(&handle, arguments...), "preparing products");
  return std::unique_ptr<std::remove_pointer_t<Handle>, CublasLt::Status (*)(Handle)>(handle, destroy);
}

// What the library multiplies in place of it.
MatrixType library_type(MatrixType type) { return is_block_type(type) ? MatrixType::kF16 : type; }

std::uint32_t least_rows(const Matrix& weight) {
  return is_block_type(weight.type) ? kLeastExpandedRows : kLeastLibraryRows;
}

std::size_t num_weights(const Matrix& weight) { return std::size_t{weight.outputs} * weight.inputs; }

bool is_aligned(const void* at) { return reinterpret_cast<std::uintptr_t>(at) % CublasLt::kAlignment == 0; }

}  // namespace

std::string version_of(const CublasLt& library) {
  const std::size_t version = library.version();
  return fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

LibraryProducts::LibraryProducts(const CublasLt& library, const LibraryMemory& memory)
    : library_(library),
      memory_(memory),
      handle_(make_owner(library.create, library.destroy)),
      preference_(make_owner(library.preference_create, library.preference_destroy)) {
  const std::uint64_t bytes = kLibraryWorkspaceBytes;
  check_library(
      library_.preference_set(preference_.get(), CublasLt::kPreferenceWorkspaceBytes, &bytes, sizeof bytes),
      "limiting the workspace");
}

LibraryProducts::Owner<CublasLt::Layout> LibraryProducts::make_layout(int type, std::uint64_t rows,
                                                                      std::uint64_t columns) const {
  return make_owner(library_.layout_create, library_.layout_destroy, type, rows, columns,
                    static_cast<std::int64_t>(rows));
}

LibraryProducts::Shape LibraryProducts::make_shape(const Matrix& weight) const {
  const MatrixType multiplied = library_type(weight.type);
  const int type = multiplied == MatrixType::kF16 ? CublasLt::kTypeF16 : CublasLt::kTypeBF16;
  Shape shape{.outputs = weight.outputs,
              .inputs = weight.inputs,
              .type = multiplied,
              .desc = make_owner(library_.desc_create, library_.desc_destroy, CublasLt::kCompute32F,
                                 CublasLt::kTypeF32),
              .weight = make_layout(type, weight.inputs, weight.outputs),
              .x = make_layout(type, weight.inputs, kLeastBucket),
              .y = make_layout(CublasLt::kTypeF32, weight.outputs, kLeastBucket),
              .algorithms = {}};
  for (const auto& [attribute, operation] : {std::pair(CublasLt::kDescTransposeA, CublasLt::kTranspose),
                                             std::pair(CublasLt::kDescTransposeB, CublasLt::kNoTranspose)}) {
    const std::int32_t value = operation;
    check_library(library_.desc_set(shape.desc.get(), attribute, &value, sizeof value),
                  "describing products");
  }
  return shape;
}

void LibraryProducts::set_rows(const Shape& shape, std::uint64_t rows) const {
  for (const CublasLt::Layout layout : {shape.x.get(), shape.y.get()}) {
    check_library(library_.layout_set(layout, CublasLt::kLayoutColumns, &rows, sizeof rows),
                  "setting the number of rows");
  }
}

// Where the matrix lies in 16 bits when it is multiplied; null: nowhere.
const void* LibraryProducts::halves_of(const Matrix& weight) const {
  if (!is_block_type(weight.type)) return weight.type == MatrixType::kF32 ? nullptr : weight.data;
  return num_weights(weight) <= memory_.num_expanded ? memory_.expanded : nullptr;
}

void LibraryProducts::prepare(const Matrix& weight, std::uint32_t max_rows) {
  if (weight.data == nullptr || halves_of(weight) == nullptr || max_rows < least_rows(weight) ||
      find(weight) != nullptr) {
    return;
  }
  Shape shape = make_shape(weight);
  for (std::size_t bucket = 0; bucket <= bucket_of(max_rows); ++bucket) {
    set_rows(shape, std::uint64_t{kLeastBucket} << bucket);
    CublasLt::Heuristic found{};
    int num_found = 0;
    const CublasLt::Status status =
        library_.find_algorithms(handle_.get(), shape.desc.get(), shape.weight.get(), shape.x.get(),
                                 shape.y.get(), shape.y.get(), preference_.get(), 1, &found, &num_found);
    // A shape that it has no algorithm for is left to the own kernels, and so is a larger number of rows.
    if (status != CublasLt::kSuccess || num_found == 0 || found.state != CublasLt::kSuccess) break;
    shape.algorithms.push_back(found.algorithm);
  }
  shapes_.push_back(std::move(shape));
}

const LibraryProducts::Shape* LibraryProducts::find(const Matrix& weight) const {
  const auto shape = std::ranges::find_if(shapes_, [&](const Shape& one) {
    return one.outputs == weight.outputs && one.inputs == weight.inputs &&
           one.type == library_type(weight.type);
  });
  return shape == shapes_.end() ? nullptr : &*shape;
}

bool LibraryProducts::run(const Product& product, cudaStream_t stream) const {
  const Matrix& weight = product.weight;
  if (product.num_rows < least_rows(weight)) return false;
  const Shape* const shape = find(weight);
  const std::size_t bucket = bucket_of(product.num_rows);
  if (shape == nullptr || bucket >= shape->algorithms.size()) return false;
  const void* const halves = halves_of(weight);
  if (halves == nullptr || !is_aligned(halves) || !is_aligned(product.x) || !is_aligned(product.y))
    return false;
  if (is_block_type(weight.type)) {
    launch_expand_weights(weight.type,
                          {.planes = weight.data, .halves = memory_.expanded, .count = num_weights(weight)},
                          stream);
  }
  set_rows(*shape, product.num_rows);
  const float alpha = 1.0F, beta = product.adds ? 1.0F : 0.0F;
  return library_.multiply(handle_.get(), shape->desc.get(), &alpha, halves, shape->weight.get(), product.x,
                           shape->x.get(), &beta, product.y, shape->y.get(), product.y, shape->y.get(),
                           &shape->algorithms[bucket], memory_.workspace, kLibraryWorkspaceBytes,
                           stream) == CublasLt::kSuccess;
}

}  // namespace ttt::cuda
