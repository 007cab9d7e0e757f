// SPDX-License-Identifier: Apache-2.0
// The inner loop of a whole layer, as the forward pass runs it (cpu/forward.cpp): a prompt of 512 tokens at
// once, with the fast weights in the cache, and single tokens, which find theirs in memory.
#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "benchmarks/kernels/measure.h"
#include "cpu/aligned_floats.h"
#include "cpu/inner_loop.h"
#include "engine/random_weights.h"
#include "engine/state_layout.h"
#include "engine/step_cost.h"
#include "tests/cuda/inner_oracle.h"
#include "tests/error_metric.h"
#include "tests/random.h"

namespace ttt::bench {
namespace {

// Maximum over rms, against float64: of a layer's output in fp32, and of the fast weights that it learns.
// Tests of whole models (tests/cpu/oracle.cpp) allow 5e-5 after up to four layers and 1e-5.
constexpr double kOutputTolerance = 2e-5;
constexpr double kWeightsTolerance = 1e-5;

constexpr std::size_t kPrompt = 512;
constexpr std::size_t kHeadsTogether = 4;  // as cpu/forward.cpp has them for single tokens
constexpr std::size_t kCopyBytes = std::size_t{96} << 20;

// Only what the inner loop has: one layer without convolutions.
ModelConfig one_layer(const std::string& size) {
  ModelConfig config = official_config(size);
  config.num_hidden_layers = 1;
  config.pre_conv = config.share_qk = false;
  return config;
}

void copy_to(const naive::Vector& from, float* to) {
  std::ranges::transform(from, to, [](double value) { return static_cast<float>(value); });
}

naive::Vector part(const float* from, std::size_t count) { return {from, from + count}; }

// `count` copies of a layer's state, and tokens to read.
class InnerLayer {
 public:
  InnerLayer(Machine& machine, const ModelConfig& config, std::size_t count, std::size_t num_tokens)
      : machine_(machine),
        config_(config),
        num_tokens_(num_tokens),
        state_floats_(fast_weight_floats(config) + config.mini_batch_size * open_row_floats(config)),
        states_(count * state_floats_),
        q_(num_tokens * config.hidden_size),
        k_(q_.size()),
        v_(q_.size()),
        out_(q_.size()),
        alpha_(num_tokens * heads()),
        scratch_stride_(
            cpu::inner_loop_scratch_floats(config.head_size(), config.inner_size(), config.mini_batch_size)),
        scratch_(machine.pool.num_threads() * scratch_stride_) {
    test::Random random(1);
    for (std::size_t a = 0; a < heads(); ++a) {
      problems_.emplace_back(random, config.head_size(), config.is_mlp(), num_tokens);
      // All heads have the norm and the rates of the first.
      problems_[a].parameters = problems_[0].parameters;
      place(a);
    }
    const test::InnerParameters& shared = problems_[0].parameters;
    token_eta_.assign(shared.token_eta.begin(), shared.token_eta.end());
    norm_weight_.assign(shared.norm_weight.begin(), shared.norm_weight.end());
    norm_bias_.assign(shared.norm_bias.begin(), shared.norm_bias.end());
    reset();
  }

  std::size_t count() const { return states_.size() / state_floats_; }
  std::span<const float> states() const { return states_; }
  std::span<const float> rows() const { return q_; }

  // Fast weights as they were at first.
  void reset() {
    for (std::size_t copy = 0; copy < count(); ++copy) {
      for (std::size_t a = 0; a < heads(); ++a) {
        const cpu::InnerLoopHead head = head_of(copy, a);
        const test::InnerWeights& weights = problems_[a].weights;
        copy_to(weights.W1, head.W1);
        copy_to(weights.b1, head.b1);
        if (!config_.is_mlp()) continue;
        copy_to(weights.W2, head.W2);
        copy_to(weights.b2, head.b2);
      }
    }
  }

