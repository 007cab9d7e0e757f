// SPDX-License-Identifier: Apache-2.0
// Products of x with weight matrices of every type, by the number of rows.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "benchmarks/kernels/measure.h"
#include "cpu/aligned_floats.h"
#include "cpu/gemm.h"
#include "tests/cpu/stored_matrix.h"
#include "tests/product_errors.h"
#include "weights/element_type.h"

namespace ttt::bench {
namespace {

struct Shape {
  std::size_t outputs, inputs;
};

constexpr std::size_t kManyRows = 512;
constexpr std::size_t kCheckedStep = 31;  // of outputs: every place of a panel of 16 in turn
constexpr std::size_t kCopyBytes = std::size_t{256} << 20;

// A matrix in as many copies as make 256 MiB, so that every product finds its weights in memory and not in a
// cache.
class Product {
 public:
  Product(Machine& machine, weights::DType dtype, Shape shape)
      : machine_(machine),
        dtype_(dtype),
        shape_(shape),
        random_(1),
        stored_(random_, dtype, shape.outputs, shape.inputs, 0),
        x_(test::random_floats(random_, kManyRows * shape.inputs)),
        y_(kManyRows * shape.outputs),
        scratch_(machine.pool.num_threads() * cpu::kGemmScratch),
        quantised_(kManyRows, shape.inputs) {
    const std::size_t count = std::max<std::size_t>(1, kCopyBytes / stored_.tensor.bytes.size());
    for (std::size_t i = 0; i < count; ++i) copies_.emplace_back(stored_.tensor, machine.pool);
  }

  bool is(weights::DType dtype, Shape shape) const {
    return dtype_ == dtype && shape_.outputs == shape.outputs && shape_.inputs == shape.inputs;
  }

  // One row passes over all copies, more rows over fewer.
  Case with_rows(std::size_t rows) {
    const std::size_t count =
        rows == 1 ? copies_.size() : std::min(copies_.size(), kManyRows / rows * std::size_t{4});
    Case result;
    result.work.bytes = static_cast<double>(count * copies_[0].bytes());
    result.work.operations = 2.0 * static_cast<double>(rows * count * shape_.outputs * shape_.inputs);
    result.work.int8 = weights::is_block_type(dtype_);
    result.error_over_bound = [this, rows] { return error_over_bound(rows); };
    result.read = [this, count] { return read(count); };
    result.run = [this, rows, count] {
      for (std::size_t i = 0; i < count; ++i) multiply(next_copy(), rows);
    };
    return result;
  }

 private:
  const cpu::PackedMatrix& next_copy() { return copies_[next_++ % copies_.size()]; }

  void multiply(const cpu::PackedMatrix& w, std::size_t rows) {
    const cpu::GemmInputs inputs(x_.data(), rows, shape_.inputs, quantised_);
    const cpu::Product product{&w, y_.data()};
    if (cpu::wants_quantised({&product, 1})) inputs.quantise_all(machine_.pool);
    cpu::gemm(machine_.pool, {&product, 1}, inputs, scratch_.data());
  }

  double read(std::size_t count) {
    double bytes = 0.0;
    for (std::size_t i = 0; i < count; ++i) {
      const cpu::PackedMatrix& w = next_copy();
      const std::size_t panel_floats = w.bytes() / w.num_panels() / sizeof(float);
      machine_.pool.for_ranges(
          w.num_panels(), kAlways, [&](std::size_t begin, std::size_t end, std::size_t thread) {
            machine_.read({reinterpret_cast<const float*>(w.panel(begin)), (end - begin) * panel_floats},
                          thread);
          });
      bytes += static_cast<double>(w.bytes());
    }
    return bytes;
  }

  double error_over_bound(std::size_t rows) {
    std::ranges::fill(y_, std::nanf(""));
    multiply(copies_[0], rows);
    const std::span<const float> y = std::span(y_).first(rows * shape_.outputs);
    if (!std::ranges::all_of(y, [](float value) { return std::isfinite(value); })) return 1e9;
    const test::CheckedProduct checked{x_.data(),      stored_.values, rows,
                                       shape_.outputs, shape_.inputs,  kCheckedStep};
    if (!weights::is_block_type(dtype_)) return test::plain_error_over_bound(y, checked);
    const bool in_256s = weights::dtype_info(dtype_).block_elements == weights::kKBlockWeights;
    return test::block_error_over_bound(
        y, checked, in_256s ? test::spans_of(stored_.tensor, stored_.values) : std::vector<double>());
  }

  Machine& machine_;
  weights::DType dtype_;
  Shape shape_;
  test::Random random_;
  test::StoredMatrix stored_;
  std::vector<cpu::PackedMatrix> copies_;
  std::size_t next_ = 0;
  std::vector<float> x_;
  cpu::AlignedFloats y_, scratch_;
  cpu::QuantisedBuffer quantised_;
};

// The matrix that ran last, as the next benchmark mostly wants it too.
Product& product_of(Machine& machine, weights::DType dtype, Shape shape) {
  static std::unique_ptr<Product> last;
  if (last == nullptr || !last->is(dtype, shape)) {
    last.reset();
    last = std::make_unique<Product>(machine, dtype, shape);
  }
  return *last;
}

}  // namespace

void add_products(Machine& machine) {
  for (const Shape shape :
       {Shape{768, 768}, Shape{2048, 2048}, Shape{5504, 2048}, Shape{2048, 5504}, Shape{32000, 768}}) {
    for (const auto dtype :
         {weights::DType::kF32, weights::DType::kBF16, weights::DType::kF16, weights::DType::kQ8_0,
          weights::DType::kQ4_0, weights::DType::kQ6_K, weights::DType::kQ4_K}) {
      if (shape.inputs % weights::dtype_info(dtype).block_elements != 0) continue;
      for (const std::size_t rows :
           {std::size_t{1}, std::size_t{4}, std::size_t{8}, std::size_t{16}, std::size_t{32}, kManyRows}) {
        add(machine,
            fmt::format("product/{}x{}/{}/rows:{}", shape.outputs, shape.inputs,
                        weights::dtype_info(dtype).name, rows),
            [&machine, dtype, shape, rows] { return product_of(machine, dtype, shape).with_rows(rows); });
      }
    }
  }
}

}  // namespace ttt::bench
