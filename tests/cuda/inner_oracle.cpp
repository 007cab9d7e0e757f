// SPDX-License-Identifier: Apache-2.0
#include "tests/cuda/inner_oracle.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <utility>

namespace ttt::test {
namespace {

using naive::Vector;
using naive::View;

// x (W - tau G) + b - tau gb
Vector through(View x, const Vector& W, const Vector& b, const Vector& G, const Vector& gb, double tau) {
  Vector changed = W;
  for (std::size_t i = 0; i < changed.size(); ++i) changed[i] -= tau * G[i];
  Vector z = naive::product(x, changed);
  for (std::size_t i = 0; i < z.size(); ++i) z[i] += b[i] - tau * gb[i];
  return z;
}

void add_outer(View x, View g, Vector& G, Vector& gb) {
  for (std::size_t i = 0; i < x.size(); ++i) {
    for (std::size_t o = 0; o < g.size(); ++o) G[i * g.size() + o] += x[i] * g[o];
  }
  for (std::size_t o = 0; o < g.size(); ++o) gb[o] += g[o];
}

void apply(double (*function)(double), Vector& values) {
  for (double& value : values) value = function(value);
}

// To a number of bf16, by rounding to nearest even.
double bf16_number(double x) {
  const auto bits = std::bit_cast<std::uint32_t>(static_cast<float>(x));
  return static_cast<double>(std::bit_cast<float>((bits + 0x7FFFU + ((bits >> 16) & 1U)) & 0xFFFF0000U));
}

double fp32_number(double x) { return static_cast<double>(static_cast<float>(x)); }

}  // namespace

InnerOracle::InnerOracle(InnerParameters parameters, InnerWeights weights)
    : parameters_(std::move(parameters)), weights_(std::move(weights)) {
  sums_ = {Vector(weights_.W1.size()), Vector(weights_.b1.size()), Vector(weights_.W2.size()),
           Vector(weights_.b2.size())};
}

Vector InnerOracle::read(View q, View k, View target, double alpha) {
  const double tau = parameters_.token_eta[open_rows_.size()];
  const Vector zero_1(weights_.W1.size()), zero_b1(weights_.b1.size());
  const Vector a = through(k, weights_.W1, weights_.b1, zero_1, zero_b1, 0.0);
  InnerRow row;
  row.key = {k.begin(), k.end()};
  Vector z = a;
  if (parameters_.mlp) {
    row.hidden = a;
    apply(naive::gelu, row.hidden);
    z = through(row.hidden, weights_.W2, weights_.b2, Vector(weights_.W2.size()), Vector(weights_.b2.size()),
                0.0);
  }
  Vector g = naive::inner_gradient(z, target, parameters_.norm_weight, parameters_.norm_bias);
  for (double& value : g) value *= alpha;
  loss_ = 0.0;
  const Vector normed = naive::layer_norm(z, parameters_.norm_weight, parameters_.norm_bias);
  for (std::size_t i = 0; i < normed.size(); ++i) loss_ += 0.5 * std::pow(normed[i] - target[i], 2.0);
  if (parameters_.mlp) {
    row.gradient_2 = g;
    row.gradient_1 = naive::product_transposed(g, weights_.W2);
    for (std::size_t i = 0; i < a.size(); ++i) row.gradient_1[i] *= naive::gelu_derivative(a[i]);
    add_outer(row.hidden, row.gradient_2, sums_.W2, sums_.b2);
  } else {
    row.gradient_1 = g;
  }
  add_outer(row.key, row.gradient_1, sums_.W1, sums_.b1);
  open_rows_.push_back(row);

  Vector out = through(q, weights_.W1, weights_.b1, sums_.W1, sums_.b1, tau);
  if (parameters_.mlp) {
    apply(naive::gelu, out);
    out = through(out, weights_.W2, weights_.b2, sums_.W2, sums_.b2, tau);
  }
  if (open_rows_.size() == kInnerK) {
    const auto commit = [tau](Vector& weights, Vector& sum) {
      for (std::size_t i = 0; i < weights.size(); ++i) weights[i] -= tau * std::exchange(sum[i], 0.0);
    };
    commit(weights_.W1, sums_.W1);
    commit(weights_.b1, sums_.b1);
    commit(weights_.W2, sums_.W2);
    commit(weights_.b2, sums_.b2);
    open_rows_.clear();
  }
  return naive::layer_norm(out, parameters_.norm_weight, parameters_.norm_bias);
}

InnerProblem::InnerProblem(Random& random, std::size_t head_size, bool mlp, std::size_t num_tokens) {
  const std::size_t f = head_size, m = mlp ? 4 * f : f;
  const auto draw = [&random](std::size_t count, double mean, double deviation, double (*number)(double)) {
    Vector values(count);
    for (double& value : values) value = number(mean + deviation * random.symmetric());
    return values;
  };
  parameters.head_size = f;
  parameters.inner_size = m;
  parameters.mlp = mlp;
  for (std::size_t i = 0; i < kInnerK; ++i) {
    // 1 / i with a learned offset that clamps some at 0.
    const double tau = 1.0 / static_cast<double>(i + 1) + 0.05 * random.symmetric();
    parameters.token_eta.push_back(fp32_number(i + 1 < kInnerK && tau < 0.0 ? 0.0 : std::abs(tau)));
  }
  parameters.token_eta[5] = 0.0;
  parameters.norm_weight = draw(f, 0.7, 0.2, fp32_number);
  parameters.norm_weight[3] = 0.0;
  parameters.norm_bias = draw(f, 0.0, 0.1, fp32_number);
  weights.W1 = draw(f * m, 0.0, 0.1, fp32_number);
  weights.b1 = draw(m, 0.0, 0.05, fp32_number);
  if (mlp) {
    weights.W2 = draw(m * f, 0.0, 0.1, fp32_number);
    weights.b2 = draw(f, 0.0, 0.05, fp32_number);
  }
  const double rate = (mlp ? 0.1 : 1.0) / static_cast<double>(f);
  const Vector common = draw(f, 0.0, 0.7, bf16_number);  // what tokens have in common
  for (std::size_t token = 0; token < num_tokens; ++token) {
    Vector key = draw(f, 0.0, 0.7, bf16_number);
    for (std::size_t i = 0; i < f; ++i) key[i] = bf16_number(key[i] + common[i]);
    q.push_back(draw(f, 0.0, 1.0, bf16_number));
    k.push_back(key);
    target.push_back(draw(f, 0.0, 1.0, bf16_number));
    alpha.push_back(fp32_number(rate * (0.5 + 0.25 * random.symmetric())));
  }
}

}  // namespace ttt::test
