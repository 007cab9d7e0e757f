// SPDX-License-Identifier: Apache-2.0
// The products inside the inner loop, of one head: 16 tokens, one mini-batch, everything in the first two
// caches of one thread.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "benchmarks/kernels/measure.h"
#include "cpu/inner_loop.h"
#include "tests/cpu/stored_matrix.h"
#include "tests/product_errors.h"
#include "tests/random.h"

namespace ttt::bench {
namespace {

using cpu::Block;
using cpu::MutableBlock;

constexpr std::size_t kRows = 16, kCalls = 64;  // calls in a row: one takes a microsecond

// Operands of a product x W [in, out] and what goes with them. The names are those of cpu/inner_loop.h.
struct Operands {
  Operands(std::size_t inputs, std::size_t outputs) : in(inputs), out_size(outputs) {
    test::Random random(1);
    x = test::random_floats(random, kRows * in);
    keys = test::random_floats(random, kRows * in, 0.0, 0.1);
    gradients = test::random_floats(random, kRows * out_size, 0.0, 0.1);
    W = test::random_floats(random, in * out_size, 0.0, 0.1);
    b = test::random_floats(random, out_size);
    scores = test::random_floats(random, kRows * kRows);
    eta = test::random_floats(random, kRows, 0.5, 0.1);
    factors = test::random_floats(random, kRows * in);
    out = b_to_rows();
    first_out = out;
    first_W = W;
    first_b = b;
  }

  std::vector<float> b_to_rows() const {
    std::vector<float> rows;
    for (std::size_t r = 0; r < kRows; ++r) rows.insert(rows.end(), b.begin(), b.end());
    return rows;
  }
  Block rows_of(const std::vector<float>& values, std::size_t stride) const {
    return {values.data(), stride};
  }
  void reset() { W = first_W, b = first_b, out = first_out; }
  std::size_t floats() const { return x.size() + W.size() + b.size() + out.size(); }

