// SPDX-License-Identifier: Apache-2.0
// What the tests of both kinds of matrix products share.
#pragma once

#include <cmath>
#include <cstddef>
#include <vector>

#include "cpu/aligned_floats.h"
#include "cpu/gemm.h"

namespace ttt::test {

struct ProductShape {
  std::size_t outputs, inputs;
};

// x w^T of `rows` rows. What the kernel does not write is NaN.
inline std::vector<float> products(const cpu::PackedMatrix& w, const float* x, std::size_t rows,
                                   std::size_t threads = 1) {
  cpu::ThreadPool pool(threads);
  std::vector<float> y(rows * w.num_outputs(), std::nanf(""));
  cpu::AlignedFloats scratch(threads * cpu::kGemmScratch, 1.0F);
  cpu::QuantisedBuffer quantised(rows, w.num_inputs());
  const cpu::GemmInputs inputs(x, rows, w.num_inputs(), quantised);
  const cpu::Product product{&w, y.data()};
  if (cpu::wants_quantised({&product, 1})) inputs.quantise_all(pool);
  cpu::gemm(pool, {&product, 1}, inputs, scratch.data());
  return y;
}

}  // namespace ttt::test
