// SPDX-License-Identifier: Apache-2.0
#include "cuda/drawer.h"

namespace ttt::cuda {
namespace {

bool penalises(const SamplingParams& params) {
  return params.repetition_penalty != 1.0F || params.presence_penalty != 0.0F ||
         params.frequency_penalty != 0.0F;
}

}  // namespace

std::span<const TokenCount> counts_that_matter(const Wanted& wanted) {
  return penalises(*wanted.sample) ? wanted.counts : std::span<const TokenCount>();
}

Drawer drawer_of(const Wanted& wanted, std::size_t vocab_size) {
  if (wanted.sample == nullptr) return Drawer::kNobody;
  const SamplingParams& params = *wanted.sample;
  const std::size_t num_counts = counts_that_matter(wanted).size();
  const std::size_t num_banned = params.banned.size() + wanted.banned.size();
  const bool changes_nothing =
      params.logit_bias.empty() && params.allowed.empty() && num_counts == 0 && num_banned == 0;
  if (params.temperature == 0.0F && changes_nothing) return Drawer::kLargest;
  const bool suits_device = params.logit_bias.empty() && params.allowed.empty() && params.typical_p == 1.0F &&
                            num_counts <= kMostListed && num_banned <= kMostListed && num_banned < vocab_size;
  return suits_device ? Drawer::kDevice : Drawer::kHost;
}

}  // namespace ttt::cuda
