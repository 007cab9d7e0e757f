// SPDX-License-Identifier: Apache-2.0
// What the HTTP interface needs to know of the model that it serves. Plain data; borrows the tokenizer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/config.h"
#include "engine/sequence_state.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/tokenizer.h"

namespace ttt::server {

// A sequence that clients go on from, by its name.
struct SavedState {
  std::vector<tokenizer::TokenId> tokens;  // all of it; those behind state->position have not been read
  std::shared_ptr<const SequenceState> state;
};

struct ServedModel {
  std::vector<std::string> names;  // that clients may ask for; the first is told. "*" accepts every name
  ModelConfig config;
  const tokenizer::Tokenizer* tokenizer = nullptr;  // null: token ids only
  std::optional<tokenizer::TokenId> bos_id;         // put before texts; empty: the model asks for none
  std::optional<tokenizer::TokenId> eos_id;
  std::optional<tokenizer::ChatTemplate> chat_template;  // empty: chats are refused
  std::map<std::string, SavedState> states;
  std::uint64_t num_parameters = 0;
  std::string weights_type;  // "F32", of the matrices
  std::string weights_hash;
  std::string fingerprint;  // changes whenever results may: version, device, kernels, weights
  std::string version;      // of the program
  std::string device;
  std::size_t slots = 1;
  std::size_t slot_bytes = 0;
  std::int64_t created = 0;  // Unix time
};

}  // namespace ttt::server
