// SPDX-License-Identifier: Apache-2.0
#include "engine/snapshot.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <xxhash.h>

#include <bit>
#include <catch2/catch.hpp>
#include <cerrno>
#include <csignal>
#include <functional>
#include <limits>
#include <system_error>

#include "engine/state_layout.h"
#include "tests/weights/fixtures.h"
#include "weights/atomic_file.h"

extern "C" int fuzz_snapshot(const std::uint8_t* data, std::size_t size);

namespace ttt {
namespace {

using weights::bytes_of;
using weights::contains;
using weights::read_file;
using weights::refusal_of;
using weights::TemporaryFolder;

constexpr std::size_t kTokensAt = 168;
constexpr std::size_t kChecksumBytes = 16;
constexpr std::string_view kHash = "0123456789abcdef0123456789abcdef";

// d 4, 2 heads of 2, 1 layer, mini-batches of 4, no convolution: 12 floats of state at a mini-batch's end.
ModelConfig snapshot_config(LayerType type = LayerType::kTttLinear) {
  ModelConfig config;
  config.vocab_size = 10;
  config.hidden_size = 4;
  config.intermediate_size = 4;
  config.num_hidden_layers = 1;
  config.num_attention_heads = 2;
  config.ttt_layer_type = type;
  config.mini_batch_size = 4;
  return config;
}

Snapshot snapshot_of(const ModelConfig& config, std::int64_t position, std::size_t num_tokens) {
  auto state = std::make_shared<SequenceState>();
  state->position = position;
  std::vector<float> values(state_bytes(config, position) / sizeof(float));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = 0.25F * static_cast<float>(i % 32) - 4.0F;
  const auto bytes = std::as_bytes(std::span(values));
  state->bytes.assign(bytes.begin(), bytes.end());
  Snapshot snapshot{.weights_hash = std::string(kHash),
                    .config_hash = config_hash(config),
                    .dispatch_target = "AVX2",
                    .tokens = {},
                    .state = state};
  for (std::size_t i = 0; i < num_tokens; ++i)
    snapshot.tokens.push_back(static_cast<TokenId>(i % config.vocab_size));
  return snapshot;
}

bool is_same(const Snapshot& a, const Snapshot& b) {
  return a.weights_hash == b.weights_hash && a.config_hash == b.config_hash &&
         a.dispatch_target == b.dispatch_target && a.tokens == b.tokens &&
         a.state->position == b.state->position && a.state->bytes == b.state->bytes;
}

Snapshot parse(std::string_view bytes) { return parse_snapshot(bytes_of(bytes), "test.ttt"); }
std::string refusal_of_bytes(std::string_view bytes) {
  return refusal_of([&] { parse(bytes); });
}

std::string bytes_of_snapshot(const Snapshot& snapshot) {
  const TemporaryFolder folder;
  write_snapshot(folder / "file", snapshot);
  return read_file(folder / "file");
}

// Five tokens, of which three have been read.
std::string small_snapshot() { return bytes_of_snapshot(snapshot_of(snapshot_config(), 3, 5)); }

// With the checksum that belongs to the content.
std::string sealed(std::string bytes) {
  const std::size_t content = bytes.size() - kChecksumBytes;
  XXH128_canonical_t checksum;
  XXH128_canonicalFromHash(&checksum, XXH3_128bits(bytes.data(), content));
  std::memcpy(bytes.data() + content, &checksum, sizeof checksum);
  return bytes;
}

template <typename T>
std::string sealed_with(std::string bytes, std::size_t offset, T value) {
  std::memcpy(bytes.data() + offset, &value, sizeof value);
  return sealed(std::move(bytes));
}

// Sets a fault for the life of this object.
class SnapshotFault {
 public:
  explicit SnapshotFault(std::function<int(std::string_view)> fault) {
    weights::set_atomic_file_fault(std::move(fault));
  }
  ~SnapshotFault() { weights::set_atomic_file_fault({}); }
  SnapshotFault(const SnapshotFault&) = delete;
  SnapshotFault& operator=(const SnapshotFault&) = delete;
};

}  // namespace

TEST_CASE("snapshot: what is read is what was written, and passes for the model's") {
  ModelConfig config = snapshot_config(GENERATE(LayerType::kTttLinear, LayerType::kTttMlp));
  config.pre_conv = GENERATE(false, true);
  config.share_qk = GENERATE(false, true);
  config.num_hidden_layers = 2;
  const TemporaryFolder folder;
  for (const std::size_t position : {0U, 1U, 3U, 4U, 7U, 8U}) {
    for (const std::size_t unread : {0U, 1U, 20U}) {
      if (position + unread == 0) continue;
      INFO(position << " tokens read, " << unread << " unread");
      const Snapshot snapshot = snapshot_of(config, static_cast<std::int64_t>(position), position + unread);
      const std::string path = folder / "file";
      write_snapshot(path, snapshot);
      const Snapshot found = read_snapshot(path);
      CHECK(is_same(found, snapshot));
      CHECK_NOTHROW(check_snapshot(found, path, config, kHash));
      const std::string bytes = read_file(path);
      CHECK(bytes.size() == 184 + 4 * snapshot.tokens.size() + snapshot.state->bytes.size());
      CHECK(is_same(parse(bytes), snapshot));
    }
  }
}

TEST_CASE("snapshot: a dispatch target may have 1 to 64 characters") {
  Snapshot snapshot = snapshot_of(snapshot_config(), 1, 1);
  for (const std::size_t length : {1U, 63U, 64U}) {
    snapshot.dispatch_target = std::string(length, '~');
    CHECK(parse(bytes_of_snapshot(snapshot)).dispatch_target == snapshot.dispatch_target);
  }
}

TEST_CASE("snapshot: every field stands where the header says") {
  const std::string bytes = small_snapshot();
  const auto number = [&](std::size_t offset, std::size_t width) {
    std::uint64_t value = 0;
    std::memcpy(&value, bytes.data() + offset, width);
    return value;
  };
  CHECK(bytes.substr(0, 8) == "TTTSTATE");
  CHECK(number(8, 4) == 1);
  CHECK(number(12, 4) == 4);
  CHECK(bytes.substr(16, 32) == kHash);
  CHECK(bytes.substr(48, 32) == config_hash(snapshot_config()));
  CHECK(number(80, 8) == 3);
  CHECK(number(88, 8) == 5);
  CHECK(number(96, 8) == 4U * (12 + 3 * 8));
  CHECK(bytes.substr(104, 64) == "AVX2" + std::string(60, '\0'));
  for (std::size_t i = 0; i < 5; ++i) CHECK(number(kTokensAt + 4 * i, 4) == i);
  CHECK(number(kTokensAt + 20, 4) == std::bit_cast<std::uint32_t>(-4.0F));
  CHECK(sealed(bytes) == bytes);
}

TEST_CASE("snapshot: every truncation and every byte more is refused") {
  const std::string bytes = small_snapshot();
  const TemporaryFolder folder;
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    INFO(size);
    const std::string cut = bytes.substr(0, size);
    const std::string path = folder.write("file", cut);
    CHECK_THROWS_AS(read_snapshot(path), weights::CheckpointError);
    CHECK_FALSE(refusal_of_bytes(cut).empty());
    if (size < std::string_view("TTTSTATE").size()) continue;
    const bool has_header = size >= kTokensAt + kChecksumBytes;
    const std::string refusal = refusal_of_bytes(has_header ? sealed(cut) : cut);
    CHECK(contains(refusal, has_header ? "size: wanted 348" : "size: wanted 184 bytes or more"));
  }
  for (const std::size_t more : {1U, 4U, 16U, 4096U}) {
    const std::string longer = bytes + std::string(more, '\0');
    CHECK_THROWS_AS(read_snapshot(folder.write("file", longer)), weights::CheckpointError);
    CHECK(contains(refusal_of_bytes(sealed(longer)), "size: wanted 348"));
  }
}

