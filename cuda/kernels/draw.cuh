// SPDX-License-Identifier: Apache-2.0
// See draw.h. A block per row. A sum has an order that depends on the size of the vocabulary alone.
#pragma once

#include <cfloat>
#include <cmath>

#include "cuda/kernels/candidates.cuh"
#include "cuda/kernels/device.cuh"
#include "cuda/kernels/draw.h"

namespace ttt::cuda {

constexpr unsigned kDrawThreads = 256;
constexpr unsigned kDigits = 16;  // of the search for a logit: four bits at a time
// [kDigits][kDrawThreads] of every thread, then [kDigits] of all.
constexpr unsigned kDrawSharedDoubles = kDigits * kDrawThreads + kDigits;

// Larger logits have larger keys, equal ones equal keys: minus zero becomes zero.
TTT_DEVICE std::uint32_t key_of(float logit) {
  const std::uint32_t bits = float_bits(logit + 0.0F);
  return bits & 0x80000000U ? ~bits : bits | 0x80000000U;
}

TTT_DEVICE float to_finite(float logit) {
  const float raised = logit > -FLT_MAX ? logit : -FLT_MAX;  // NaN, too
  return raised < FLT_MAX ? raised : FLT_MAX;
}

TTT_DEVICE float penalised(float logit, const DrawEntry& entry, const CountEntry& count) {
  if (count.in_window > 0 && entry.repetition_penalty != 1.0F) {
    logit = logit > 0.0F ? logit / entry.repetition_penalty : logit * entry.repetition_penalty;
  }
  if (count.in_output > 0) {
    logit -= entry.presence_penalty;
    logit -= entry.frequency_penalty * static_cast<float>(count.in_output);
  }
  return to_finite(logit);
}

class RowDraw {
 public:
  TTT_DEVICE RowDraw(const DrawParams& p, const DrawEntry& entry, double* shared)
      : entry_(entry),
        vocab_size_(p.vocab_size),
        logits_(p.logits + std::size_t{entry.row} * p.vocab_size),
        adjusted_(p.adjusted + std::size_t{blockIdx.x} * p.vocab_size),
        weights_(p.weights + std::size_t{blockIdx.x} * p.vocab_size),
        shared_(shared) {
    const unsigned size = (vocab_size_ + kDrawThreads - 1) / kDrawThreads;
    begin_ = threadIdx.x * size < vocab_size_ ? threadIdx.x * size : vocab_size_;
    end_ = begin_ + size < vocab_size_ ? begin_ + size : vocab_size_;
  }

  TTT_DEVICE void run() {
    adjust();
    const Candidate best =
        next_best(adjusted_, vocab_size_, {0.0F, -1}, reinterpret_cast<Candidate*>(shared_));
    if (entry_.temperature == 0.0F) {
      if (threadIdx.x == 0) write(static_cast<unsigned>(best.id));
      return;
    }
    weigh(best.logit);
    if (entry_.top_k > 0 && static_cast<unsigned>(entry_.top_k) < vocab_size_) {
      keep_best(static_cast<double>(entry_.top_k), [](double) { return 1.0; });
    }
    if (entry_.top_p < 1.0F) {
      const double total = sum([](double weight) { return weight; });
      keep_best(static_cast<double>(entry_.top_p) * total, [](double weight) { return weight; });
    }
    if (entry_.min_p > 0.0F) keep_probable();
    draw();
  }

 private:
  TTT_DEVICE void write(unsigned id) const { *entry_.drawn = {static_cast<std::int32_t>(id), logits_[id]}; }

  // Penalties and bans. A banned logit is minus infinity, as is what a filter leaves out.
  TTT_DEVICE void adjust() {
    for (unsigned id = threadIdx.x; id < vocab_size_; id += kDrawThreads)
      adjusted_[id] = to_finite(logits_[id]);
    sync_block();
    for (unsigned i = threadIdx.x; i < entry_.num_counts; i += kDrawThreads) {
      const CountEntry count = entry_.counts[i];
      adjusted_[count.id] = penalised(adjusted_[count.id], entry_, count);
    }
    sync_block();
    for (unsigned i = threadIdx.x; i < entry_.num_banned; i += kDrawThreads) {
      adjusted_[entry_.banned[i]] = -INFINITY;
    }
    sync_block();
  }

  // Each thread has the ids from begin_ to end_ from here on.
  TTT_DEVICE void weigh(float largest) {
    const auto temperature = static_cast<double>(entry_.temperature);
    for (unsigned id = begin_; id < end_; ++id) {
      const double difference = static_cast<double>(adjusted_[id]) - static_cast<double>(largest);
      weights_[id] = is_left(id) ? exp(difference / temperature) : 0.0;
    }
  }
  TTT_DEVICE bool is_left(unsigned id) const { return adjusted_[id] > -INFINITY; }
  TTT_DEVICE void leave_out(unsigned id) {
    adjusted_[id] = -INFINITY;
    weights_[id] = 0.0;
  }

