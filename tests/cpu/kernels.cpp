// SPDX-License-Identifier: Apache-2.0
#include "cpu/kernels.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "engine/weight_values.h"
#include "tests/cpu/forced_target.h"
#include "tests/cpu/stored_matrix.h"
#include "tests/error_metric.h"
#include "tests/naive.h"
#include "tests/random.h"

using namespace ttt;
using naive::Vector;
using test::random_floats;

namespace {

Vector doubles(const std::vector<float>& values) { return {values.begin(), values.end()}; }

}  // namespace

TEST_CASE("RMSNorm and LayerNorm follow the oracle for every length") {
  const test::ForcedTarget forced(GENERATE(from_range(cpu::cpu_targets())));
  INFO(cpu::dispatch_target());
  test::Random random(1);
  const double scale = GENERATE(1e-5, 1.0, 1e4);
  std::vector<std::size_t> sizes = {96, 193, 768};
  for (std::size_t size = 1; size <= 70; ++size) sizes.push_back(size);
  for (const std::size_t size : sizes) {
    INFO("size " << size);
    const auto x = random_floats(random, size, 0.3 * scale, scale);
    const auto gain = random_floats(random, size, 1.0, 0.2);
    const auto bias = random_floats(random, size);
    std::vector<float> out(size);
    cpu::rms_norm(x, gain, 1e-6F, out.data());
    CHECK(test::max_difference(doubles(out), naive::rms_norm(doubles(x), doubles(gain), 1e-6)) <= 2e-6);
    cpu::layer_norm(x, gain, bias, out.data());
    // The mean is subtracted first: its rounding error, 6e-8 |x|, is divided by s.
    CHECK(test::max_difference(doubles(out), naive::layer_norm(doubles(x), doubles(gain), doubles(bias))) <=
          4e-6);
    const auto q = random_floats(random, size);
    std::vector<float> sum(size);
    cpu::layer_norm_add(x, gain, bias, q.data(), sum.data());
    for (std::size_t i = 0; i < size; ++i) REQUIRE(sum[i] == q[i] + out[i]);
  }
}

TEST_CASE("LayerNorm keeps its digits where the mean is far from zero") {
  const test::ForcedTarget forced(GENERATE(from_range(cpu::cpu_targets())));
  INFO(cpu::dispatch_target());
  test::Random random(2);
  const auto x = random_floats(random, 64, 100.0, 1.0);
  const std::vector<float> one(64, 1.0F);
  const std::vector<float> zero(64, 0.0F);
  std::vector<float> out(64);
  cpu::layer_norm(x, one, zero, out.data());
  // A one-pass variance would be off by 5e-3 / 100 here; the inputs themselves carry 6e-6.
  CHECK(test::max_difference(doubles(out), naive::layer_norm(doubles(x), doubles(one), doubles(zero))) <=
        2e-5);
}

TEST_CASE("the inner loss and its gradient follow the oracle") {
  const test::ForcedTarget forced(GENERATE(from_range(cpu::cpu_targets())));
  INFO(cpu::dispatch_target());
  test::Random random(3);
  const std::size_t size = GENERATE(2U, 6U, 63U, 64U, 65U, 96U, 128U);
  const auto z = random_floats(random, size, 0.1, 0.5);
  const auto k = random_floats(random, size, 0.0, 0.5), v = random_floats(random, size, 0.0, 0.5);
  const float alpha = 0.3F;
  Vector target = doubles(v);
  for (std::size_t i = 0; i < size; ++i) target[i] -= doubles(k)[i];
  const auto gain = random_floats(random, size, 1.0, 0.2);
  const auto bias = random_floats(random, size, 0.0, 0.1);
  std::vector<float> zhat(size);
  std::vector<float> gradient(size);
  const float loss =
      cpu::layer_norm_loss_gradient(z, gain, bias, k.data(), v.data(), alpha, zhat.data(), gradient.data());
  Vector expected = naive::inner_gradient(doubles(z), target, doubles(gain), doubles(bias));
  for (double& g : expected) g *= static_cast<double>(alpha);
  // The gradient is what is left of e / s after two projections (nothing, for two entries): its rounding
  // error is a few 6e-8 of e / s, with |e| about 3 and s about 0.5.
  CHECK(test::max_difference(doubles(gradient), expected) <= 5e-6);
  const Vector normed = naive::layer_norm(doubles(z), doubles(gain), doubles(bias));
  double expected_loss = 0.0;
  for (std::size_t i = 0; i < size; ++i) expected_loss += 0.5 * std::pow(normed[i] - target[i], 2);
  CHECK(static_cast<double>(loss) == Approx(expected_loss).epsilon(1e-5));
  double sum = 0.0;
  for (const float g : gradient) sum += static_cast<double>(g);
  // Each entry carries a few roundings of alpha e / s, of two entries all that there is.
  CHECK(std::abs(sum) <= 1e-6 * static_cast<double>(alpha) * static_cast<double>(size));
}

