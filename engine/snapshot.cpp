// SPDX-License-Identifier: Apache-2.0
#include "engine/snapshot.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <new>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "engine/state_layout.h"
#include "weights/atomic_file.h"
#include "weights/checked.h"
#include "weights/checkpoint_error.h"
#include "weights/file_reader.h"
#include "weights/limits.h"
#include "weights/mapped_file.h"

namespace ttt {
namespace {

static_assert(std::endian::native == std::endian::little, "snapshots are read and written without swapping");

constexpr std::string_view kSnapshotMagic = "TTTSTATE";
constexpr std::uint32_t kSnapshotVersion = 1;
constexpr std::uint64_t kMaxSnapshotTokens = std::numeric_limits<std::int32_t>::max();
constexpr std::string_view kSnapshotDamaged =
    "The file is damaged or incomplete: save the state again, or take a copy of it.";
constexpr std::string_view kSnapshotNotWritten = "Nothing was written: the file could not be read again.";

// The bytes in front of the tokens, as they lie in the file.
struct SnapshotHeader {
  std::array<char, 8> magic = {};
  std::uint32_t version = 0;
  std::uint32_t target_length = 0;
  std::array<char, 32> weights_hash = {};
  std::array<char, 32> config_hash = {};
  std::uint64_t position = 0;
  std::uint64_t num_tokens = 0;
  std::uint64_t state_bytes = 0;
  std::array<char, 64> target = {};
};
static_assert(sizeof(SnapshotHeader) == 168 && std::is_trivially_copyable_v<SnapshotHeader>);

constexpr std::uint64_t kSmallestSnapshot = sizeof(SnapshotHeader) + sizeof(XXH128_canonical_t);

template <std::size_t size>
std::string_view text_of(const std::array<char, size>& field) {
  return {field.data(), size};
}

// Refuses one file, with the same remedy for all that can be wrong with it.
struct SnapshotRefuser {
  std::string_view file;
  std::string_view remedy;
  [[noreturn]] void operator()(std::string_view where, std::string_view wanted,
                               std::string_view found) const {
    weights::refuse({.file = file, .where = where, .wanted = wanted, .found = found, .remedy = remedy});
  }
};

void check_digits(std::string_view where, std::string_view text, const SnapshotRefuser& fail) {
  const auto is_digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  if (!std::all_of(text.begin(), text.end(), is_digit)) fail(where, "32 lower-case hex digits", text);
}

void check_target(const SnapshotHeader& header, const SnapshotRefuser& fail) {
  const std::string_view field = text_of(header.target);
  if (header.target_length == 0 || header.target_length > field.size()) {
    fail("dispatch target", fmt::format("1 to {} bytes", field.size()),
         fmt::format("{} bytes", header.target_length));
  }
  const std::string_view target = field.substr(0, header.target_length);
  const auto is_printable = [](char c) { return c >= 0x20 && c <= 0x7e; };
  if (!std::all_of(target.begin(), target.end(), is_printable))
    fail("dispatch target", "printable ASCII", target);
  if (field.find_first_not_of('\0', header.target_length) != std::string_view::npos)
    fail("dispatch target", "zeros behind it", "other bytes");
}

void check_snapshot_header(const SnapshotHeader& header, const SnapshotRefuser& fail) {
  check_target(header, fail);
  check_digits("weights hash", text_of(header.weights_hash), fail);
  check_digits("config hash", text_of(header.config_hash), fail);
  if (header.num_tokens == 0 || header.num_tokens > kMaxSnapshotTokens) {
    fail("number of tokens", fmt::format("1 to {}", kMaxSnapshotTokens),
         fmt::format("{}", header.num_tokens));
  }
  if (header.position > header.num_tokens)
    fail("position", fmt::format("0 to {}", header.num_tokens), fmt::format("{}", header.position));
  if (header.state_bytes % sizeof(float) != 0)
    fail("state", "a multiple of 4 bytes", fmt::format("{} bytes", header.state_bytes));
}

void check_file_size(const SnapshotHeader& header, std::uint64_t file_bytes, const SnapshotRefuser& fail) {
  if (file_bytes > weights::limits::kMaxSnapshotBytes) {
    fail("size", fmt::format("at most {} bytes", weights::limits::kMaxSnapshotBytes),
         fmt::format("{} bytes", file_bytes));
  }
  const auto token_bytes = weights::checked_mul(header.num_tokens, sizeof(TokenId));
  const auto content = token_bytes ? weights::checked_add(*token_bytes, header.state_bytes) : std::nullopt;
  const auto wanted = content ? weights::checked_add(*content, kSmallestSnapshot) : std::nullopt;
  if (wanted == file_bytes) return;
  const std::string sum = wanted ? fmt::format("{}", *wanted) : "more than 2^64";
  fail("size",
       fmt::format("{} bytes, for {} tokens and {} bytes of state", sum, header.num_tokens,
                   header.state_bytes),
       fmt::format("{} bytes", file_bytes));
}

void check_token_ids(const std::vector<TokenId>& tokens, std::size_t vocab_size,
                     const SnapshotRefuser& fail) {
  const auto is_outside = [&](TokenId id) { return id < 0 || static_cast<std::size_t>(id) >= vocab_size; };
  const auto found = std::find_if(tokens.begin(), tokens.end(), is_outside);
  if (found == tokens.end()) return;
  fail(fmt::format("token {}", found - tokens.begin()), fmt::format("an id from 0 to {}", vocab_size - 1),
       fmt::format("{}", *found));
}

void check_finite_state(std::span<const std::byte> state, const SnapshotRefuser& fail) {
  for (std::size_t offset = 0; offset < state.size(); offset += sizeof(float)) {
    float value = 0.0F;
    std::memcpy(&value, &state[offset], sizeof(float));
    if (std::isfinite(value)) continue;
    fail(fmt::format("state, value {}", offset / sizeof(float)), "a finite number", fmt::format("{}", value));
  }
}

void check_snapshot_values(const Snapshot& snapshot, const SnapshotRefuser& fail) {
  check_token_ids(snapshot.tokens, kMaxSnapshotTokens + 1, fail);
  check_finite_state(snapshot.state->bytes, fail);
}

class SnapshotChecksum {
 public:
  SnapshotChecksum() : state_(XXH3_createState(), XXH3_freeState) {
    if (!state_) throw std::bad_alloc();
    XXH3_128bits_reset(state_.get());
  }
  void update(std::span<const std::byte> bytes) {
    XXH3_128bits_update(state_.get(), bytes.data(), bytes.size());
  }
  XXH128_canonical_t canonical() const {
    XXH128_canonical_t result;
    XXH128_canonicalFromHash(&result, XXH3_128bits_digest(state_.get()));
    return result;
  }

