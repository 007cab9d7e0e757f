// SPDX-License-Identifier: Apache-2.0
// The pre-convolution, and the two convolutions that share the projection of q and k, with the move of their
// history: 512 rows cut by channels (the forward pass cuts those of q and k by heads), and one row after a
// mini-batch's first eight.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <memory>
#include <vector>

#include "benchmarks/kernels/measure.h"
#include "cpu/aligned_floats.h"
#include "cpu/kernels.h"
#include "tests/cpu/stored_matrix.h"
#include "tests/product_errors.h"
#include "tests/random.h"

namespace ttt::bench {
namespace {

constexpr std::size_t kTaps = 4, kPhase = 8, kHistoryRows = kTaps - 1 + kPhase;

struct Convolution {
  Convolution(std::size_t d, std::size_t rows, std::size_t convolutions)
      : width(d), num_rows(rows), x(rows * d), history(d * (kTaps - 1 + 16)) {
    test::Random random(1);
    for (float& value : x) value = static_cast<float>(random.symmetric());
    for (float& value : history) value = static_cast<float>(random.symmetric());
    first_history = history;
    for (std::size_t i = 0; i < convolutions; ++i) {
      weights.push_back(test::random_floats(random, kTaps * d));
      biases.push_back(test::random_floats(random, d));
      outputs.emplace_back(rows * d);
    }
  }

  // The rows that stay after `num_rows` more, as cpu/forward.cpp counts them.
  std::size_t kept() const { return kTaps - 1 + (kPhase + num_rows) % 16; }

  void run(std::size_t begin, std::size_t end) {
    const cpu::ConvInput input{history.data(), kHistoryRows, x.data(), num_rows, width};
    for (std::size_t i = 0; i < outputs.size(); ++i)
      cpu::depthwise_conv(input, weights[i], biases[i], begin, end, outputs[i].data());
    cpu::advance_history(history.data(), kHistoryRows, x.data(), num_rows, kept(), width, begin, end);
  }

  // Row `index` of (history, x).
  const float* row(std::size_t index) const {
    return index < kHistoryRows ? &first_history[index * width] : &x[(index - kHistoryRows) * width];
  }

  // A term is rounded at most twice, and with each of the sums after it.
  double error_over_bound() const {
    double largest = 0.0;
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      for (std::size_t at = 0; at < outputs[i].size(); ++at) {
        const std::size_t r = at / width, ch = at % width;
        double sum = static_cast<double>(biases[i][ch]), magnitude = std::abs(sum);
        for (std::size_t tap = 0; tap < kTaps; ++tap) {
          const double term = static_cast<double>(weights[i][tap * width + ch]) *
                              static_cast<double>(row(kHistoryRows + r + tap - (kTaps - 1))[ch]);
          sum += term;
          magnitude += std::abs(term);
        }
        const double error = std::abs(static_cast<double>(outputs[i][at]) - sum);
        largest = std::max(largest, test::excess(error, 1.01 * (kTaps + 1) * 0x1p-24 * magnitude));
      }
    }
    for (std::size_t r = 0; r < kept(); ++r) {
      const float* const found = history.data() + r * width;
      if (!std::equal(found, found + width, row(kHistoryRows + num_rows - kept() + r))) return 1e9;
    }
    return largest;
  }

  std::size_t width, num_rows;
  cpu::AlignedFloats x, history, first_history;
  std::vector<std::vector<float>> weights, biases;
  std::vector<cpu::AlignedFloats> outputs;
};

Case make_case(Machine& machine, std::size_t width, std::size_t rows, std::size_t convolutions) {
  const auto conv = std::make_shared<Convolution>(width, rows, convolutions);
  const bool shared = rows > 1;
  const auto for_channels = [&machine, width, shared](auto&& fn) {
    if (!shared) return fn(std::size_t{0}, width, std::size_t{0});
    machine.pool.for_ranges(width, kAlways, fn);
  };
  // Of the history, what taps read and what is new in it.
  const std::size_t history_rows = kTaps - 1 + std::min(rows, conv->kept());
  Case result;
  result.work.bytes =
      static_cast<double>(((1 + convolutions) * rows + convolutions * (kTaps + 1) + history_rows) * width) *
      sizeof(float);
  result.work.operations = 2.0 * static_cast<double>(kTaps * convolutions * rows * width);
  result.work.shared = shared;
  result.prepare = [conv] { conv->history = conv->first_history; };
  result.run = [conv, for_channels] {
    for_channels([&](std::size_t begin, std::size_t end, std::size_t) { conv->run(begin, end); });
  };
  result.read = [conv, &machine, shared] {
    double bytes = 0.0;
    const auto read = [&](const cpu::AlignedFloats& floats) {
      if (shared) {
        bytes += machine.read_shared(floats);
      } else {
        machine.read(floats, 0);
        bytes += static_cast<double>(floats.size() * sizeof(float));
      }
    };
    read(conv->x);
    read(conv->history);
    for (const cpu::AlignedFloats& output : conv->outputs) read(output);
    return bytes;
  };
  result.error_over_bound = [conv, prepare = result.prepare, run = result.run] {
    for (cpu::AlignedFloats& output : conv->outputs) std::ranges::fill(output, std::nanf(""));
    prepare();
    run();
    return conv->error_over_bound();
  };
  return result;
}

}  // namespace

void add_convolutions(Machine& machine) {
  for (const std::size_t width : {std::size_t{768}, std::size_t{2048}}) {
    for (const std::size_t rows : {std::size_t{1}, std::size_t{512}}) {
      add(machine, fmt::format("pre_conv/{}/rows:{}", width, rows),
          [&machine, width, rows] { return make_case(machine, width, rows, 1); });
      add(machine, fmt::format("shared_qk_conv/{}/rows:{}", width, rows),
          [&machine, width, rows] { return make_case(machine, width, rows, 2); });
    }
  }
}

}  // namespace ttt::bench
