// SPDX-License-Identifier: Apache-2.0
// Small models with random weights that lie in memory: what `ttt selftest` computes where no file is given.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/model.h"
#include "tokenizer/tokenizer.h"
#include "weights/tensor.h"

namespace ttt::cli {

// The same numbers on every machine (SplitMix64).
class RandomNumbers {
 public:
  explicit RandomNumbers(std::uint64_t seed) : state_(seed) {}
  std::uint64_t bits();
  std::size_t between(std::size_t low, std::size_t high) {  // both included
    return low + static_cast<std::size_t>(bits() % (high - low + 1));
  }
  double symmetric();  // uniform, mean 0, variance 1
  std::vector<tokenizer::TokenId> tokens(std::size_t count, std::size_t vocab_size);

 private:
  std::uint64_t state_;
};

struct RandomModel {
  // Every weight matters: no gain is 1, no bias is 0. REQUIRES: rows of whole blocks of `matrix_type`.
  RandomModel(const ModelConfig& config, weights::DType matrix_type, std::uint64_t seed);
  RandomModel(const RandomModel&) = delete;
  RandomModel& operator=(const RandomModel&) = delete;

  Model model;  // views into `bytes`
  std::vector<std::vector<std::byte>> bytes;
};

struct RandomModelCase {
  std::string name;  // "linear f32"
  ModelConfig config;
  weights::DType matrix_type;
};

// TTT-Linear and TTT-MLP with every switch on, in each float type of weights, head sizes of 64 and of 20
// (which no vector width divides), both without switches, and each block type in one of them.
std::vector<RandomModelCase> random_model_cases();

}  // namespace ttt::cli
