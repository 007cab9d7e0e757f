// SPDX-License-Identifier: Apache-2.0
// A stream of random numbers that is the same on every platform (SplitMix64).
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace ttt::test {

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t bits() {
    std::uint64_t z = (state_ += 0x9E3779B97F4A7C15U);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31);
  }
  std::size_t below(std::size_t limit) { return static_cast<std::size_t>(bits() % limit); }
  std::size_t between(std::size_t low, std::size_t high) {
    return low + below(high - low + 1);
  }  // both included
  // Uniform, mean 0, variance 1.
  double symmetric() { return std::sqrt(12.0) * (static_cast<double>(bits() >> 11) * 0x1p-53 - 0.5); }
  std::vector<tokenizer::TokenId> tokens(std::size_t count, std::size_t vocab_size) {
    std::vector<tokenizer::TokenId> ids(count);
    for (tokenizer::TokenId& id : ids) id = static_cast<tokenizer::TokenId>(below(vocab_size));
    return ids;
  }

 private:
  std::uint64_t state_;
};

}  // namespace ttt::test
