// SPDX-License-Identifier: Apache-2.0
#include "cli/load_plan.h"

#include <random>

namespace ttt::cli {

PlannedRequest LoadPlan::next() {
  std::seed_seq seeds{static_cast<std::uint32_t>(shape_.seed), static_cast<std::uint32_t>(shape_.seed >> 32),
                      static_cast<std::uint32_t>(index_), static_cast<std::uint32_t>(index_ >> 32)};
  std::mt19937_64 generator(seeds);
  PlannedRequest request;
  if (shape_.rate > 0.0) {
    std::gamma_distribution<double> gap(shape_.burstiness, 1.0 / (shape_.rate * shape_.burstiness));
    if (index_ > 0) seconds_ += gap(generator);
    request.seconds = seconds_;
  }
  request.index = index_++;
  const auto length = [&](const LoadShape::Range& range) {
    return std::uniform_int_distribution<std::int64_t>(range.min, range.max)(generator);
  };
  std::uniform_int_distribution<std::int32_t> id(kFirstId, static_cast<std::int32_t>(shape_.vocab_size - 1));
  request.prompt.resize(static_cast<std::size_t>(length(shape_.prompt)));
  for (std::int32_t& token : request.prompt) token = id(generator);
  request.output_tokens = length(shape_.output);
  return request;
}

}  // namespace ttt::cli