TEST_CASE("snapshot: every flipped bit is refused") {
  const std::string bytes = small_snapshot();
  int accepted = 0;
  for (std::size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    std::string damaged = bytes;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    accepted += refusal_of_bytes(damaged).empty() ? 1 : 0;
  }
  CHECK(accepted == 0);
}

// A right checksum proves nothing: whoever wants to can compute it.
TEST_CASE("snapshot: a header that was changed on purpose is refused, or says what was put there") {
  const std::string bytes = small_snapshot();
  const Snapshot original = parse(bytes);
  int accepted = 0, wrong = 0;
  for (std::size_t offset = 0; offset < kTokensAt; ++offset) {
    for (const int change : {0x01, 0x04, 0x10, 0x80, 0xff}) {
      std::string changed = bytes;
      changed[offset] = static_cast<char>(changed[offset] ^ change);
      changed = sealed(changed);
      fuzz_snapshot(reinterpret_cast<const std::uint8_t*>(changed.data()), changed.size());
      if (!refusal_of_bytes(changed).empty()) continue;
      const Snapshot found = parse(changed);
      ++accepted;
      wrong += is_same(found, original) ? 1 : 0;
      // Written again, it has the very bytes that were put there. One change a byte: each write is synced.
      if (change == 0x01) wrong += bytes_of_snapshot(found) == changed ? 0 : 1;
    }
  }
  CHECK(wrong == 0);
  CHECK(accepted >= 64);   // another hash, target or position
  CHECK(accepted <= 250);  // of 840
}