  // Every thread gets the sum of what the threads before it brought, and that of all.
  TTT_DEVICE double sum_before(double mine, double& all) {
    sync_block();
    shared_[threadIdx.x] = mine;
    sync_block();
    double before = 0.0;
    all = 0.0;
    for (unsigned thread = 0; thread < kDrawThreads; ++thread) {
      if (thread == threadIdx.x) before = all;
      all += shared_[thread];
    }
    return before;
  }
  TTT_DEVICE double sum_of_own() const {
    double own = 0.0;
    for (unsigned id = begin_; id < end_; ++id) own += weights_[id];
    return own;
  }
  template <typename Measure>
  TTT_DEVICE double sum(Measure measure) {
    double own = 0.0, all = 0.0;
    for (unsigned id = begin_; id < end_; ++id) own += is_left(id) ? measure(weights_[id]) : 0.0;
    sum_before(own, all);
    return all;
  }

  // Keeps the fewest, by logit descending and id ascending, that together measure `wanted`; one at least, and
  // all where they measure less.
  template <typename Measure>
  TTT_DEVICE void keep_best(double wanted, Measure measure) {
    if (!(wanted > 0.0)) wanted = DBL_MIN;
    std::uint32_t last = 0;  // the key of the last one that is kept, four bits at a time
    double before = 0.0;     // measure of those with larger keys
    for (int shift = 28; shift >= 0; shift -= 4) {
      const double* const digits = measure_digits(last, shift, measure);
      unsigned digit = kDigits - 1;
      while (digit > 0 && before + digits[digit] < wanted) before += digits[digit--];
      last |= digit << shift;
    }
    double of_one = 0.0, ties = 0.0, num_ties = 0.0;
    for (unsigned id = begin_; id < end_; ++id) {
      if (is_left(id) && key_of(adjusted_[id]) == last) {
        of_one = measure(weights_[id]);
        ties += 1.0;
      }
    }
    double rank = sum_before(ties, num_ties);
    for (unsigned id = begin_; id < end_; ++id) {
      if (!is_left(id)) continue;
      const std::uint32_t key = key_of(adjusted_[id]);
      const bool stays = key > last || (key == last && (rank == 0.0 || before + rank * of_one < wanted));
      if (key == last) rank += 1.0;
      if (!stays) leave_out(id);
    }
  }

  // Of those whose keys begin like `prefix`, above `shift` + 4 bits: the measure of each next digit.
  template <typename Measure>
  TTT_DEVICE const double* measure_digits(std::uint32_t prefix, int shift, Measure measure) {
    sync_block();  // the digits before are no longer read
    double* const own = shared_ + threadIdx.x;
    for (unsigned digit = 0; digit < kDigits; ++digit) own[digit * kDrawThreads] = 0.0;
    for (unsigned id = begin_; id < end_; ++id) {
      if (!is_left(id)) continue;
      const std::uint32_t key = key_of(adjusted_[id]);
      const bool begins_alike = shift == 28 || (key ^ prefix) >> (shift + 4) == 0;
      if (begins_alike) own[(key >> shift) % kDigits * kDrawThreads] += measure(weights_[id]);
    }
    sync_block();
    double* const digits = shared_ + kDigits * kDrawThreads;
    if (threadIdx.x < kDigits) {
      double all = 0.0;
      for (unsigned thread = 0; thread < kDrawThreads; ++thread) {
        all += shared_[threadIdx.x * kDrawThreads + thread];
      }
      digits[threadIdx.x] = all;
    }
    sync_block();
    return digits;
  }

  // The most probable one weighs 1 and is left.
  TTT_DEVICE void keep_probable() {
    for (unsigned id = begin_; id < end_; ++id) {
      if (is_left(id) && weights_[id] < static_cast<double>(entry_.min_p)) leave_out(id);
    }
  }

  // The thread in whose ids the sum, in order of ids, comes to exceed the draw.
  TTT_DEVICE void draw() {
    const double own = sum_of_own();
    double all = 0.0;
    const double before = sum_before(own, all);
    const double threshold = entry_.uniform * all;
    if (before > threshold || !(before + own > threshold)) return;
    double mine = 0.0;
    for (unsigned id = begin_; id < end_; ++id) {
      mine += weights_[id];
      if (before + mine > threshold) return write(id);
    }
  }

  const DrawEntry& entry_;
  const unsigned vocab_size_;
  const float* const logits_;
  float* const adjusted_;
  double* const weights_;
  double* const shared_;
  unsigned begin_, end_;
};

__global__ void __launch_bounds__(kDrawThreads) draw(const DrawParams p) {
  TTT_DYNAMIC_SHARED(shared_bytes);
  const DrawEntry entry = p.entries[blockIdx.x];
  RowDraw(p, entry, reinterpret_cast<double*>(shared_bytes)).run();
}

}  // namespace ttt::cuda
