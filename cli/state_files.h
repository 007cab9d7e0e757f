// SPDX-License-Identifier: Apache-2.0
// --state-in and --state-out of `ttt run`: files of a sequence that goes on later, or on another machine.
#pragma once

#include <optional>
#include <string>

#include "cli/generate.h"
#include "cli/open_model.h"
#include "engine/backend.h"
#include "engine/request.h"
#include "engine/snapshot.h"

namespace ttt::cli {

struct StateOptions {
  std::optional<std::string> in, out;
};

// Of the weights: as the model's file states it, else, also where it states something else than a hash, from
// all of their bytes. Throws Interrupted.
std::string hash_of(const ModelFiles& files);

// "8 of 9 tokens read, a state of 409 kB"
std::string readable_state(const Snapshot& snapshot);

// Says where the bits of what follows may be others than those of the computer that began.
void compare_targets(const Snapshot& snapshot, const std::string& path, const BackendInfo& backend);

class StateFiles {
 public:
  // Reads the sequence that goes on. Throws UsageError where --state-out names what must not be replaced,
  // std::system_error where nothing can be written there, CheckpointError.
  explicit StateFiles(const StateOptions& options);

  // Throws CheckpointError where the sequence is another model's, std::runtime_error where the disk has no
  // room for a state of this one.
  void check(const ModelFiles& files);

  // Tokens in front of the prompt that are not read again.
  std::size_t tokens_read() const;

  // Puts the sequence in front of the prompt, and asks for the state that is to be saved.
  void extend(GenerationRequest& request) const;
  void compare(const BackendInfo& backend) const;
  // Saves what the request's one choice ended with, also one that was interrupted. Throws std::system_error.
  void save(const GenerationRequest& request, const Choice& choice, const BackendInfo& backend) const;

 private:
  StateOptions options_;
  std::optional<Snapshot> start_;
  std::string weights_hash_, config_hash_;  // of the model
};

}  // namespace ttt::cli
