// SPDX-License-Identifier: Apache-2.0
#include "cpu/inner_loop.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "tests/cpu/forced_target.h"
#include "tests/cpu/stored_matrix.h"
#include "tests/error_metric.h"
#include "tests/naive.h"
#include "tests/random.h"

using namespace ttt;
using cpu::Block;
using cpu::MutableBlock;
using naive::Vector;
using test::random_floats;

namespace {

Vector part(const std::vector<float>& values, std::size_t first, std::size_t count) {
  const auto begin = values.begin() + static_cast<std::ptrdiff_t>(first);
  return {begin, begin + static_cast<std::ptrdiff_t>(count)};
}

// Sizes of a head (in) and of the inner model (out).
struct Sizes {
  std::size_t in, out;
};

std::vector<Sizes> all_sizes() {
  std::vector<Sizes> sizes = {{64, 64}, {64, 256}, {96, 96}, {256, 64}};
  for (std::size_t out = 1; out <= 70; ++out) sizes.push_back({6, out});
  return sizes;
}

}  // namespace

TEST_CASE("affine is x W + b, a row alone or among others") {
  const test::ForcedTarget target(GENERATE(from_range(cpu::cpu_targets())));
  INFO(cpu::dispatch_target());
  test::Random random(1);
  for (const auto [in, out_size] : all_sizes()) {
    INFO(in << " to " << out_size);
    constexpr std::size_t kRows = 16;
    const std::size_t x_stride = in + 3, out_stride = out_size + 2;
    const auto x = random_floats(random, (kRows - 1) * x_stride + in);
    const auto W = random_floats(random, in * out_size, 0.0, 0.3);
    const auto b = random_floats(random, out_size, 0.0, 0.1);
    std::vector<float> out(kRows * out_stride, 7.0F);
    cpu::affine({x.data(), x_stride}, kRows, in, W.data(), b.data(), out_size, {out.data(), out_stride});
    for (std::size_t r = 0; r < kRows; ++r) {
      Vector expected = naive::product(part(x, r * x_stride, in), part(W, 0, in * out_size));
      double magnitude = 1.0;
      for (std::size_t i = 0; i < in; ++i) magnitude += std::abs(static_cast<double>(x[r * x_stride + i]));
      for (std::size_t i = 0; i < out_size; ++i) expected[i] += static_cast<double>(b[i]);
      // in + 2 roundings of sums of terms |x| * 0.52.
      const double bound = static_cast<double>(in + 2) * 0x1p-24 * 0.52 * magnitude;
      REQUIRE(test::max_difference(part(out, r * out_stride, out_size), expected) <= bound);
      REQUIRE(out[r * out_stride + out_size] == 7.0F);  // between the rows
    }
    for (std::size_t rows = 1; rows < kRows; ++rows) {
      const std::size_t first = random.below(kRows - rows);
      std::vector<float> some(rows * out_size);
      cpu::affine({x.data() + first * x_stride, x_stride}, rows, in, W.data(), b.data(), out_size,
                  {some.data(), out_size});
      for (std::size_t r = 0; r < rows; ++r) {
        REQUIRE(std::memcmp(some.data() + r * out_size, out.data() + (first + r) * out_stride,
                            out_size * sizeof(float)) == 0);
      }
    }
  }
}

TEST_CASE("a product with the transposed matrix, a row alone or among others") {
  const test::ForcedTarget target(GENERATE(from_range(cpu::cpu_targets())));
  INFO(cpu::dispatch_target());
  test::Random random(2);
  for (std::size_t in = 1; in <= 70; ++in) {
    const std::size_t out_size = 8 + in % 5, rows = 1 + in % 11;
    INFO(in << " to " << out_size << ", " << rows << " rows");
    const auto x = random_floats(random, rows * in);
    const auto W = random_floats(random, out_size * in, 0.0, 0.3);
    const auto factors = random_floats(random, rows * out_size);
    std::vector<float> out(rows * out_size), one(out_size);
    cpu::product_transposed({x.data(), in}, rows, W.data(), in, out_size, {factors.data(), out_size},
                            {out.data(), out_size});
    for (std::size_t r = 0; r < rows; ++r) {
      Vector expected = naive::product_transposed(part(x, r * in, in), part(W, 0, W.size()));
      for (std::size_t o = 0; o < out_size; ++o)
        expected[o] *= static_cast<double>(factors[r * out_size + o]);
      REQUIRE(test::max_difference(part(out, r * out_size, out_size), expected) <= 1e-5);
      cpu::product_transposed({x.data() + r * in, in}, 1, W.data(), in, out_size,
                              {factors.data() + r * out_size, out_size}, {one.data(), out_size});
      REQUIRE(std::memcmp(one.data(), out.data() + r * out_size, out_size * sizeof(float)) == 0);
    }
  }
}