TEST_CASE("a constant input has a finite normalisation and gradient") {
  const test::ForcedTarget forced(GENERATE(from_range(cpu::cpu_targets())));
  INFO(cpu::dispatch_target());
  const std::vector<float> z(8, 3.0F);
  const std::vector<float> one(8, 1.0F);
  const std::vector<float> zero(8, 0.0F);
  std::vector<float> zhat(8);
  std::vector<float> gradient(8);
  const float loss = cpu::layer_norm_loss_gradient(z, one, zero, zero.data(), one.data(), 1.0F, zhat.data(),
                                                   gradient.data());
  CHECK(loss == 4.0F);
  for (const float g : gradient) CHECK(g == 0.0F);  // e - mean(e) = 0
}

TEST_CASE("a convolution over (history, rows) equals the oracle, however the rows are cut") {
  const test::ForcedTarget forced(GENERATE(from_range(cpu::cpu_targets())));
  INFO(cpu::dispatch_target());
  test::Random random(4);
  const std::size_t width = GENERATE(11U, 40U);
  const std::size_t taps = GENERATE(1U, 2U, 4U, 7U);
  const std::size_t num_rows = 23;
  const auto x = random_floats(random, num_rows * width);
  const auto weight = random_floats(random, taps * width);  // [c, d]
  const auto bias = random_floats(random, width);
  Vector by_channel(width * taps);
  for (std::size_t ch = 0; ch < width; ++ch) {
    for (std::size_t tap = 0; tap < taps; ++tap) {
      by_channel[ch * taps + tap] = static_cast<double>(weight[tap * width + ch]);
    }
  }
  Vector expected;
  std::vector<Vector> inputs;
  for (std::size_t row = 0; row < num_rows; ++row) {
    const auto begin = x.begin() + static_cast<std::ptrdiff_t>(row * width);
    inputs.emplace_back(begin, begin + static_cast<std::ptrdiff_t>(width));
    const Vector y = naive::conv(inputs, by_channel, doubles(bias));
    expected.insert(expected.end(), y.begin(), y.end());
  }

  std::vector<float> history((taps - 1) * width, 0.0F);
  std::vector<float> y(num_rows * width);
  for (std::size_t row = 0; row < num_rows;) {
    const std::size_t count = std::min(num_rows - row, std::size_t{1} + random.below(5));
    const cpu::ConvInput input{history.data(), taps - 1, x.data() + row * width, count, width};
    cpu::depthwise_conv(input, weight, bias, 0, 4, y.data() + row * width);
    cpu::depthwise_conv(input, weight, bias, 4, width, y.data() + row * width);
    cpu::advance_history(history.data(), taps - 1, input.x, count, taps - 1, width, 0, width);
    row += count;
  }
  CHECK(test::max_difference(doubles(y), expected) <= 5e-6);
}

