// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: any bytes as a snapshot, once as they are and once with the checksum that belongs to
// them, without which no change would come past it.
#include "engine/snapshot.h"

#include <xxhash.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#include "tests/fuzz/tensor_check.h"
#include "weights/checkpoint_error.h"

namespace {

using ttt::weights::require;

// The configuration of the corpus's valid-linear-unread.
ttt::ModelConfig fuzz_config() {
  ttt::ModelConfig config;
  config.vocab_size = 10;
  config.hidden_size = 4;
  config.intermediate_size = 4;
  config.num_hidden_layers = 1;
  config.num_attention_heads = 2;
  config.mini_batch_size = 4;
  return config;
}

// What the header promises of every snapshot that was read.
void check_read(const ttt::Snapshot& snapshot, std::size_t file_bytes) {
  const ttt::SequenceState& state = *snapshot.state;
  require(snapshot.weights_hash.size() == 32 && snapshot.config_hash.size() == 32);
  require(!snapshot.dispatch_target.empty() && snapshot.dispatch_target.size() <= 64);
  require(!snapshot.tokens.empty() && state.position >= 0);
  require(static_cast<std::uint64_t>(state.position) <= snapshot.tokens.size());
  require(file_bytes == 184 + 4 * snapshot.tokens.size() + state.bytes.size());
  for (const ttt::TokenId id : snapshot.tokens) require(id >= 0);
  std::vector<float> values(state.bytes.size() / sizeof(float));
  require(values.size() * sizeof(float) == state.bytes.size());
  if (!values.empty()) std::memcpy(values.data(), state.bytes.data(), state.bytes.size());
  for (const float value : values) require(std::isfinite(value));
}

void read_one(std::span<const std::byte> bytes) {
  try {
    ttt::Snapshot snapshot = ttt::parse_snapshot(bytes, "fuzz");
    check_read(snapshot, bytes.size());
    const ttt::ModelConfig config = fuzz_config();
    snapshot.config_hash = ttt::config_hash(config);
    ttt::check_snapshot(snapshot, "fuzz", config, snapshot.weights_hash);
    for (const ttt::TokenId id : snapshot.tokens) require(id < 10);
  } catch (const ttt::weights::CheckpointError&) {  // a refusal; anything else is a finding
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  read_one(bytes);
  if (size < sizeof(XXH128_canonical_t)) return 0;
  std::vector<std::byte> sealed(bytes.begin(), bytes.end());
  const std::size_t content = size - sizeof(XXH128_canonical_t);
  XXH128_canonical_t checksum;
  XXH128_canonicalFromHash(&checksum, XXH3_128bits(sealed.data(), content));
  std::memcpy(sealed.data() + content, &checksum, sizeof checksum);
  read_one(sealed);
  return 0;
}