TEST_CASE("snapshot: counts at their extremes are refused before anything is taken for them") {
  const std::string bytes = small_snapshot();
  // A count that was believed would end in std::bad_alloc or std::length_error instead.
  const std::uint64_t extremes[] = {0x7fffffffU,      0x80000000U,        0xffffffffU, 1ULL << 40,
                                    (1ULL << 62) - 4, (1ULL << 63) - 184, 1ULL << 63,  (1ULL << 63) + 4,
                                    (0ULL - 204),     0ULL - 4,           0ULL - 1};
  for (const std::uint64_t count : extremes) {
    for (const std::size_t offset : {80U, 88U, 96U}) {  // position, number of tokens, bytes of the state
      INFO(count << " at " << offset);
      CHECK_FALSE(refusal_of_bytes(sealed_with(bytes, offset, count)).empty());
    }
    // Two that would wrap together.
    const std::string both = sealed_with(sealed_with(bytes, 88, count), 96, std::uint64_t{0} - 4 * count);
    CHECK_FALSE(refusal_of_bytes(both).empty());
  }
  CHECK(contains(refusal_of_bytes(sealed_with(bytes, 88, std::uint64_t{0x7fffffffU})),
                 "size: wanted 8589934916 bytes, for 2147483647 tokens and 144 bytes of state, found 348"));
  CHECK(contains(refusal_of_bytes(sealed_with(bytes, 88, std::uint64_t{0x80000000U})),
                 "number of tokens: wanted 1 to 2147483647, found 2147483648"));
  CHECK(contains(refusal_of_bytes(sealed_with(bytes, 96, std::uint64_t{0} - 4)), "more than 2^64"));
  CHECK(contains(refusal_of_bytes(sealed_with(bytes, 80, std::uint64_t{6})),
                 "position: wanted 0 to 5, found 6"));
}

// A file with holes is as long as one likes, and takes no disk.
TEST_CASE("snapshot: a file of terabytes that says so itself is refused before anything is taken for it") {
  constexpr std::uint64_t kStateBytes = std::uint64_t{1} << 40, kTokens = 5;
  const TemporaryFolder folder;
  const std::string path = folder.write("file", sealed_with(small_snapshot(), 96, kStateBytes));
  std::error_code error;
  std::filesystem::resize_file(path, kTokensAt + 4 * kTokens + kStateBytes + kChecksumBytes, error);
  if (error) {
    WARN("not tested: no such large files here");
    return;
  }
  CHECK(contains(refusal_of([&] { read_snapshot(path); }), "size: wanted at most 17179869184 bytes"));
}

TEST_CASE("snapshot: a refusal says what of the header is wrong") {
  const std::string bytes = small_snapshot();
  const auto refusal = [&](std::size_t offset, auto value) {
    return refusal_of_bytes(sealed_with(bytes, offset, value));
  };
  CHECK(contains(refusal(0, 'X'), "wanted a saved state, which begins with TTTSTATE"));
  CHECK(contains(refusal_of_bytes(""), "found an empty file"));
  CHECK(contains(refusal(8, 2U), "version: wanted 1, found 2. A newer version of this program"));
  CHECK(contains(refusal(8, 0U), "version: wanted 1, found 0. The file is damaged"));
  CHECK(contains(refusal(12, 0U), "dispatch target: wanted 1 to 64 bytes, found 0 bytes"));
  CHECK(contains(refusal(12, 65U), "dispatch target: wanted 1 to 64 bytes, found 65 bytes"));
  CHECK(contains(refusal(12, 0xffffffffU), "dispatch target: wanted 1 to 64 bytes"));
  CHECK(contains(refusal(12, 3U), "dispatch target: wanted zeros behind it"));
  CHECK(contains(refusal(12, 5U), "dispatch target: wanted printable ASCII, found AVX2\\x00"));
  CHECK(contains(refusal(105, '\x7f'), "dispatch target: wanted printable ASCII"));
  CHECK(contains(refusal(105, '\xc3'), "dispatch target: wanted printable ASCII"));
  CHECK(contains(refusal(167, 'x'), "dispatch target: wanted zeros behind it"));
  CHECK(contains(refusal(16, 'A'), "weights hash: wanted 32 lower-case hex digits"));
  CHECK(contains(refusal(79, 'g'), "config hash: wanted 32 lower-case hex digits"));
  CHECK(contains(refusal(88, std::uint64_t{0}), "number of tokens: wanted 1 to"));
  CHECK(contains(refusal(96, std::uint64_t{143}), "state: wanted a multiple of 4 bytes, found 143 bytes"));
  CHECK(contains(refusal(kTokensAt + 8, -1), "token 2: wanted an id from 0 to 2147483647, found -1"));
  std::string damaged = bytes;
  damaged.back() = static_cast<char>(damaged.back() ^ 1);
  CHECK(contains(refusal_of_bytes(damaged), "checksum"));
}

