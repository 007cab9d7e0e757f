// SPDX-License-Identifier: Apache-2.0
// What `ttt selftest` asks of a backend that runs a model: the model's numbers against float64, and the
// promise of engine/backend.h that a token's result depends on its sequence alone. The backend comes from a
// factory, so that tests can put a faulty one in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cli/open_model.h"
#include "cli/selftest_models.h"
#include "engine/backend.h"
#include "engine/model.h"

namespace ttt::cli {

// `threads` 0: as many as the user asked for.
using BackendFactory = std::function<std::unique_ptr<Backend>(const Model& model, const BackendLimits& limits,
                                                              std::int64_t threads)>;

// Passes if value <= bound; NaN does not.
struct Measured {
  double value = 0.0;
  double bound = 0.0;
  std::string unit = {};  // "differing values"
  std::string note = {};  // what was done; of a failure what to do
  bool skipped = false;

  static Measured skip(std::string reason);
  bool passed() const { return value <= bound; }
};

// How much is computed.
struct Effort {
  std::size_t prefix = 0;  // tokens that are read once, before those that are read in many ways
  std::size_t tokens = 0;  // of the prompt, those of the prefix included
  std::size_t generated = 12;
};

class BackendChecks {
 public:
  // Reads the prompt once. `model` and `factory` must outlive it. REQUIRES: ids of the model, some more than
  // the prefix.
  BackendChecks(const Model& model, const BackendFactory& factory, std::span<const TokenId> tokens,
                const Effort& effort);

  Measured finite_logits() const;
  // Largest difference over the root mean square of the reference, logits and state. REQUIRES: no prefix.
  Measured logits_against_float64(double bound) const;
  Measured state_against_float64(double bound) const;
  Measured chunking();          // in random cuts and token by token
  Measured batch_isolation();   // among three strangers
  Measured threads();           // one thread, and at least two
  Measured state_round_trip();  // saved at a random place of a mini-batch, loaded into another slot
  Measured rewind();
  // Greedy and sampled requests through an Engine at once, against tokens drawn one by one.
  Measured engine();

  const Backend& backend() const { return *backend_; }

 private:
  class Differences;  // counts the values that are not bitwise equal
  struct Oracle {
    std::vector<double> logits, state;
  };
  using Bytes = std::vector<std::byte>;

  std::int64_t end() const { return static_cast<std::int64_t>(tokens_.size()); }
  void begin(Backend& backend, SlotId slot) const;  // a slot that has read the prefix
  std::vector<float> read(Backend& backend, SlotId slot, std::int64_t from, std::int64_t to) const;
  Bytes save(const Backend& backend, SlotId slot, std::int64_t position) const;
  std::span<const float> logits_of(std::int64_t from, std::int64_t to) const;
  void read_in_pieces(std::size_t longest, Differences& differences);
  std::vector<TokenId> draw_one_by_one(std::size_t prompt, const SamplingParams& sampling);
  const Oracle& oracle() const;

  const Model& model_;
  const BackendFactory& factory_;
  Effort effort_;
  BackendLimits limits_;
  std::vector<TokenId> tokens_;
  std::unique_ptr<Backend> backend_;
  std::int64_t prefix_ = 0;
  Bytes prefix_state_;
  std::vector<float> logits_;  // after each token behind the prefix, [tokens - prefix, V]
  Bytes state_;                // after all tokens
  mutable std::optional<Oracle> oracle_;
  RandomNumbers random_{1};
};

}  // namespace ttt::cli
