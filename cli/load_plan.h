// SPDX-License-Identifier: Apache-2.0
// What a load test sends and when: a function of its seed, whatever the server does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace ttt::cli {

struct LoadShape {
  // Inclusive; a request has a length from it, all equally likely.
  struct Range {
    std::int64_t min = 1;
    std::int64_t max = 1;
  };
  double rate = 0.0;        // requests that arrive a second; 0: each as soon as another may be sent
  double burstiness = 1.0;  // shape of the gamma distribution between arrivals; 1: Poisson, below: in bursts
  Range prompt = {};        // tokens
  Range output = {};        // tokens
  std::int64_t vocab_size = 0;
  std::uint64_t seed = 0;
};

struct PlannedRequest {
  std::uint64_t index = 0;
  double seconds = 0.0;  // when it arrives, from the start
  std::vector<std::int32_t> prompt;
  std::int64_t output_tokens = 0;
};

// Hands out one request after another, so that a test of a million takes no memory.
class LoadPlan {
 public:
  // REQUIRES: vocab_size > kFirstId, burstiness > 0, 1 <= min <= max.
  explicit LoadPlan(const LoadShape& shape) : shape_(shape) {}
  PlannedRequest next();

  static constexpr std::int32_t kFirstId = 3;  // below are, by custom, unknown, begin and end of text

 private:
  LoadShape shape_;
  std::uint64_t index_ = 0;
  double seconds_ = 0.0;
};

}  // namespace ttt::cli
