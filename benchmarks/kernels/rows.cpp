// SPDX-License-Identifier: Apache-2.0
// The functions of cpu/kernels.h that work row by row, and the rounding of inputs to integers: 16 rows by one
// thread, which its second-level cache holds, and 512 by all.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "benchmarks/kernels/measure.h"
#include "cpu/aligned_floats.h"
#include "cpu/kernels.h"
#include "cpu/quantised_inputs.h"
#include "engine/weight_values.h"
#include "tests/cpu/stored_matrix.h"
#include "tests/naive.h"
#include "tests/product_errors.h"
#include "tests/random.h"

namespace ttt::bench {
namespace {

using naive::Vector;

constexpr std::size_t kHeadSize = 64, kMiniBatch = 16;
constexpr double kTheta = 10000.0;
constexpr float kEps = 1e-6F, kAlpha = 0.01F;
constexpr double kUnit = 0x1p-24;  // of rounding

// Rows that kernels read and write; b and c are other inputs of the same size.
struct Rows {
  Rows(std::size_t row_width, std::size_t rows, bool uses_b, bool uses_c, bool uses_out)
      : width(row_width),
        num_rows(rows),
        a(rows * width),
        b(uses_b ? a.size() : 0),
        c(uses_c ? a.size() : 0) {
    test::Random random(1);
    const auto draw = [&](auto& values, double deviation) {
      for (float& value : values) value = static_cast<float>(deviation * random.symmetric());
    };
    draw(a, 1.5);
    draw(b, 1.0);
    draw(c, 1.0);
    first_a = a;
    if (uses_out) out.resize(a.size());
    weight = test::random_floats(random, width, 1.0, 0.2);
    bias = test::random_floats(random, width, 0.0, 0.1);
    quantised.resize(rows * ((width + cpu::kBlockInputs - 1) / cpu::kBlockInputs));
  }

  std::size_t width, num_rows;
  cpu::AlignedFloats a, b, c, out, first_a;
  std::vector<float> weight, bias;
  std::vector<cpu::QuantisedInputs> quantised;
  std::vector<float> rope_table = make_rope_table(kMiniBatch, kHeadSize, kTheta);
};

// One row's numbers in float64, before the kernel.
struct Row {
  Row(const Rows& rows, std::size_t index) : a(of(rows.first_a, rows, index)) {
    if (!rows.b.empty()) b = of(rows.b, rows, index);
    if (!rows.c.empty()) c = of(rows.c, rows, index);
    weight.assign(rows.weight.begin(), rows.weight.end());
    bias.assign(rows.bias.begin(), rows.bias.end());
  }
  template <class Floats>
  static Vector of(const Floats& values, const Rows& rows, std::size_t index) {
    const auto begin = values.begin() + static_cast<std::ptrdiff_t>(index * rows.width);
    return {begin, begin + static_cast<std::ptrdiff_t>(rows.width)};
  }
  // Of one head.
  static Vector part(const Vector& values, std::size_t head) {
    const auto begin = values.begin() + static_cast<std::ptrdiff_t>(head * kHeadSize);
    return {begin, begin + kHeadSize};
  }