TEST_CASE("snapshot: a state that is not finite is neither read nor written") {
  const std::string bytes = small_snapshot();
  const std::size_t state_at = kTokensAt + 4U * 5;
  constexpr float kInf = std::numeric_limits<float>::infinity();
  for (const float value : {std::numeric_limits<float>::quiet_NaN(), kInf, -kInf}) {
    for (const std::size_t index : {0U, 7U, 35U}) {
      const std::string refusal = refusal_of_bytes(sealed_with(bytes, state_at + 4 * index, value));
      CHECK(
          contains(refusal, fmt::format("state, value {}: wanted a finite number, found {}", index, value)));
    }
  }
  CHECK(refusal_of_bytes(sealed_with(bytes, state_at, std::numeric_limits<float>::max())).empty());
  CHECK(refusal_of_bytes(sealed_with(bytes, state_at, std::numeric_limits<float>::denorm_min())).empty());

  const TemporaryFolder folder;
  const std::string path = folder.write("file", "old");
  Snapshot snapshot = parse(bytes);
  SequenceState state = *snapshot.state;
  std::memcpy(state.bytes.data() + 28, &kInf, sizeof kInf);
  snapshot.state = std::make_shared<const SequenceState>(std::move(state));
  const std::string refusal = refusal_of([&] { write_snapshot(path, snapshot); });
  CHECK(contains(refusal, path + ": state, value 7: wanted a finite number, found inf. Nothing was written"));
  CHECK(read_file(path) == "old");
}

TEST_CASE("snapshot: what could not be read again is not written") {
  const TemporaryFolder folder;
  const Snapshot good = snapshot_of(snapshot_config(), 3, 5);
  const auto refuses = [&](const std::function<void(Snapshot&)>& spoil) {
    Snapshot snapshot = good;
    spoil(snapshot);
    CHECK_THROWS_AS(write_snapshot(folder / "file", snapshot), std::exception);
    CHECK(folder.names().empty());
  };
  const auto with_state = [](std::int64_t position, std::size_t bytes) {
    return std::make_shared<const SequenceState>(
        SequenceState{.position = position, .bytes = std::vector<std::byte>(bytes)});
  };
  refuses([](Snapshot& s) { s.state = nullptr; });
  refuses([](Snapshot& s) { s.tokens.clear(); });
  refuses([](Snapshot& s) { s.tokens[0] = -1; });
  refuses([](Snapshot& s) { s.weights_hash.pop_back(); });
  refuses([](Snapshot& s) { s.config_hash += '0'; });
  refuses([](Snapshot& s) { s.dispatch_target.clear(); });
  refuses([](Snapshot& s) { s.dispatch_target = std::string(65, 'x'); });
  refuses([](Snapshot& s) { s.dispatch_target = "line\nfeed"; });
  refuses([&](Snapshot& s) { s.state = with_state(6, 4); });
  refuses([&](Snapshot& s) { s.state = with_state(-1, 4); });
  refuses([&](Snapshot& s) { s.state = with_state(1, 6); });
}

