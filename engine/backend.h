// SPDX-License-Identifier: Apache-2.0
// THE seam: what a device must do to run TTT models. Token ids go in, small results come out; nothing of
// the device shows above. Everything that is not machine-specific is decided elsewhere: weights and shapes
// in engine/model.h, mini-batches in engine/mini_batch.h, state in engine/state_layout.h, sampling in
// engine/sampler.h. The mathematics is docs/ttt.md. tests/contract/ checks what can be seen from outside.
//
// Positions. The caller knows how many tokens each slot has read and passes that number in; a backend
// keeps no counter. A slot's contents are defined after reset(), load() or copy() into it.
//
// Exactness. The result of a token depends on its sequence alone. It is bitwise the same whatever else is
// in the batch, however the sequence was cut into segments, whichever slot holds it, and however many
// threads work (design promise; a backend that can keep it only in part says so in BackendInfo).
//
// Every function REQUIRES slots in range, positions >= 0 (also after a segment's tokens: no overflow) and,
// but for wait() and info(), no batch in flight.
//
// Errors. A broken precondition ("REQUIRES") throws std::logic_error before anything was changed; so does
// std::bad_alloc, where a step wants more log-probabilities than any before it. A device
// that fails throws std::runtime_error from submit() or wait(); then the slots of that batch are undefined
// and all others are untouched. A device that will do nothing more in this process throws DeviceLost, from
// any function but info(), then and ever after.
//
// Threads. One thread calls a backend at a time. submit() may return before the work is done; the caller
// keeps the batch and everything it points to alive until wait() returns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>

#include "engine/batch.h"

namespace ttt {

struct BackendInfo {
  std::string device;           // "cpu", "cuda:0"
  std::string device_name;      // "AMD EPYC 7B13", for people
  std::string dispatch_target;  // which kernels run; results are bitwise equal within one target
  bool bitwise_invariant = true;
  std::size_t num_slots = 0;
  std::size_t max_batch_tokens = 0;  // over all segments of a batch
  std::size_t max_logits_rows = 0;   // rows of raw logits in a batch
  std::size_t num_threads = 0;       // of the CPU that compute; 0: the device's own alone
  std::size_t slot_bytes = 0;        // one sequence's state on the device
  std::size_t weights_bytes = 0;     // in the device's memory, beyond the mapped file
  std::size_t workspace_bytes = 0;   // everything else, fixed at start
};

// The sentence says what to do: only a new process can use the device again, if anything can.
class DeviceLost : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class Backend {
 public:
  virtual ~Backend() = default;
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;

  virtual const BackendInfo& info() const = 0;

  // A new sequence: the learned initial fast weights (not zeros), no open rows, zero convolution inputs.
  virtual void reset(SlotId slot) = 0;

  // `to` becomes an independent copy of `from`, which has read `position` tokens, its last sampled token
  // included. from == to changes nothing.
  virtual void copy(SlotId from, SlotId to, std::int64_t position) = 0;

  // Forgets the tokens from `to` up to `from` exactly: afterwards the slot is as it was at `to`, but for its
  // last sampled token, which is forgotten (as by reset and load). from == to changes nothing.
  // REQUIRES: same_mini_batch(from, to): a commit cannot be undone.
  virtual void rewind(SlotId slot, std::int64_t from, std::int64_t to) = 0;

  // The canonical form of engine/state_layout.h. REQUIRES: bytes.size() == state_bytes(config, position).
  virtual void save(SlotId slot, std::int64_t position, std::span<std::byte> bytes) const = 0;
  virtual void load(SlotId slot, std::int64_t position, std::span<const std::byte> bytes) = 0;

  // Reads every segment's tokens into its slot and computes what is wanted of them.
  // REQUIRES: a batch of at least one segment; slots distinct; each segment has at least one token and a
  // position >= 0; token ids and targets in [0, V); the limits of info(); targets.size() == rows *
  // targets_per_row; top_n <= V; where a token is to be sampled, no fault by find_fault() of
  // engine/sampling_params.h, and the ids of counts and banned in [0, V); token_from_last_sample only where
  // the slot's last segment sampled a token, and then `tokens` is empty.
  virtual void submit(std::span<const Segment> batch) = 0;

  // Waits for the batch and returns one result per segment, in order. The views live until the next
  // submit(). REQUIRES: a batch in flight.
  virtual std::span<const SegmentResult> wait() = 0;

 protected:
  Backend() = default;
};

}  // namespace ttt