  std::size_t in, out_size;
  std::vector<float> x, keys, gradients, W, b, scores, eta, factors, out;
  std::vector<float> first_out, first_W, first_b;
};

double d(float value) { return static_cast<double>(value); }

// A sum of terms with what it starts from, in float64, and the sum of all magnitudes.
struct Sum {
  explicit Sum(double begin) : value(begin), magnitude(std::abs(begin)) {}
  void add(double term) { value += term, magnitude += std::abs(term); }
  // `roundings` that any term meets at most.
  double excess(float found, double roundings) const {
    return test::excess(std::abs(d(found) - value), 1.01 * roundings * 0x1p-24 * magnitude);
  }
  double value, magnitude;
};

double affine_error(Operands& o) {
  cpu::affine(o.rows_of(o.x, o.in), kRows, o.in, o.W.data(), o.b.data(), o.out_size,
              {o.out.data(), o.out_size});
  double largest = 0.0;
  for (std::size_t i = 0; i < o.out.size(); ++i) {
    Sum sum(d(o.b[i % o.out_size]));
    for (std::size_t j = 0; j < o.in; ++j)
      sum.add(d(o.x[i / o.out_size * o.in + j]) * d(o.W[j * o.out_size + i % o.out_size]));
    largest = std::max(largest, sum.excess(o.out[i], static_cast<double>(o.in + 2)));
  }
  return largest;
}

// Row r is in slot r: phase 0.
double scores_error(Operands& o) {
  cpu::score_open_rows(o.rows_of(o.x, o.in), kRows, 0, o.rows_of(o.keys, o.in), o.in,
                       {o.scores.data(), kRows});
  double largest = 0.0;
  for (std::size_t r = 0; r < kRows; ++r) {
    for (std::size_t j = 0; j <= r; ++j) {
      Sum sum(1.0);
      for (std::size_t i = 0; i < o.in; ++i) sum.add(d(o.x[r * o.in + i]) * d(o.keys[j * o.in + i]));
      largest = std::max(largest, sum.excess(o.scores[r * kRows + j], static_cast<double>(o.in + 2)));
    }
  }
  return largest;
}

double subtract_error(Operands& o) {
  const std::vector<float> before = o.out;
  cpu::subtract_open_rows(o.rows_of(o.scores, kRows), kRows, 0, o.rows_of(o.gradients, o.out_size),
                          o.out_size, o.eta.data(), {o.out.data(), o.out_size});
  double largest = 0.0;
  for (std::size_t i = 0; i < o.out.size(); ++i) {
    const std::size_t r = i / o.out_size, c = i % o.out_size;
    Sum sum(d(before[i]));
    for (std::size_t j = 0; j <= r; ++j)
      sum.add(-d(o.eta[r]) * d(o.scores[r * kRows + j]) * d(o.gradients[j * o.out_size + c]));
    largest = std::max(largest, sum.excess(o.out[i], kRows + 3.0));
  }
  return largest;
}

double commit_error(Operands& o) {
  constexpr float kEta = 0.0625F;
  cpu::commit_rows(o.rows_of(o.keys, o.in), o.in, o.rows_of(o.gradients, o.out_size), o.out_size, kRows, kEta,
                   o.W.data(), o.b.data());
  double largest = 0.0;
  for (std::size_t i = 0; i < o.W.size(); ++i) {
    Sum sum(d(o.first_W[i]));
    for (std::size_t j = 0; j < kRows; ++j)
      sum.add(-d(kEta) * d(o.keys[j * o.in + i / o.out_size]) *
              d(o.gradients[j * o.out_size + i % o.out_size]));
    largest = std::max(largest, sum.excess(o.W[i], kRows + 3.0));
  }
  for (std::size_t c = 0; c < o.out_size; ++c) {
    Sum sum(d(o.first_b[c]));
    for (std::size_t j = 0; j < kRows; ++j) sum.add(-d(kEta) * d(o.gradients[j * o.out_size + c]));
    largest = std::max(largest, sum.excess(o.b[c], kRows + 3.0));
  }
  return largest;
}

// gradients [rows, out] through W [in, out], times factors [rows, in].
double transposed_error(Operands& o) {
  std::vector<float> to(kRows * o.in);
  cpu::product_transposed(o.rows_of(o.gradients, o.out_size), kRows, o.W.data(), o.out_size, o.in,
                          o.rows_of(o.factors, o.in), {to.data(), o.in});
  double largest = 0.0;
  for (std::size_t i = 0; i < to.size(); ++i) {
    Sum sum(0.0);
    for (std::size_t c = 0; c < o.out_size; ++c)
      sum.add(d(o.factors[i]) * d(o.gradients[i / o.in * o.out_size + c]) *
              d(o.W[i % o.in * o.out_size + c]));
    largest = std::max(largest, sum.excess(to[i], static_cast<double>(o.out_size + 2)));
  }
  return largest;
}

struct Part {
  const char* name;
  double operations;  // of kRows rows, over in * out
  double floats;      // read and written, over in * out
  double (*error)(Operands&);
  void (*run)(Operands&);
};

void add_part(Machine& machine, const Part& part, std::size_t in, std::size_t out_size) {
  add(machine, fmt::format("inner_loop_part/{}/{}x{}", part.name, in, out_size),
      [&machine, part, in, out_size] {
        const auto operands = std::make_shared<Operands>(in, out_size);
        const auto size = static_cast<double>(kCalls * in * out_size);
        Case result;
        result.work = {.bytes = part.floats * size * sizeof(float),
                       .operations = part.operations * size,
                       .shared = false};
        result.error_over_bound = [operands, part] { return part.error(*operands); };
        result.prepare = [operands] { operands->reset(); };
        result.read = [operands, &machine] {
          for (std::size_t call = 0; call < kCalls; ++call) machine.read(operands->W, 0);
          return static_cast<double>(kCalls * operands->W.size() * sizeof(float));
        };
        result.run = [operands, part] {
          for (std::size_t call = 0; call < kCalls; ++call) part.run(*operands);
        };
        return result;
      });
}

}  // namespace

void add_inner_loop_parts(Machine& machine) {
  constexpr double kRowsD = kRows, kSeen = (kRows + 1.0) / 2.0;  // rows seen on average
  for (const auto& [in, out_size] : {std::pair<std::size_t, std::size_t>{64, 64}, {64, 256}, {256, 64}}) {
    const auto outputs = static_cast<double>(out_size), inputs = static_cast<double>(in);
    add_part(machine,
             {"affine", 2.0 * kRowsD, 1.0, affine_error,
              [](Operands& o) {
                cpu::affine(o.rows_of(o.x, o.in), kRows, o.in, o.W.data(), o.b.data(), o.out_size,
                            {o.out.data(), o.out_size});
              }},
             in, out_size);
    add_part(machine,
             {"score_open_rows", 2.0 * kRowsD * kSeen / outputs, 2.0 * kRowsD / outputs, scores_error,
              [](Operands& o) {
                cpu::score_open_rows(o.rows_of(o.x, o.in), kRows, 0, o.rows_of(o.keys, o.in), o.in,
                                     {o.scores.data(), kRows});
              }},
             in, out_size);
    add_part(machine,
             {"subtract_open_rows", 2.0 * kRowsD * kSeen / inputs, 3.0 * kRowsD / inputs, subtract_error,
              [](Operands& o) {
                cpu::subtract_open_rows(o.rows_of(o.scores, kRows), kRows, 0,
                                        o.rows_of(o.gradients, o.out_size), o.out_size, o.eta.data(),
                                        {o.out.data(), o.out_size});
              }},
             in, out_size);
    add_part(machine,
             {"commit_rows", 2.0 * kRowsD, 2.0, commit_error,
              [](Operands& o) {
                cpu::commit_rows(o.rows_of(o.keys, o.in), o.in, o.rows_of(o.gradients, o.out_size),
                                 o.out_size, kRows, 1e-6F, o.W.data(), o.b.data());
              }},
             in, out_size);
    add_part(machine,
             {"product_transposed", 2.0 * kRowsD, 1.0, transposed_error,
              [](Operands& o) {
                cpu::product_transposed(o.rows_of(o.gradients, o.out_size), kRows, o.W.data(), o.out_size,
                                        o.in, o.rows_of(o.factors, o.in), {o.x.data(), o.in});
              }},
             in, out_size);
  }
}

}  // namespace ttt::bench