TEST_CASE("reading through the open rows equals reading through the updated weights") {
  // x (W - eta sum k^T g) + b - eta sum g, with the sum materialised in double.
  const test::ForcedTarget target(GENERATE(from_range(cpu::cpu_targets())));
  INFO(cpu::dispatch_target());
  test::Random random(3);
  for (const auto [in, out_size] : all_sizes()) {
    INFO(in << " to " << out_size);
    const std::size_t stride = in + out_size + 3, phase = random.below(7);
    const std::size_t num_rows = 1 + random.below(9), count = phase + num_rows;
    const auto x = random_floats(random, num_rows * in);
    const auto W = random_floats(random, in * out_size, 0.0, 0.3);
    const auto b = random_floats(random, out_size, 0.0, 0.1);
    const auto open = random_floats(random, count * stride);
    const std::vector<float> eta(num_rows, 0.7F);
    const Block keys{open.data(), stride}, gradients{open.data() + in, stride};

    std::vector<float> scores(num_rows * count), read(num_rows * out_size);
    const MutableBlock out{read.data(), out_size};
    cpu::affine({x.data(), in}, num_rows, in, W.data(), b.data(), out_size, out);
    cpu::score_open_rows({x.data(), in}, num_rows, phase, keys, in, {scores.data(), count});
    cpu::subtract_open_rows({scores.data(), count}, num_rows, phase, gradients, out_size, eta.data(), out);

    for (std::size_t r = 0; r < num_rows; ++r) {
      std::vector<float> W_new = W, b_new = b, read_new(out_size);
      cpu::commit_rows(keys, in, gradients, out_size, phase + r + 1, 0.7F, W_new.data(), b_new.data());
      cpu::affine({x.data() + r * in, in}, 1, in, W_new.data(), b_new.data(), out_size,
                  {read_new.data(), out_size});
      Vector W_exact = part(W, 0, W.size()), expected = part(b, 0, out_size);
      for (std::size_t o = 0; o < out_size; ++o) {
        for (std::size_t j = 0; j <= phase + r; ++j) {
          const double step = static_cast<double>(0.7F) * static_cast<double>(open[j * stride + in + o]);
          expected[o] -= step;
          for (std::size_t i = 0; i < in; ++i)
            W_exact[i * out_size + o] -= step * static_cast<double>(open[j * stride + i]);
        }
        for (std::size_t i = 0; i < in; ++i)
          expected[o] += static_cast<double>(x[r * in + i]) * W_exact[i * out_size + o];
      }
      REQUIRE(test::max_difference(part(W_new, 0, W_new.size()), W_exact) <= 1e-5);
      const double scale = 3e-6 * std::max(1.0, test::norm(expected));
      REQUIRE(test::max_difference(part(read, r * out_size, out_size), expected) <= scale);
      REQUIRE(test::max_difference(part(read_new, 0, out_size), expected) <= scale);
    }
  }
}

TEST_CASE("a token is read alike alone and with others, whatever comes after it") {
  const test::ForcedTarget target(GENERATE(from_range(cpu::cpu_targets())));
  INFO(cpu::dispatch_target());
  test::Random random(4);
  const std::size_t in = GENERATE(6U, 64U), out_size = 37, stride = in + out_size;
  const std::size_t num_rows = 14;
  const auto x = random_floats(random, num_rows * in);
  auto open = random_floats(random, num_rows * stride);
  open[(num_rows - 1) * stride + in] = std::numeric_limits<float>::quiet_NaN();  // of the last row only
  const auto eta = random_floats(random, num_rows);
  const Block keys{open.data(), stride}, gradients{open.data() + in, stride};
  const auto read = [&](std::size_t first, std::size_t count) {
    std::vector<float> scores(count * num_rows), out(count * out_size, 0.5F);
    cpu::score_open_rows({x.data() + first * in, in}, count, first, keys, in, {scores.data(), num_rows});
    cpu::subtract_open_rows({scores.data(), num_rows}, count, first, gradients, out_size, eta.data() + first,
                            {out.data(), out_size});
    return out;
  };
  const std::vector<float> all = read(0, num_rows);
  CHECK(std::isnan(all[(num_rows - 1) * out_size]));
  for (std::size_t first = 0; first < num_rows; ++first) {
    for (std::size_t count = 1; first + count <= num_rows; ++count) {
      const std::vector<float> some = read(first, count);
      REQUIRE(std::memcmp(some.data(), all.data() + first * out_size, some.size() * sizeof(float)) == 0);
    }
  }
}
