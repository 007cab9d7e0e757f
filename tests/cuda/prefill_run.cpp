// SPDX-License-Identifier: Apache-2.0
#include "tests/cuda/prefill_run.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <span>

#include "cuda/cuda_check.h"
#include "tests/cuda/device_array.h"
#include "tests/error_metric.h"

namespace ttt::test {
namespace {

using cuda::check;
using naive::Vector;

std::uint16_t bf16_bits(double number) {
  return static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(static_cast<float>(number)) >> 16);
}

float bf16_value(std::uint16_t bits) { return std::bit_cast<float>(std::uint32_t{bits} << 16); }

void put(const Vector& values, std::vector<float>& state, std::size_t at) {
  for (const double value : values) state[at++] = static_cast<float>(value);
}

std::vector<float> first_state(const PrefillLayout& layout, const std::vector<PrefillSequence>& sequences) {
  std::size_t num_slots = 0;
  for (const PrefillSequence& sequence : sequences) num_slots = std::max(num_slots, sequence.slot + 1);
  // Open rows and the slots of nobody are NaN: who reads them shows it.
  std::vector<float> state(num_slots * layout.slot_stride(), std::numeric_limits<float>::quiet_NaN());
  const std::size_t f = layout.head_size, m = layout.inner_size;
  for (const PrefillSequence& sequence : sequences) {
    const std::size_t slot = sequence.slot * layout.slot_stride();
    for (std::size_t head = 0; head < layout.num_heads; ++head) {
      const InnerWeights& weights = sequence.heads[head].weights;
      put(weights.W1, state, slot + layout.W1() + head * f * m);
      put(weights.b1, state, slot + layout.b1() + head * m);
      if (layout.mlp) {
        put(weights.W2, state, slot + layout.W2() + head * f * m);
        put(weights.b2, state, slot + layout.b2() + head * f);
      }
    }
  }
  return state;
}

// The rows of one call, of all sequences one after another.
struct CallRows {
  std::vector<cuda::SegmentEntry> segments;
  std::vector<std::uint16_t> q, k, target;
  std::vector<float> alpha;
  std::size_t num_rows = 0;
};

CallRows rows_of_call(const PrefillLayout& layout, const std::vector<PrefillSequence>& sequences,
                      const std::vector<std::size_t>& positions, std::size_t call, std::size_t row_stride,
                      float* state) {
  CallRows rows;
  for (std::size_t s = 0; s < sequences.size(); ++s) {
    const PrefillSequence& sequence = sequences[s];
    const std::size_t count = call < sequence.cuts.size() ? sequence.cuts[call] : 0;
    if (count == 0) continue;
    rows.segments.push_back({.state = state + sequence.slot * layout.slot_stride(),
                             .first_row = static_cast<std::uint32_t>(rows.num_rows),
                             .num_rows = static_cast<std::uint32_t>(count),
                             .phase = static_cast<std::uint32_t>(positions[s] % kInnerK),
                             .wants_losses = 1});
    rows.num_rows += count;
    for (std::size_t token = positions[s]; token < positions[s] + count; ++token) {
      const auto append = [&](std::vector<std::uint16_t>& to, auto InnerProblem::*from) {
        const std::size_t end = to.size() + row_stride;
        for (const InnerProblem& head : sequence.heads) {
          for (const double number : (head.*from)[token]) to.push_back(bf16_bits(number));
        }
        to.resize(end, 0x7FC0);  // NaN between the rows
      };
      append(rows.q, &InnerProblem::q);
      append(rows.k, &InnerProblem::k);
      append(rows.target, &InnerProblem::target);
      for (std::size_t head = 0; head < layout.num_heads; ++head) {
        rows.alpha.push_back(static_cast<float>(sequence.heads[head].alpha[token]));
      }
    }
  }
  return rows;
}

std::vector<float> concatenated(const std::vector<InnerProblem>& heads, Vector InnerParameters::*part) {
  std::vector<float> values;
  for (const InnerProblem& head : heads) {
    for (const double value : head.parameters.*part) values.push_back(static_cast<float>(value));
  }
  return values;
}

}  // namespace

PrefillSequence random_sequence(Random& random, const PrefillLayout& layout, std::size_t slot,
                                const std::vector<std::size_t>& cuts) {
  PrefillSequence sequence;
  sequence.slot = slot;
  sequence.cuts = cuts;
  const std::size_t tokens = std::accumulate(cuts.begin(), cuts.end(), std::size_t{0});
  for (std::size_t head = 0; head < layout.num_heads; ++head) {
    sequence.heads.emplace_back(random, layout.head_size, layout.mlp, tokens);
  }
  return sequence;
}

void share_parameters(std::vector<PrefillSequence>& sequences) {
  const std::vector<InnerProblem> first = sequences.front().heads;
  for (PrefillSequence& sequence : sequences) {
    for (std::size_t head = 0; head < sequence.heads.size(); ++head) {
      sequence.heads[head].parameters = first[head].parameters;
      sequence.heads[head].parameters.token_eta = first.front().parameters.token_eta;
    }
  }
}