 private:
  std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state_;
};

template <typename T>
std::span<const std::byte> bytes_of_object(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

template <std::size_t size>
void store_text(std::string_view text, std::array<char, size>& field) {
  if (text.size() > size) throw std::logic_error("write_snapshot: a hash or target is too long");
  std::copy_n(text.begin(), text.size(), field.begin());
}

SnapshotHeader header_of(const Snapshot& snapshot) {
  SnapshotHeader header;
  store_text(kSnapshotMagic, header.magic);
  header.version = kSnapshotVersion;
  header.target_length = static_cast<std::uint32_t>(snapshot.dispatch_target.size());
  store_text(snapshot.weights_hash, header.weights_hash);
  store_text(snapshot.config_hash, header.config_hash);
  header.position = static_cast<std::uint64_t>(snapshot.state->position);
  header.num_tokens = snapshot.tokens.size();
  header.state_bytes = snapshot.state->bytes.size();
  store_text(snapshot.dispatch_target, header.target);
  return header;
}

// Fills `to` with the bytes from `offset` on, or throws.
using ReadExactly = std::function<void(std::uint64_t offset, std::span<std::byte> to)>;

SnapshotHeader read_header(std::uint64_t file_bytes, const ReadExactly& read, const SnapshotRefuser& fail) {
  SnapshotHeader header;
  const auto present = std::min<std::uint64_t>(file_bytes, sizeof header);
  read(0, std::as_writable_bytes(std::span(&header, 1)).first(present));
  if (text_of(header.magic) != kSnapshotMagic) {
    weights::refuse({.file = fail.file,
                     .wanted = "a saved state, which begins with TTTSTATE",
                     .found = file_bytes == 0 ? "an empty file" : "another file",
                     .remedy = "Give a file that --state-out of 'ttt run' wrote."});
  }
  if (file_bytes < kSmallestSnapshot) {
    fail("size", fmt::format("{} bytes or more", kSmallestSnapshot), fmt::format("{} bytes", file_bytes));
  }
  if (header.version > kSnapshotVersion) {
    weights::refuse({.file = fail.file,
                     .where = "version",
                     .wanted = fmt::format("{}", kSnapshotVersion),
                     .found = fmt::format("{}", header.version),
                     .remedy =
                         "A newer version of this program wrote it, or it is damaged: read it with that "
                         "version."});
  }
  if (header.version != kSnapshotVersion)
    fail("version", fmt::format("{}", kSnapshotVersion), fmt::format("{}", header.version));
  return header;
}

// Every size is checked before there is memory for it, and the checksum before a value is looked at.
Snapshot read_from(std::uint64_t file_bytes, const ReadExactly& read, std::string_view name) {
  const SnapshotRefuser fail{name, kSnapshotDamaged};
  const SnapshotHeader header = read_header(file_bytes, read, fail);
  check_snapshot_header(header, fail);
  check_file_size(header, file_bytes, fail);

  auto state = std::make_shared<SequenceState>();
  state->position = static_cast<std::int64_t>(header.position);
  state->bytes.resize(header.state_bytes);
  Snapshot snapshot{.weights_hash = std::string(text_of(header.weights_hash)),
                    .config_hash = std::string(text_of(header.config_hash)),
                    .dispatch_target = std::string(text_of(header.target).substr(0, header.target_length)),
                    .tokens = std::vector<TokenId>(header.num_tokens),
                    .state = state};
  const auto tokens = std::as_writable_bytes(std::span(snapshot.tokens));
  read(sizeof header, tokens);
  read(sizeof header + tokens.size(), state->bytes);
  XXH128_canonical_t stated;
  read(file_bytes - sizeof stated, std::as_writable_bytes(std::span(&stated, 1)));

  SnapshotChecksum checksum;
  checksum.update(bytes_of_object(header));
  checksum.update(tokens);
  checksum.update(state->bytes);
  const XXH128_canonical_t found = checksum.canonical();
  if (std::memcmp(&found, &stated, sizeof found) != 0) fail("checksum", "that of its content", "another one");
  check_snapshot_values(snapshot, fail);
  return snapshot;
}

}  // namespace

std::string config_hash(const ModelConfig& config) {
  const auto bits = [](float value) -> std::uint64_t { return std::bit_cast<std::uint32_t>(value); };
  const std::array<std::uint64_t, 15> fields = {
      config.vocab_size,         config.hidden_size,         config.intermediate_size,
      config.num_hidden_layers,  config.num_attention_heads, config.is_mlp() ? 1U : 0U,
      config.mini_batch_size,    bits(config.ttt_base_lr),   bits(config.rms_norm_eps),
      bits(config.rope_theta),   config.pre_conv ? 1U : 0U,  config.share_qk ? 1U : 0U,
      config.use_gate ? 1U : 0U, config.conv_kernel,         config.tie_word_embeddings ? 1U : 0U};
  const XXH128_hash_t hash = XXH3_128bits(fields.data(), sizeof fields);
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

void write_snapshot(const std::string& path, const Snapshot& snapshot) {
  if (!snapshot.state) throw std::logic_error("write_snapshot: a snapshot without a state");
  const SnapshotRefuser fail{path, kSnapshotNotWritten};
  const SnapshotHeader header = header_of(snapshot);
  check_snapshot_header(header, fail);
  check_snapshot_values(snapshot, fail);
  SnapshotChecksum checksum;
  weights::AtomicFile file(path, 0600);
  for (const std::span<const std::byte> part :
       {bytes_of_object(header), std::as_bytes(std::span(snapshot.tokens)),
        std::span<const std::byte>(snapshot.state->bytes)}) {
    checksum.update(part);
    file.write(part);
  }
  const XXH128_canonical_t sum = checksum.canonical();
  file.write(bytes_of_object(sum));
  file.commit();
}

Snapshot read_snapshot(const std::string& path) {
  const weights::FileReader file(path);
  const auto read = [&](std::uint64_t offset, std::span<std::byte> to) {
    if (file.read_at(offset, to) == to.size()) return;
    weights::refuse({.file = path,
                     .wanted = fmt::format("the {} bytes that it had when it was opened", file.size()),
                     .found = "that it became shorter",
                     .remedy = "Wait until nothing writes to it, then try again."});
  };
  return read_from(file.size(), read, path);
}

Snapshot parse_snapshot(std::span<const std::byte> bytes, std::string_view name) {
  const auto read = [&](std::uint64_t offset, std::span<std::byte> to) {
    const std::span<const std::byte> from = bytes.subspan(offset, to.size());
    std::copy(from.begin(), from.end(), to.begin());
  };
  return read_from(bytes.size(), read, name);
}

bool is_snapshot(const std::string& path) {
  try {
    return weights::read_prefix(path, kSnapshotMagic.size()) == kSnapshotMagic;
  } catch (const weights::CheckpointError&) {
    return false;
  }
}

void check_snapshot(const Snapshot& snapshot, const std::string& path, const ModelConfig& config,
                    std::string_view weights_hash) {
  const SnapshotRefuser fail{path, "Use the model that the state was computed with."};
  if (snapshot.weights_hash != weights_hash) {
    fail("weights hash", fmt::format("{}, that of this model", weights_hash), snapshot.weights_hash);
  }
  const std::string hash = config_hash(config);
  if (snapshot.config_hash != hash)
    fail("config hash", fmt::format("{}, that of this model", hash), snapshot.config_hash);
  const SequenceState& state = *snapshot.state;
  const std::size_t wanted = state_bytes(config, state.position);
  if (state.bytes.size() != wanted) {
    fail("state", fmt::format("{} bytes after {} tokens", wanted, state.position),
         fmt::format("{} bytes", state.bytes.size()));
  }
  check_token_ids(snapshot.tokens, config.vocab_size, fail);
}

}  // namespace ttt