TEST_CASE("history keeps exactly the rows asked for, growing and shrinking") {
  const std::size_t width = 2;
  std::vector<float> history = {1, 1, 2, 2, 0, 0, 0, 0, 0, 0};
  const std::vector<float> x = {3, 3, 4, 4, 5, 5};
  cpu::advance_history(history.data(), 2, x.data(), 3, 5, width, 0, width);
  CHECK(history == std::vector<float>{1, 1, 2, 2, 3, 3, 4, 4, 5, 5});
  cpu::advance_history(history.data(), 5, x.data(), 0, 3, width, 0, width);
  CHECK(std::vector<float>(history.begin(), history.begin() + 6) == std::vector<float>{3, 3, 4, 4, 5, 5});
  cpu::advance_history(history.data(), 3, x.data(), 1, 2, width, 0, width);
  CHECK(std::vector<float>(history.begin(), history.begin() + 4) == std::vector<float>{5, 5, 3, 3});
}

TEST_CASE("RoPE rotates adjacent pairs of every head by the phase") {
  const test::ForcedTarget forced(GENERATE(from_range(cpu::cpu_targets())));
  INFO(cpu::dispatch_target());
  test::Random random(5);
  const std::size_t head_size = GENERATE(2U, 6U, 14U, 16U, 18U, 34U, 64U, 70U, 96U);
  const double theta = GENERATE(10000.0, 500.0);
  const std::size_t mini_batch = 16;
  const std::vector<float> table = make_rope_table(mini_batch, head_size, theta);
  for (std::size_t phase = 0; phase < mini_batch; ++phase) {
    const auto x = random_floats(random, 3 * head_size);
    std::vector<float> rotated = x;
    cpu::rope(rotated.data(), rotated.size(), head_size, phase, table);
    for (std::size_t head = 0; head < 3; ++head) {
      const Vector part(x.begin() + static_cast<std::ptrdiff_t>(head * head_size),
                        x.begin() + static_cast<std::ptrdiff_t>((head + 1) * head_size));
      const Vector actual(rotated.begin() + static_cast<std::ptrdiff_t>(head * head_size),
                          rotated.begin() + static_cast<std::ptrdiff_t>((head + 1) * head_size));
      REQUIRE(test::max_difference(actual, naive::rope(part, phase, theta)) <= 1e-6);
    }
  }
}

TEST_CASE("elementwise functions follow the oracle for every length, and no further") {
  const test::ForcedTarget forced(GENERATE(from_range(cpu::cpu_targets())));
  INFO(cpu::dispatch_target());
  test::Random random(6);
  for (std::size_t size = 1; size <= 70; ++size) {
    INFO("size " << size);
    const auto gate = random_floats(random, size, 0.0, 3.0);
    const auto up = random_floats(random, size);
    auto silu = gate, gelu = up, derivative = gate, rate = gate, sum = gate;
    std::vector<float> alone(size), with_derivative(size);
    cpu::silu_multiply(silu, up.data());
    cpu::gelu_multiply(gelu, gate.data());
    cpu::gelu(gate, alone.data());
    cpu::gelu_and_derivative(derivative, with_derivative.data());
    cpu::scaled_sigmoid(rate, up.data(), 0.5F);
    cpu::add(sum, up.data());
    for (std::size_t i = 0; i < size; ++i) {
      const double g = doubles(gate)[i], u = doubles(up)[i];
      REQUIRE(std::abs(static_cast<double>(silu[i]) - naive::silu(g) * u) <= 3e-6);
      REQUIRE(std::abs(static_cast<double>(gelu[i]) - naive::gelu(g) * u) <= 3e-6);
      REQUIRE(std::abs(static_cast<double>(alone[i]) - naive::gelu(g)) <= 3e-6);
      REQUIRE(std::abs(static_cast<double>(derivative[i]) - naive::gelu_derivative(g)) <= 2e-6);
      REQUIRE(with_derivative[i] == alone[i]);
      REQUIRE(std::abs(static_cast<double>(rate[i]) - 0.5 * naive::sigmoid(g + u)) <= 3e-7);
      REQUIRE(sum[i] == gate[i] + up[i]);
    }
  }
}