  // `tokens` from `first` on, in one call for each head.
  void read(std::size_t copy, std::size_t first, std::size_t tokens) {
    const std::size_t grain = tokens == 1 ? kHeadsTogether : 1;
    const auto work = [&](std::size_t begin, std::size_t end, std::size_t thread) {
      for (std::size_t a = begin; a < end; ++a) {
        if (tokens == 1 && a + 1 < heads()) {
          cpu::fetch_open_rows(head_of(copy, a + 1), static_cast<std::int64_t>(first));
        }
        (config_.is_mlp() ? cpu::ttt_mlp : cpu::ttt_linear)(head_of(copy, a), segment(a, first, tokens),
                                                            scratch_.data() + thread * scratch_stride_);
      }
    };
    machine_.pool.for_pieces(heads(), grain, kAlways, work);
  }

  // The first copy's, against float64: the output of every token and the fast weights afterwards. The larger
  // of both over its tolerance.
  double error_over_bound(std::size_t tokens_at_once) {
    reset();
    for (std::size_t first = 0; first < num_tokens_; first += tokens_at_once) read(0, first, tokens_at_once);
    naive::Vector found, wanted, found_weights, wanted_weights;
    for (std::size_t a = 0; a < heads(); ++a) compare(a, found, wanted, found_weights, wanted_weights);
    const double output = test::max_over_rms(found, wanted) / kOutputTolerance;
    const double weights = test::max_over_rms(found_weights, wanted_weights) / kWeightsTolerance;
    const double largest = std::max(output, weights);
    return largest <= 1.0 ? 0.0 : largest;
  }

 private:
  std::size_t heads() const { return config_.num_attention_heads; }

  void place(std::size_t a) {
    const std::size_t f = config_.head_size(), width = config_.hidden_size;
    const test::InnerProblem& problem = problems_[a];
    for (std::size_t token = 0; token < num_tokens_; ++token) {
      const std::size_t at = token * width + a * f;
      copy_to(problem.q[token], &q_[at]);
      copy_to(problem.k[token], &k_[at]);
      for (std::size_t i = 0; i < f; ++i) {
        v_[at + i] = static_cast<float>(problem.target[token][i] + problem.k[token][i]);
      }
      alpha_[token * heads() + a] = static_cast<float>(problem.alpha[token]);
    }
  }

  void compare(std::size_t a, naive::Vector& found, naive::Vector& wanted, naive::Vector& found_weights,
               naive::Vector& wanted_weights) {
    const std::size_t f = config_.head_size(), m = config_.inner_size();
    const auto append = [](naive::Vector& all, const naive::Vector& more) {
      all.insert(all.end(), more.begin(), more.end());
    };
    const test::InnerProblem& problem = problems_[a];
    test::InnerOracle oracle(problem.parameters, problem.weights);
    for (std::size_t token = 0; token < num_tokens_; ++token) {
      const std::size_t at = token * config_.hidden_size + a * f;
      const naive::Vector q = part(&q_[at], f), k = part(&k_[at], f);
      naive::Vector target = part(&v_[at], f);
      for (std::size_t i = 0; i < f; ++i) target[i] -= k[i];
      naive::Vector out = oracle.read(q, k, target, static_cast<double>(alpha_[token * heads() + a]));
      for (std::size_t i = 0; i < f; ++i) out[i] += q[i];
      append(wanted, out);
      append(found, part(&out_[at], f));
    }
    const cpu::InnerLoopHead head = head_of(0, a);
    append(wanted_weights, oracle.weights().W1);
    append(found_weights, part(head.W1, f * m));
    if (!config_.is_mlp()) return;
    append(wanted_weights, oracle.weights().W2);
    append(found_weights, part(head.W2, m * f));
  }