TEST_CASE("snapshot: another model's is refused with both sides named") {
  const ModelConfig config = snapshot_config();
  const Snapshot snapshot = snapshot_of(config, 3, 5);
  const auto refusal = [](const Snapshot& tried, const ModelConfig& of, std::string_view hash = kHash) {
    return refusal_of([&] { check_snapshot(tried, "a.ttt", of, hash); });
  };
  CHECK(refusal(snapshot, config).empty());
  const std::string other(32, 'f');
  CHECK(contains(refusal(snapshot, config, other),
                 fmt::format("a.ttt: weights hash: wanted {}, that of this model, found {}.", other, kHash)));
  ModelConfig foreign = config;
  foreign.use_gate = true;
  CHECK(contains(refusal(snapshot, foreign),
                 fmt::format("a.ttt: config hash: wanted {}, that of this model, found {}.",
                             config_hash(foreign), config_hash(config))));

  Snapshot moved = snapshot;  // the hashes are right, the state is of another position
  moved.state =
      std::make_shared<const SequenceState>(SequenceState{.position = 2, .bytes = snapshot.state->bytes});
  CHECK(contains(refusal(moved, config), "state: wanted 112 bytes after 2 tokens, found 144 bytes"));

  Snapshot strange = snapshot;
  strange.tokens[4] = 10;  // not read yet, and still refused
  CHECK(contains(refusal(strange, config), "token 4: wanted an id from 0 to 9, found 10"));
  strange.tokens[4] = 9;
  CHECK(refusal(strange, config).empty());
}

TEST_CASE("snapshot: the hash of a configuration is fixed, and every field that counts changes it") {
  const ModelConfig config = snapshot_config();
  CHECK(config_hash(config) ==
        "def74dd0cfbcfa2199d91b6e49f743fb");  // files of today must be readable tomorrow
  std::set<std::string> seen = {config_hash(config)};
  const auto changed = [&](const std::function<void(ModelConfig&)>& change) {
    ModelConfig other = config;
    change(other);
    return config_hash(other);
  };
  const std::function<void(ModelConfig&)> changes[] = {
      [](ModelConfig& c) { ++c.vocab_size; },
      [](ModelConfig& c) { ++c.hidden_size; },
      [](ModelConfig& c) { ++c.intermediate_size; },
      [](ModelConfig& c) { ++c.num_hidden_layers; },
      [](ModelConfig& c) { ++c.num_attention_heads; },
      [](ModelConfig& c) { c.ttt_layer_type = LayerType::kTttMlp; },
      [](ModelConfig& c) { ++c.mini_batch_size; },
      [](ModelConfig& c) { c.ttt_base_lr = 0.1F; },
      [](ModelConfig& c) { c.rms_norm_eps = 1e-5F; },
      [](ModelConfig& c) { c.rope_theta = 10001.0F; },
      [](ModelConfig& c) { c.pre_conv = true; },
      [](ModelConfig& c) { c.share_qk = true; },
      [](ModelConfig& c) { c.use_gate = true; },
      [](ModelConfig& c) { ++c.conv_kernel; },
      [](ModelConfig& c) { c.tie_word_embeddings = false; },
  };
  for (const auto& change : changes) CHECK(seen.insert(changed(change)).second);
  CHECK(changed([](ModelConfig& c) { c.name = "another"; }) == config_hash(config));
  CHECK(changed([](ModelConfig& c) { c.context_length = 1; }) == config_hash(config));
  CHECK(changed([](ModelConfig& c) { c.bos_token_id = c.eos_token_id = 1; }) == config_hash(config));
}

TEST_CASE("snapshot: a new file is for its owner alone") {
  const TemporaryFolder folder;
  const mode_t old_mask = ::umask(0);
  write_snapshot(folder / "file", snapshot_of(snapshot_config(), 1, 1));
  ::umask(old_mask);
  struct stat status = {};
  REQUIRE(::stat((folder / "file").c_str(), &status) == 0);
  CHECK((status.st_mode & 07777U) == 0600);
}

TEST_CASE("snapshot: a write that fails anywhere leaves the old file and nothing else") {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  const Snapshot old = snapshot_of(snapshot_config(), 1, 1);
  write_snapshot(path, old);
  int failed_calls = 0;
  bool failed = true;
  for (int n = 0; failed; ++n) {
    REQUIRE(n < 100);
    std::string call_name;
    int countdown = n;
    failed = false;
    try {
      const SnapshotFault fault([&](std::string_view call) {
        if (countdown-- != 0 || call == "fsync_directory") return 0;  // by then the new one stands
        call_name = call;
        return ENOSPC;
      });
      write_snapshot(path, snapshot_of(snapshot_config(), 3, 5));
    } catch (const std::system_error& error) {
      failed = true;
      ++failed_calls;
      INFO(call_name);
      CHECK(error.code().value() == ENOSPC);
      CHECK(is_same(read_snapshot(path), old));
      CHECK(folder.names() == std::set<std::string>{"file"});
    }
  }
  CHECK(failed_calls == 10);  // open, chmod, four writes, fsync, close, open_directory, rename
  CHECK(read_snapshot(path).tokens.size() == 5);
}