PrefillResult run_prefill(const PrefillKernel& kernel, const PrefillLayout& layout,
                          const std::vector<PrefillSequence>& sequences) {
  const std::size_t width = layout.num_heads * layout.head_size, row_stride = width + 8;
  const DeviceArray<float> state(first_state(layout, sequences));
  const std::vector<InnerProblem>& heads = sequences.front().heads;
  std::vector<float> eta = concatenated({heads.front()}, &InnerParameters::token_eta);
  const DeviceArray<float> token_eta(eta);
  const DeviceArray<float> norm_weight(concatenated(heads, &InnerParameters::norm_weight));
  const DeviceArray<float> norm_bias(concatenated(heads, &InnerParameters::norm_bias));
  cudaStream_t stream = nullptr;
  check(cudaStreamCreate(&stream), "a stream");

  PrefillResult result;
  result.out.resize(sequences.size());
  result.losses.resize(sequences.size());
  std::vector<std::size_t> positions(sequences.size());
  std::size_t num_calls = 0;
  for (const PrefillSequence& sequence : sequences) num_calls = std::max(num_calls, sequence.cuts.size());
  for (std::size_t call = 0; call < num_calls; ++call) {
    const CallRows rows = rows_of_call(layout, sequences, positions, call, row_stride, state.get());
    const DeviceArray<std::uint16_t> q(rows.q), k(rows.k), target(rows.target);
    const DeviceArray<std::uint16_t> out(std::vector<std::uint16_t>(rows.num_rows * row_stride, 0x7FC0));
    const DeviceArray<float> alpha(rows.alpha);
    const DeviceArray<float> losses(std::vector<float>(rows.num_rows * layout.num_heads, NAN));
    const DeviceArray<cuda::SegmentEntry> segments(rows.segments);
    kernel({.segments = segments.get(),
            .q = q.get(),
            .k = k.get(),
            .target = target.get(),
            .out = out.get(),
            .row_stride = row_stride,
            .alpha = alpha.get(),
            .losses = losses.get(),
            .losses_row_stride = layout.num_heads,
            .token_eta = token_eta.get(),
            .norm_weight = norm_weight.get(),
            .norm_bias = norm_bias.get(),
            .fast_weights = layout.W1(),
            .open_rows = layout.open_rows(),
            .num_segments = static_cast<std::int32_t>(rows.segments.size()),
            .num_heads = static_cast<std::int32_t>(layout.num_heads)},
           stream);
    check(cudaStreamSynchronize(stream), "a prefill kernel");
    const std::vector<std::uint16_t> outs = out.read();
    const std::vector<float> all_losses = losses.read();
    std::size_t row = 0;
    for (std::size_t s = 0; s < sequences.size(); ++s) {
      const std::size_t count = call < sequences[s].cuts.size() ? sequences[s].cuts[call] : 0;
      for (const std::size_t end = row + count; row < end; ++row) {
        for (std::size_t i = 0; i < width; ++i)
          result.out[s].push_back(bf16_value(outs[row * row_stride + i]));
        for (std::size_t head = 0; head < layout.num_heads; ++head) {
          result.losses[s].push_back(all_losses[row * layout.num_heads + head]);
        }
      }
      positions[s] += count;
    }
  }
  check(cudaStreamDestroy(stream), "a stream");
  result.state = state.read();
  return result;
}

PrefillError compare_prefill(const PrefillResult& result, const PrefillLayout& layout,
                             const std::vector<PrefillSequence>& sequences) {
  const std::size_t f = layout.head_size, m = layout.inner_size, H = layout.num_heads;
  PrefillError worst;
  const auto keep_worst = [](double& to, double error) { to = error <= to ? to : error; };  // NaN stays
  for (std::size_t s = 0; s < sequences.size(); ++s) {
    const float* const slot = result.state.data() + sequences[s].slot * layout.slot_stride();
    for (std::size_t head = 0; head < H; ++head) {
      const InnerProblem& problem = sequences[s].heads[head];
      InnerOracle oracle(problem.parameters, problem.weights);
      Vector out, expected, losses, expected_losses;
      for (std::size_t token = 0; token < problem.q.size(); ++token) {
        const Vector normed =
            oracle.read(problem.q[token], problem.k[token], problem.target[token], problem.alpha[token]);
        for (std::size_t i = 0; i < f; ++i) {
          out.push_back(static_cast<double>(result.out[s][(token * H + head) * f + i]) - problem.q[token][i]);
          expected.push_back(normed[i]);
        }
        losses.push_back(static_cast<double>(result.losses[s][token * H + head]));
        expected_losses.push_back(oracle.loss());
      }
      const Vector zero(out.size());
      keep_worst(worst.out, relative_l2(out, expected, zero));
      keep_worst(worst.out_max, max_difference(out, expected) / (0.05 * rms(expected) + 0.03));
      keep_worst(worst.losses, relative_l2(losses, expected_losses, Vector(losses.size())));
      const auto compare = [&](std::size_t at, const Vector& reference, const Vector& origin) {
        return relative_l2(to_doubles(std::span(slot + at, reference.size())), reference, origin);
      };
      const InnerWeights &now = oracle.weights(), &first = problem.weights;
      keep_worst(worst.weights, compare(layout.W1() + head * f * m, now.W1, first.W1));
      keep_worst(worst.weights, compare(layout.b1() + head * m, now.b1, first.b1));
      if (layout.mlp) {
        keep_worst(worst.weights, compare(layout.W2() + head * f * m, now.W2, first.W2));
        keep_worst(worst.weights, compare(layout.b2() + head * f, now.b2, first.b2));
      }
      for (std::size_t row = 0; row < oracle.open_rows().size(); ++row) {
        std::size_t at = layout.open_rows() + row * layout.open_row_floats();
        const InnerRow& open = oracle.open_rows()[row];
        const auto part = [&](const Vector& reference, std::size_t size) {
          keep_worst(worst.open_rows, compare(at + head * size, reference, Vector(size)));
          at += H * size;
        };
        part(open.key, f);
        if (layout.mlp) part(open.hidden, m);
        part(open.gradient_1, m);
        if (layout.mlp) part(open.gradient_2, f);
      }
    }
  }
  return worst;
}

}  // namespace ttt::test
