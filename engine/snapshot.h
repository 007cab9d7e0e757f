// SPDX-License-Identifier: Apache-2.0
// A snapshot: one sequence at rest, as a file. Whoever has the same weights goes on from it.
//
// The file, little endian, nothing else in it:
//     0  "TTTSTATE"
//     8  u32  version, 1
//    12  u32  length of the dispatch target, 1 ... 64
//    16  weights hash, 32 lower-case hex digits
//    48  config hash, likewise
//    80  u64  position: tokens read
//    88  u64  number of tokens, 1 ... 2^31-1, no less than the position
//    96  u64  bytes of the state, a multiple of 4
//   104  dispatch target, printable ASCII, padded with zeros to 64 bytes
//   168  the tokens, i32 each
//        the state, in the canonical form of engine/state_layout.h
//        16 bytes: XXH3-128, canonical form, of all that stands before
// The checksum finds damage; it does not prove who wrote the file.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/config.h"
#include "engine/sequence_state.h"
#include "tokenizer/tokenizer.h"

namespace ttt {

using tokenizer::TokenId;

struct Snapshot {
  std::string weights_hash;     // weights_hash() of the model, 32 lower-case digits
  std::string config_hash;      // config_hash() of it
  std::string dispatch_target;  // BackendInfo::dispatch_target of who computed it
  std::vector<TokenId> tokens;  // the whole sequence; those behind state->position have not been read yet
  std::shared_ptr<const SequenceState> state;  // never empty once read
};

// XXH3-128, as 32 lower-case digits, of what decides about results besides the weights. The name, the
// context length and the special ids are not part of it.
std::string config_hash(const ModelConfig& config);

// The file appears whole or not at all; a new one has mode 0600, since it tells what was read. Throws
// std::system_error, and weights::CheckpointError for what read_snapshot would refuse (a state that is not
// finite): then what stood there is untouched. REQUIRES: snapshot.state is not empty.
void write_snapshot(const std::string& path, const Snapshot& snapshot);

// Never maps the file, and takes no more memory than its size and a few KB. Throws weights::CheckpointError
// for everything that is not as above. What model it is of is left to check_snapshot.
Snapshot read_snapshot(const std::string& path);

// The same of bytes in memory; `name` stands in messages.
Snapshot parse_snapshot(std::span<const std::byte> bytes, std::string_view name);

// By the first 8 bytes; false for folders and for what cannot be read.
bool is_snapshot(const std::string& path);

// `path` stands in messages, `weights_hash` is that of the model at hand. Throws weights::CheckpointError
// unless the snapshot is of this model: its weights, its configuration, a state of the size that belongs to
// the position, ids of its vocabulary. REQUIRES: the snapshot was read, or passes for one that was.
void check_snapshot(const Snapshot& snapshot, const std::string& path, const ModelConfig& config,
                    std::string_view weights_hash);

}  // namespace ttt