  // As engine/state_layout.h has them.
  cpu::InnerLoopHead head_of(std::size_t copy, std::size_t a) {
    const std::size_t f = config_.head_size(), m = config_.inner_size();
    float* at = states_.data() + copy * state_floats_;
    const auto take = [&](std::size_t floats_per_head) {
      float* const mine = at + a * floats_per_head;
      at += heads() * floats_per_head;
      return mine;
    };
    cpu::InnerLoopHead head;
    head.head_size = f;
    head.inner_size = m;
    head.mini_batch_size = config_.mini_batch_size;
    head.token_eta = token_eta_;
    head.norm_weight = norm_weight_;
    head.norm_bias = norm_bias_;
    head.W1 = take(f * m);
    head.b1 = take(m);
    if (config_.is_mlp()) head.W2 = take(m * f);
    if (config_.is_mlp()) head.b2 = take(f);
    head.open_row_stride = open_row_floats(config_);
    head.key = take(f);
    if (config_.is_mlp()) head.hidden = take(m);
    head.gradient_1 = take(m);
    if (config_.is_mlp()) head.gradient_2 = take(f);
    return head;
  }

  cpu::InnerLoopRows segment(std::size_t a, std::size_t first, std::size_t tokens) {
    const std::size_t at = first * config_.hidden_size + a * config_.head_size();
    cpu::InnerLoopRows rows;
    rows.position = static_cast<std::int64_t>(first);
    rows.num_rows = tokens;
    rows.q = q_.data() + at;
    rows.k = k_.data() + at;
    rows.v = v_.data() + at;
    rows.out = out_.data() + at;
    rows.row_stride = config_.hidden_size;
    rows.alpha = alpha_.data() + first * heads() + a;
    rows.alpha_stride = heads();
    return rows;
  }

  Machine& machine_;
  ModelConfig config_;
  std::size_t num_tokens_, state_floats_;
  cpu::AlignedFloats states_;
  std::vector<test::InnerProblem> problems_;  // of each head
  cpu::AlignedFloats q_, k_, v_, out_, alpha_;
  std::vector<float> token_eta_, norm_weight_, norm_bias_;
  std::size_t scratch_stride_;
  cpu::AlignedFloats scratch_;
};

// The states are read once and written once, q, k, v and the output pass.
Case prefill(Machine& machine, const ModelConfig& config) {
  const auto layer = std::make_shared<InnerLayer>(machine, config, 1, kPrompt);
  Case result;
  result.work.bytes =
      static_cast<double>(2 * fast_weight_floats(config) + 4 * layer->rows().size()) * sizeof(float);
  result.work.operations = token_flops(config).inner_loop * static_cast<double>(kPrompt);
  result.error_over_bound = [layer] { return layer->error_over_bound(kPrompt); };
  result.read = [layer, &machine] {
    return machine.read_shared(layer->states()) + machine.read_shared(layer->rows());
  };
  result.prepare = [layer] { layer->reset(); };
  result.run = [layer] { layer->read(0, 0, kPrompt); };
  return result;
}

// One mini-batch of single tokens: each goes through all copies before the next.
Case decode(Machine& machine, const ModelConfig& config) {
  const std::size_t K = config.mini_batch_size;
  const std::size_t state_bytes = (fast_weight_floats(config) + K * open_row_floats(config)) * sizeof(float);
  const auto layer = std::make_shared<InnerLayer>(machine, config,
                                                  std::max<std::size_t>(1, kCopyBytes / state_bytes), 2 * K);
  const auto tokens = static_cast<double>(K * layer->count());
  Case result;
  result.work.bytes = state_traffic_bytes(config) * tokens;
  result.work.operations = token_flops(config).inner_loop * tokens;
  result.error_over_bound = [layer] { return layer->error_over_bound(1); };
  result.read = [layer, &machine] { return machine.read_shared(layer->states()); };
  result.run = [layer, K] {
    for (std::size_t token = 0; token < K; ++token) {
      for (std::size_t copy = 0; copy < layer->count(); ++copy) layer->read(copy, token, 1);
    }
  };
  return result;
}

}  // namespace

void add_inner_loops(Machine& machine) {
  for (const std::string size : {"125m", "125m-mlp", "1.3b", "1.3b-mlp"}) {
    const ModelConfig config = one_layer(size);
    add(machine, fmt::format("inner_loop/{}/tokens:{}", size, kPrompt),
        [&machine, config] { return prefill(machine, config); });
    add(machine, fmt::format("inner_loop/{}/tokens:1", size),
        [&machine, config] { return decode(machine, config); });
  }
}

}  // namespace ttt::bench