  Vector a, b, c, weight, bias;
};

struct Expected {
  Vector values, bounds;  // of the error
};

double mean_magnitude(const Vector& values) {
  double sum = 0.0;
  for (const double value : values) sum += std::abs(value);
  return sum / static_cast<double>(values.size());
}

// A sum of n terms comes in four partial sums: a term meets n / 4 + 4 roundings at most, with lanes beside
// each other fewer.
double sum_roundings(std::size_t n) { return static_cast<double>(n) / 4.0 + 4.0; }

// x r w with r = 1 / sqrt(mean + eps): half the error of the sum, and nine roundings more.
Expected expected_rms_norm(const Row& row) {
  Expected e{naive::rms_norm(row.a, row.weight, 1e-6), {}};
  for (const double y : e.values)
    e.bounds.push_back((sum_roundings(row.a.size()) / 2.0 + 9.0) * kUnit * std::abs(y));
  return e;
}

// zhat = (z - mean) / s, with the error of each.
struct Normalised {
  explicit Normalised(const Vector& z) {
    const std::size_t n = z.size();
    double mean = 0.0, squares = 0.0;
    for (const double value : z) mean += value / static_cast<double>(n);
    for (const double value : z) squares += (value - mean) * (value - mean) / static_cast<double>(n);
    s = std::sqrt(squares + 1e-6);
    // Of s, relative: half of the squares' error, sqrt, division. An error of the mean takes no part to first
    // order.
    s_error = (sum_roundings(n) / 2.0 + 5.0) * kUnit;
    const double mean_error = sum_roundings(n) * kUnit * mean_magnitude(z) + kUnit * std::abs(mean);
    for (const double value : z) {
      zhat.push_back((value - mean) / s);
      errors.push_back(mean_error / s + std::abs(zhat.back()) * (s_error + 3.0 * kUnit));
    }
  }
  double s, s_error;
  Vector zhat, errors;
};

Expected expected_layer_norm(const Vector& x, const Vector& weight, const Vector& bias) {
  const Normalised n(x);
  Expected e{naive::layer_norm(x, weight, bias), {}};
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double scaled = std::abs(weight[i] * n.zhat[i]);
    e.bounds.push_back(std::abs(weight[i]) * n.errors[i] + kUnit * (scaled + std::abs(e.values[i])));
  }
  return e;
}

Expected expected_post_norm(const Row& row) { return expected_layer_norm(row.a, row.weight, row.bias); }

void append(Vector& all, const Vector& more) { all.insert(all.end(), more.begin(), more.end()); }

template <class OfHead>
Expected by_head(const Row& row, OfHead&& of_head) {
  Expected all;
  for (std::size_t head = 0; head < row.a.size() / kHeadSize; ++head) {
    const Expected e = of_head(head);
    append(all.values, e.values);
    append(all.bounds, e.bounds);
  }
  return all;
}

Expected expected_layer_norm_add(const Row& row) {
  return by_head(row, [&](std::size_t head) {
    Expected e =
        expected_layer_norm(Row::part(row.a, head), Row::part(row.weight, head), Row::part(row.bias, head));
    for (std::size_t i = 0; i < kHeadSize; ++i) {
      e.values[i] += row.b[head * kHeadSize + i];
      e.bounds[i] += kUnit * std::abs(e.values[i]);
    }
    return e;
  });
}

// alpha (e - mean(e) - zhat mean(e zhat)) / s with e = weight (N - (v - k)): the errors of all that it is
// made of, to first order.
Expected expected_gradient(const Row& row) {
  return by_head(row, [&](std::size_t head) {
    const Vector z = Row::part(row.a, head), weight = Row::part(row.weight, head),
                 bias = Row::part(row.bias, head);
    Vector target = Row::part(row.c, head);
    const Vector key = Row::part(row.b, head);
    for (std::size_t i = 0; i < kHeadSize; ++i) target[i] -= key[i];
    const Normalised n(z);
    const Expected normed = expected_layer_norm(z, weight, bias);
    Vector e, e_errors, products, product_errors;
    for (std::size_t i = 0; i < kHeadSize; ++i) {
      const double difference = normed.values[i] - target[i];
      e.push_back(weight[i] * difference);
      e_errors.push_back(std::abs(weight[i]) *
                         (normed.bounds[i] + kUnit * (std::abs(target[i]) + 2.0 * std::abs(difference))));
      products.push_back(e[i] * n.zhat[i]);
      product_errors.push_back(e_errors[i] * std::abs(n.zhat[i]) + std::abs(e[i]) * n.errors[i]);
    }
    const double size = kHeadSize;
    double mean_e = 0.0, mean_product = 0.0;
    for (std::size_t i = 0; i < kHeadSize; ++i) mean_e += e[i] / size, mean_product += products[i] / size;
    const double mean_e_error =
        mean_magnitude(e_errors) + sum_roundings(kHeadSize) * kUnit * mean_magnitude(e);
    const double mean_product_error =
        mean_magnitude(product_errors) + (sum_roundings(kHeadSize) + 1.0) * kUnit * mean_magnitude(products);
    Expected result{naive::inner_gradient(z, target, weight, bias), {}};
    for (std::size_t i = 0; i < kHeadSize; ++i) {
      const double projected = std::abs(n.zhat[i] * mean_product);
      const double sum = e_errors[i] + mean_e_error + std::abs(n.zhat[i]) * mean_product_error +
                         std::abs(mean_product) * n.errors[i] +
                         3.0 * kUnit * (std::abs(e[i]) + std::abs(mean_e) + projected);
      result.values[i] *= static_cast<double>(kAlpha);
      result.bounds.push_back(static_cast<double>(kAlpha) * sum / n.s +
                              std::abs(result.values[i]) * (n.s_error + 3.0 * kUnit));
    }
    return result;
  });
}

template <class Value, class Error>
Expected by_element(const Row& row, Value&& value, Error&& error) {
  Expected e;
  for (std::size_t i = 0; i < row.a.size(); ++i) {
    e.values.push_back(value(i));
    e.bounds.push_back(kUnit * error(i));
  }
  return e;
}

// One rounding.
Expected expected_add(const Row& row) {
  const auto sum = [&](std::size_t i) { return row.a[i] + row.b[i]; };
  return by_element(row, sum, [&](std::size_t i) { return std::abs(sum(i)); });
}

// The kernels' exp is within 2 ulp, four units; 1 / (1 + exp) has two roundings more. `steps`: relative error
// of the argument, in units.
double sigmoid_units(double argument, double steps) {
  return 6.0 + steps * std::abs(argument) * (1.0 - naive::sigmoid(argument));
}

Expected expected_swiglu(const Row& row) {
  const auto value = [&](std::size_t i) { return naive::silu(row.a[i]) * row.b[i]; };
  return by_element(row, value,
                    [&](std::size_t i) { return std::abs(value(i)) * (sigmoid_units(row.a[i], 0.0) + 2.0); });
}

// 2u of gelu(a) = a sigmoid(2u), cpu/simd-inl.h. It meets seven roundings: three products and a constant for
// the cube, the sum, a product and its constant.
constexpr double kGeluSteps = 7.0;
double gelu_argument(double a) { return 2.0 * std::sqrt(2.0 / std::acos(-1.0)) * (a + 0.044715 * a * a * a); }
double gelu_units(double a) { return sigmoid_units(gelu_argument(a), kGeluSteps) + 1.0; }

Expected expected_gate(const Row& row) {
  const auto value = [&](std::size_t i) { return row.a[i] * naive::gelu(row.b[i]); };
  return by_element(row, value,
                    [&](std::size_t i) { return std::abs(value(i)) * (gelu_units(row.b[i]) + 1.0); });
}

Expected expected_gelu(const Row& row) {
  const auto value = [&](std::size_t i) { return naive::gelu(row.a[i]); };
  return by_element(row, value, [&](std::size_t i) { return std::abs(value(i)) * gelu_units(row.a[i]); });
}

// s + gelu(a) (1 - s) slope, slope = d(2u)/da with eight roundings.
Expected expected_derivative(const Row& row) {
  return by_element(
      row, [&](std::size_t i) { return naive::gelu_derivative(row.a[i]); },
      [&](std::size_t i) {
        const double a = row.a[i], s = naive::sigmoid(gelu_argument(a));
        const double slope = 2.0 * std::sqrt(2.0 / std::acos(-1.0)) * (1.0 + 3.0 * 0.044715 * a * a);
        const double s_units = sigmoid_units(gelu_argument(a), kGeluSteps);
        const double second = std::abs(a * s * slope);
        return s_units * s + second * (1.0 - s) * (gelu_units(a) + 11.0) + second * s * s_units +
               std::abs(naive::gelu_derivative(a));
      });
}

Expected expected_rate(const Row& row) {
  const auto value = [&](std::size_t i) {
    return static_cast<double>(kAlpha) * naive::sigmoid(row.a[i] + row.bias[i]);
  };
  return by_element(row, value, [&](std::size_t i) {
    return value(i) * (sigmoid_units(row.a[i] + row.bias[i], 1.0) + 1.0);
  });
}

// Two products and a sum, and a table rounded to fp32.
Expected expected_rope(const Row& row, std::size_t phase) {
  Expected e = by_head(row, [&](std::size_t head) {
    Expected of_head{naive::rope(Row::part(row.a, head), phase, kTheta), Vector(kHeadSize)};
    for (std::size_t i = 0; i < kHeadSize; ++i) {
      const std::size_t pair = head * kHeadSize + i / 2 * 2;
      of_head.bounds[i] = 3.0 * kUnit * (std::abs(row.a[pair]) + std::abs(row.a[pair + 1]));
    }
    return of_head;
  });
  return e;
}

double excess_of(const Expected& expected, const float* found) {
  double largest = 0.0;
  for (std::size_t i = 0; i < expected.values.size(); ++i) {
    const double error = std::abs(static_cast<double>(found[i]) - expected.values[i]);
    largest = std::max(largest, test::excess(error, 1.01 * expected.bounds[i]));
  }
  return largest;
}

// Integers, their sums and scales are exact.
double quantised_error(const Rows& rows, std::size_t index) {
  constexpr std::size_t kBlock = weights::kBlockWeights;
  for (std::size_t i = 0; i < rows.width; i += kBlock) {
    const test::NaiveBlock wanted = test::quantise_block(&rows.first_a[index * rows.width + i]);
    const std::size_t per_row = rows.quantised.size() / rows.num_rows;
    const cpu::QuantisedInputs& found = rows.quantised[index * per_row + i / cpu::kBlockInputs];
    const std::size_t b = i % cpu::kBlockInputs / kBlock;
    double sum = 0.0;
    for (std::size_t j = 0; j < kBlock; ++j) {
      sum += wanted.values[j];
      if (static_cast<double>(found.values[b * kBlock + j]) != wanted.values[j]) return 1e9;
    }
    const float scale = found.scales[b], scaled = scale * static_cast<float>(sum);
    if (static_cast<double>(scale) != wanted.scale || static_cast<double>(found.offsets[b]) != -128.0 * sum ||
        found.half_offsets[2 * b] + found.half_offsets[2 * b + 1] != found.offsets[b] ||
        found.scaled_sums[b] != scaled) {
      return 1e9;
    }
  }
  return 0.0;
}

void quantise(Rows& rows, std::size_t index) {
  const std::size_t per_row = rows.quantised.size() / rows.num_rows;
  static thread_local cpu::PairedInputs
      pairs;  // kept by the backend where a target uses them: then a buffer more
  for (std::size_t i = 0; i < rows.width; i += cpu::kBlockInputs) {
    cpu::quantise_inputs(&rows.a[index * rows.width + i], std::min(cpu::kBlockInputs, rows.width - i),
                         rows.quantised[index * per_row + i / cpu::kBlockInputs], pairs);
  }
}

struct RowKernel {
  const char* name;
  double floats;      // read and written, over the row's width
  double operations;  // likewise
  bool uses_b, uses_c, uses_out;
  void (*run)(Rows&, std::size_t row);
  double (*error)(const Rows&, std::size_t row);
};

template <Expected (*kExpected)(const Row&)>
double error_of_a(const Rows& rows, std::size_t index) {
  return excess_of(kExpected(Row(rows, index)), &rows.a[index * rows.width]);
}
template <Expected (*kExpected)(const Row&)>
double error_of_out(const Rows& rows, std::size_t index) {
  return excess_of(kExpected(Row(rows, index)), &rows.out[index * rows.width]);
}

template <class Fn>
void for_heads(Rows& rows, std::size_t index, Fn&& fn) {
  for (std::size_t head = 0; head < rows.width; head += kHeadSize) fn(index * rows.width + head, head);
}

std::span<float> row_a(Rows& rows, std::size_t index) {
  return std::span(rows.a).subspan(index * rows.width, rows.width);
}

double gelu_error(const Rows& rows, std::size_t index) {
  return std::max(error_of_a<expected_derivative>(rows, index), error_of_out<expected_gelu>(rows, index));
}

double rope_error(const Rows& rows, std::size_t index) {
  return excess_of(expected_rope(Row(rows, index), index % kMiniBatch), &rows.a[index * rows.width]);
}

// Operations as written in cpu/: an exponential is 22, a sigmoid 24, a GELU 30 of them, comparisons not
// counted.
const RowKernel kRmsNorm = {"rms_norm",
                            2,
                            4,
                            false,
                            false,
                            true,
                            [](Rows& rows, std::size_t i) {
                              cpu::rms_norm(row_a(rows, i), rows.weight, kEps, &rows.out[i * rows.width]);
                            },
                            error_of_out<expected_rms_norm>};
const RowKernel kAdd = {"add",
                        3,
                        1,
                        true,
                        false,
                        false,
                        [](Rows& rows, std::size_t i) { cpu::add(row_a(rows, i), &rows.b[i * rows.width]); },
                        error_of_a<expected_add>};
const RowKernel kLayerNorm = {"layer_norm",
                              2,
                              7,
                              false,
                              false,
                              true,
                              [](Rows& rows, std::size_t i) {
                                cpu::layer_norm(row_a(rows, i), rows.weight, rows.bias,
                                                &rows.out[i * rows.width]);
                              },
                              error_of_out<expected_post_norm>};
const RowKernel kLayerNormAdd = {"layer_norm_add",
                                 3,
                                 8,
                                 true,
                                 false,
                                 true,
                                 [](Rows& rows, std::size_t i) {
                                   for_heads(rows, i, [&](std::size_t at, std::size_t head) {
                                     cpu::layer_norm_add(
                                         {&rows.a[at], kHeadSize}, {&rows.weight[head], kHeadSize},
                                         {&rows.bias[head], kHeadSize}, &rows.b[at], &rows.out[at]);
                                   });
                                 },
                                 error_of_out<expected_layer_norm_add>};
const RowKernel kGradient = {"layer_norm_loss_gradient",
                             4,
                             20,
                             true,
                             true,
                             true,
                             [](Rows& rows, std::size_t i) {
                               float zhat[kHeadSize];
                               for_heads(rows, i, [&](std::size_t at, std::size_t head) {
                                 cpu::layer_norm_loss_gradient({&rows.a[at], kHeadSize},
                                                               {&rows.weight[head], kHeadSize},
                                                               {&rows.bias[head], kHeadSize}, &rows.b[at],
                                                               &rows.c[at], kAlpha, zhat, &rows.out[at]);
                               });
                             },
                             error_of_out<expected_gradient>};
const RowKernel kRope = {"rope",
                         2,
                         3,
                         false,
                         false,
                         false,
                         [](Rows& rows, std::size_t i) {
                           cpu::rope(&rows.a[i * rows.width], rows.width, kHeadSize, i % kMiniBatch,
                                     rows.rope_table);
                         },
                         rope_error};
const RowKernel kSwiglu = {
    "silu_multiply",
    3,
    26,
    true,
    false,
    false,
    [](Rows& rows, std::size_t i) { cpu::silu_multiply(row_a(rows, i), &rows.b[i * rows.width]); },
    error_of_a<expected_swiglu>};
const RowKernel kGate = {
    "gelu_multiply",
    3,
    31,
    true,
    false,
    false,
    [](Rows& rows, std::size_t i) { cpu::gelu_multiply(row_a(rows, i), &rows.b[i * rows.width]); },
    error_of_a<expected_gate>};
const RowKernel kGelu = {
    "gelu",
    2,
    30,
    false,
    false,
    true,
    [](Rows& rows, std::size_t i) { cpu::gelu(row_a(rows, i), &rows.out[i * rows.width]); },
    error_of_out<expected_gelu>};
const RowKernel kGeluAndDerivative = {
    "gelu_and_derivative",
    3,
    38,
    false,
    false,
    true,
    [](Rows& rows, std::size_t i) { cpu::gelu_and_derivative(row_a(rows, i), &rows.out[i * rows.width]); },
    gelu_error};
const RowKernel kRates = {
    "scaled_sigmoid",
    2,
    26,
    false,
    false,
    false,
    [](Rows& rows, std::size_t i) { cpu::scaled_sigmoid(row_a(rows, i), rows.bias.data(), kAlpha); },
    error_of_a<expected_rate>};
const RowKernel kQuantise = {
    "quantise_inputs",
    1.0 + static_cast<double>(sizeof(cpu::QuantisedInputs)) / sizeof(float) / cpu::kBlockInputs,
    2,
    false,
    false,
    false,
    quantise,
    quantised_error};

Case make_case(Machine& machine, const RowKernel& kernel, std::size_t width, std::size_t num_rows,
               bool shared) {
  const auto rows = std::make_shared<Rows>(width, num_rows, kernel.uses_b, kernel.uses_c, kernel.uses_out);
  const auto for_rows = [&machine, num_rows, shared](auto&& fn) {
    if (!shared) return fn(std::size_t{0}, num_rows, std::size_t{0});
    machine.pool.for_ranges(num_rows, kAlways, fn);
  };
  Case result;
  const auto count = static_cast<double>(num_rows * width);
  result.work = {.bytes = kernel.floats * sizeof(float) * count,
                 .operations = kernel.operations * count,
                 .shared = shared};
  result.prepare = [rows, for_rows] {
    for_rows([&](std::size_t begin, std::size_t end, std::size_t) {
      std::copy_n(&rows->first_a[begin * rows->width], (end - begin) * rows->width,
                  &rows->a[begin * rows->width]);
    });
  };
  result.run = [rows, for_rows, run = kernel.run] {
    for_rows([&](std::size_t begin, std::size_t end, std::size_t) {
      for (std::size_t row = begin; row < end; ++row) run(*rows, row);
    });
  };
  result.read = [rows, for_rows, &machine] {
    double bytes = 0.0;
    for (const auto* floats : {&rows->a, &rows->b, &rows->c, &rows->out}) {
      if (floats->empty()) continue;
      for_rows([&](std::size_t begin, std::size_t end, std::size_t thread) {
        machine.read({floats->data() + begin * rows->width, (end - begin) * rows->width}, thread);
      });
      bytes += static_cast<double>(floats->size() * sizeof(float));
    }
    return bytes;
  };
  result.error_over_bound = [rows, prepare = result.prepare, run = result.run, error = kernel.error] {
    std::ranges::fill(rows->out, std::nanf(""));
    prepare();
    run();
    double largest = 0.0;
    for (std::size_t row = 0; row < rows->num_rows; ++row) largest = std::max(largest, error(*rows, row));
    return largest;
  };
  return result;
}

}  // namespace

void add_row_kernels(Machine& machine) {
  const auto add_both = [&machine](const RowKernel& kernel, std::size_t width) {
    for (const auto& [rows, shared] : {std::pair<std::size_t, bool>{16, false}, {512, true}}) {
      add(machine, fmt::format("{}/{}/rows:{}", kernel.name, width, rows),
          [&machine, kernel, width, rows = rows, shared = shared] {
            return make_case(machine, kernel, width, rows, shared);
          });
    }
  };
  // d of 125M and of 1.3B.
  for (const std::size_t width : {std::size_t{768}, std::size_t{2048}}) {
    for (const RowKernel& kernel :
         {kRmsNorm, kAdd, kLayerNorm, kLayerNormAdd, kGradient, kRope, kGate, kQuantise})
      add_both(kernel, width);
  }
  // The inner widths: of SwiGLU; of TTT-MLP, one head; the heads' rates.
  for (const std::size_t width : {std::size_t{2048}, std::size_t{5504}}) add_both(kSwiglu, width);
  add_both(kQuantise, 5504);
  for (const RowKernel& kernel : {kGelu, kGeluAndDerivative}) add_both(kernel, 256);
  add_both(kRates, 32);
}

}  // namespace ttt::bench