TEST_CASE("snapshot: a full disk leaves the old file") {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  const Snapshot old = snapshot_of(snapshot_config(), 1, 1);
  write_snapshot(path, old);
  ModelConfig large = snapshot_config();
  large.num_hidden_layers = 4000;  // 192 kB of state
  const Snapshot snapshot = snapshot_of(large, 4, 4);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);  // by default the limit kills the process
  struct rlimit old_limit = {};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &old_limit) == 0);
  const struct rlimit limit = {.rlim_cur = 100'000, .rlim_max = old_limit.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
  CHECK_THROWS_AS(write_snapshot(path, snapshot), std::system_error);
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &old_limit) == 0);
  std::signal(SIGXFSZ, old_handler);
  CHECK(is_same(read_snapshot(path), old));
  CHECK(folder.names() == std::set<std::string>{"file"});
}

TEST_CASE("snapshot: what cannot be read is refused with its path") {
  const TemporaryFolder folder;
  CHECK(contains(refusal_of([&] { read_snapshot(folder / "missing"); }), "missing: found no such file"));
  CHECK(contains(refusal_of([&] { read_snapshot(folder.path()); }), "found a folder"));
  const std::string gguf = folder.write("file", weights::sample_gguf().bytes());
  CHECK(contains(refusal_of([&] { read_snapshot(gguf); }), "wanted a saved state"));
}

TEST_CASE("snapshot: a file is known by its first 8 bytes") {
  const TemporaryFolder folder;
  const std::string bytes = small_snapshot();
  CHECK(is_snapshot(folder.write("whole", bytes)));
  CHECK(is_snapshot(folder.write("cut", bytes.substr(0, 8))));
  CHECK_FALSE(is_snapshot(folder.write("short", bytes.substr(0, 7))));
  CHECK_FALSE(is_snapshot(folder.write("empty", "")));
  CHECK_FALSE(is_snapshot(folder.write("gguf", weights::sample_gguf().bytes())));
  CHECK_FALSE(is_snapshot(folder.path()));
  CHECK_FALSE(is_snapshot(folder / "missing"));
  REQUIRE(::mkfifo((folder / "fifo").c_str(), 0600) == 0);
  CHECK_FALSE(is_snapshot(folder / "fifo"));
}

namespace {

const std::string kSnapshotCorpus = TTT_TEST_DATA "/fuzz/corpus/snapshot/";

std::vector<std::pair<std::string, Snapshot>> corpus_snapshots() {
  ModelConfig mlp = snapshot_config(LayerType::kTttMlp);
  mlp.hidden_size = mlp.num_attention_heads = 1;
  ModelConfig convolutions = snapshot_config();
  convolutions.pre_conv = convolutions.share_qk = true;
  return {{"valid-linear-unread", snapshot_of(snapshot_config(), 3, 5)},
          {"valid-mlp-open", snapshot_of(mlp, 5, 5)},
          {"valid-convolutions", snapshot_of(convolutions, 8, 8)}};
}

}  // namespace

TEST_CASE("snapshot: the fuzzer's corpus is what this program writes, and is read") {
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kSnapshotCorpus)) {
    const std::string bytes = read_file(entry.path());
    const std::string name = entry.path().filename();
    INFO(name);
    ++files;
    CHECK(bytes.size() < 2048);
    // Aborts on a finding.
    CHECK(fuzz_snapshot(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()) == 0);
    CHECK(refusal_of_bytes(bytes).empty() == name.starts_with("valid-"));
  }
  CHECK(files >= 3);
  for (const auto& [name, snapshot] : corpus_snapshots()) {
    INFO(name);
    CHECK(read_file(kSnapshotCorpus + name) == bytes_of_snapshot(snapshot));
  }
}

// Its name does not match "*snapshot*": whoever runs those tests must not replace what they compare with.
TEST_CASE("the fuzzer's files of sequences at rest are written again", "[.corpus]") {
  for (const auto& [name, snapshot] : corpus_snapshots()) {
    write_snapshot(kSnapshotCorpus + name, snapshot);
    std::filesystem::permissions(kSnapshotCorpus + name, std::filesystem::perms(0644));
  }
}

}  // namespace ttt
