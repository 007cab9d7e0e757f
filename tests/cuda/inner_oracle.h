// SPDX-License-Identifier: Apache-2.0
// The inner loop of one head in float64, token by token from the update rule, with the updated fast weights
// materialised: no dual form. Mini-batches of 16.
#pragma once

#include <cstddef>
#include <vector>

#include "tests/naive.h"
#include "tests/random.h"

namespace ttt::test {

inline constexpr std::size_t kInnerK = 16;

struct InnerParameters {
  std::size_t head_size = 0;   // f
  std::size_t inner_size = 0;  // m'; f for TTT-Linear, whose second layer is empty
  bool mlp = false;
  naive::Vector token_eta;               // [16]
  naive::Vector norm_weight, norm_bias;  // [f]
};

struct InnerWeights {
  naive::Vector W1, b1, W2, b2;  // [f, m'], [m'], [m', f], [f]
};

struct InnerRow {
  naive::Vector key, hidden, gradient_1, gradient_2;
};

class InnerOracle {
 public:
  InnerOracle(InnerParameters parameters, InnerWeights weights);

  // N(z), without the residual q. `target` is v - k.
  naive::Vector read(naive::View q, naive::View k, naive::View target, double alpha);
  double loss() const { return loss_; }
  const InnerWeights& weights() const { return weights_; }  // committed
  const std::vector<InnerRow>& open_rows() const { return open_rows_; }

 private:
  InnerParameters parameters_;
  InnerWeights weights_;
  InnerWeights sums_;  // of the open mini-batch's gradients
  std::vector<InnerRow> open_rows_;
  double loss_ = 0.0;
};

// One head's random sequence and first weights; q, k and target are numbers of bf16.
struct InnerProblem {
  InnerProblem(Random& random, std::size_t head_size, bool mlp, std::size_t num_tokens);

  InnerParameters parameters;
  InnerWeights weights;
  std::vector<naive::Vector> q, k, target;  // [tokens][f]
  naive::Vector alpha;                      // [tokens]
};

}  // namespace ttt::test
