// SPDX-License-Identifier: Apache-2.0
#include "cpu/inner_loop.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "tests/error_metric.h"
#include "tests/naive.h"
#include "tests/random.h"

using namespace ttt;
using naive::Vector;

namespace {

std::vector<float> random_floats(test::Random& random, std::size_t count, double scale) {
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(scale * random.symmetric());
  return values;
}

Vector part(const std::vector<float>& values, std::size_t first, std::size_t count) {
  const auto begin = values.begin() + static_cast<std::ptrdiff_t>(first);
  return {begin, begin + static_cast<std::ptrdiff_t>(count)};
}

}  // namespace

TEST_CASE("affine is x W + b") {
  test::Random random(1);
  const auto x = random_floats(random, 6, 1.0);
  const auto W = random_floats(random, 6 * 10, 0.3);
  const auto b = random_floats(random, 10, 0.1);
  std::vector<float> out(10);
  cpu::affine(x.data(), W.data(), b.data(), 6, 10, out.data());
  Vector expected = naive::product(part(x, 0, 6), part(W, 0, 60));
  for (std::size_t i = 0; i < 10; ++i) expected[i] += static_cast<double>(b[i]);
  CHECK(test::max_difference(part(out, 0, 10), expected) <= 1e-6);
}

TEST_CASE("reading through the open rows equals reading through the updated weights") {
  // x (W - eta sum k^T g) + b - eta sum g, with the sum materialised in double.
  test::Random random(2);
  const std::size_t in = 6;
  const std::size_t out_size = GENERATE(6U, 24U);
  const std::size_t stride = in + out_size + 3;
  const std::size_t count = GENERATE(0U, 1U, 5U);
  const float eta = 0.7F;
  const auto x = random_floats(random, in, 1.0);
  const auto W = random_floats(random, in * out_size, 0.3);
  const auto b = random_floats(random, out_size, 0.1);
  const auto rows = random_floats(random, 5 * stride, 1.0);

  std::vector<float> sums(out_size);
  std::vector<float> read(out_size);
  cpu::affine(x.data(), W.data(), b.data(), in, out_size, read.data());
  cpu::subtract_open_rows(x.data(), rows.data(), in, rows.data() + in, out_size, stride, count, eta,
                          sums.data(), read.data());

  std::vector<float> W_new = W;
  std::vector<float> b_new = b;
  cpu::commit_rows(rows.data(), in, rows.data() + in, out_size, stride, count, eta, sums.data(), W_new.data(),
                   b_new.data());
  std::vector<float> read_new(out_size);
  cpu::affine(x.data(), W_new.data(), b_new.data(), in, out_size, read_new.data());

  Vector expected(out_size);
  for (std::size_t o = 0; o < out_size; ++o) {
    double bias = static_cast<double>(b[o]);
    for (std::size_t j = 0; j < count; ++j)
      bias -= static_cast<double>(eta) * static_cast<double>(rows[j * stride + in + o]);
    expected[o] = bias;
    for (std::size_t i = 0; i < in; ++i) {
      double weight = static_cast<double>(W[i * out_size + o]);
      for (std::size_t j = 0; j < count; ++j) {
        weight -= static_cast<double>(eta) * static_cast<double>(rows[j * stride + i]) *
                  static_cast<double>(rows[j * stride + in + o]);
      }
      expected[o] += static_cast<double>(x[i]) * weight;
    }
  }
  CHECK(test::max_over_rms(part(read, 0, out_size), expected) <= 3e-6);
  CHECK(test::max_over_rms(part(read_new, 0, out_size), expected) <= 3e-6);
}
