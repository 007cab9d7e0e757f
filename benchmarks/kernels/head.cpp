// SPDX-License-Identifier: Apache-2.0
// What stands around the layers: rows of the embedding, and of a row of logits its log-sum-exp, its most
// probable tokens and the token at temperature 0. One thread, as the backend gives a row to one.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <memory>
#include <numeric>
#include <vector>

#include "benchmarks/kernels/measure.h"
#include "cpu/packed_matrix.h"
#include "engine/log_probs.h"
#include "engine/sampler.h"
#include "tests/cpu/stored_matrix.h"
#include "tests/error_metric.h"
#include "tests/product_errors.h"
#include "tests/random.h"
#include "weights/element_type.h"

namespace ttt::bench {
namespace {

constexpr std::size_t kVocabulary = 32000, kTop = 20;

struct Logits {
  Logits() {
    test::Random random(1);
    logits = test::random_floats(random, kVocabulary, 0.0, 3.0);
    exact.assign(logits.begin(), logits.end());
  }

  // Terms within 2e-7, summed in double: so is the sum's logarithm, and the difference to the largest is
  // rounded before its exponential, which changes a term by half a unit of that difference.
  double sum_error() const {
    const double largest = *std::ranges::max_element(exact), wanted = test::log_sum_exp(exact);
    double spread = 0.0;  // the mean difference, as the terms weigh it
    for (const double logit : exact) spread += std::exp(logit - wanted) * (largest - logit);
    return test::excess(std::abs(log_sum_exp(logits) - wanted), 2e-7 + 0x1p-24 * spread);
  }

  double top_error() {
    std::vector<std::size_t> order(kVocabulary);
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) { return exact[a] > exact[b]; });
    const double sum = test::log_sum_exp(exact);
    top_log_probs(logits, sum, top);
    double largest = 0.0;
    for (std::size_t i = 0; i < kTop; ++i) {
      if (top[i].id != static_cast<TokenId>(order[i])) return 1e9;
      const double wanted = exact[order[i]] - sum;
      largest = std::max(largest, test::excess(std::abs(static_cast<double>(top[i].log_prob) - wanted),
                                               1.01 * 0x1p-24 * std::abs(wanted)));
    }
    return largest;
  }

  TokenId sample() { return sampler.sample(logits, greedy, {}, {}, 7); }

  double sample_error() {
    const auto wanted = std::ranges::max_element(exact) - exact.begin();
    return sample() == static_cast<TokenId>(wanted) ? 0.0 : 1e9;
  }

  static SamplingParams at_temperature_0() {
    SamplingParams params;
    params.temperature = 0.0F;
    return params;
  }

  std::vector<float> logits;
  std::vector<double> exact;
  std::vector<TokenLogProb> top = std::vector<TokenLogProb>(kTop);
  Sampler sampler = Sampler(kVocabulary);
  SamplingParams greedy = at_temperature_0();
  double sink = 0.0;
};

struct HeadKernel {
  const char* name;
  double operations;  // of a logit
  double (*error)(Logits&);
  void (*run)(Logits&);
};

Case make_case(Machine& machine, const HeadKernel& kernel) {
  const auto logits = std::make_shared<Logits>();
  Case result;
  result.work = {
      .bytes = kVocabulary * sizeof(float), .operations = kernel.operations * kVocabulary, .shared = false};
  result.error_over_bound = [logits, error = kernel.error] { return error(*logits); };
  result.run = [logits, run = kernel.run] { run(*logits); };
  result.read = [logits, &machine] {
    machine.read(logits->logits, 0);
    return static_cast<double>(kVocabulary * sizeof(float));
  };
  return result;
}

// Rows of the embedding [32000, d]. Each lies in a panel of 16.
struct Embedding {
  Embedding(Machine& machine, weights::DType type, std::size_t d)
      : dtype(type), random(1), stored(random, type, kVocabulary, d, 0), packed(stored.tensor, machine.pool) {
    tokens = random.tokens(512, kVocabulary);
    out.resize(tokens.size() * d);
  }

  void run() {
    for (std::size_t i = 0; i < tokens.size(); ++i)
      packed.read_output(static_cast<std::size_t>(tokens[i]), &out[i * packed.num_inputs()]);
  }

  // Widened exactly.
  double error_over_bound() {
    std::ranges::fill(out, std::nanf(""));
    run();
    const std::size_t d = packed.num_inputs();
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      const float* const found = out.data() + i * d;
      if (!std::equal(found, found + d, &stored.values[static_cast<std::size_t>(tokens[i]) * d])) return 1e9;
    }
    return 0.0;
  }

  weights::DType dtype;
  test::Random random;
  test::StoredMatrix stored;
  cpu::PackedMatrix packed;
  std::vector<TokenId> tokens;
  std::vector<float> out;
};

Case embedding_case(Machine& machine, weights::DType dtype, std::size_t d) {
  const auto embedding = std::make_shared<Embedding>(machine, dtype, d);
  const double row_bytes = static_cast<double>(embedding->stored.tensor.bytes.size()) / kVocabulary;
  Case result;
  result.work.bytes =
      (row_bytes + static_cast<double>(d * sizeof(float))) * static_cast<double>(embedding->tokens.size());
  result.work.shared = false;
  result.error_over_bound = [embedding] { return embedding->error_over_bound(); };
  result.run = [embedding] { embedding->run(); };
  result.read = [embedding, &machine] {
    const auto packed = embedding->packed.packed();
    machine.read({reinterpret_cast<const float*>(packed.data()), packed.size() / sizeof(float)}, 0);
    return static_cast<double>(packed.size());
  };
  return result;
}

}  // namespace

void add_head_kernels(Machine& machine) {
  // An exponential is 17 operations there, with the difference, the rounding and both parts of ln 2 seven
  // more.
  const HeadKernel kernels[] = {{"log_sum_exp", 24.0, [](Logits& l) { return l.sum_error(); },
                                 [](Logits& l) { l.sink = log_sum_exp(l.logits); }},
                                {"top_log_probs", 0.0, [](Logits& l) { return l.top_error(); },
                                 [](Logits& l) { top_log_probs(l.logits, 12.0, l.top); }},
                                {"sample_greedy", 0.0, [](Logits& l) { return l.sample_error(); },
                                 [](Logits& l) { l.sink = static_cast<double>(l.sample()); }}};
  for (const HeadKernel& kernel : kernels) {
    add(machine, fmt::format("{}/{}", kernel.name, kVocabulary),
        [&machine, kernel] { return make_case(machine, kernel); });
  }
  for (const auto dtype : {weights::DType::kF32, weights::DType::kBF16, weights::DType::kQ8_0}) {
    add(machine, fmt::format("embedding/32000x2048/{}/rows:512", weights::dtype_info(dtype).name),
        [&machine, dtype] { return embedding_case(machine, dtype, 2048); });
  }
}

}  // namespace ttt::bench
