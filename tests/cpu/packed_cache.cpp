// SPDX-License-Identifier: Apache-2.0
#include "cpu/packed_cache.h"

#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "cpu/cpu_backend.h"
#include "tests/random_model.h"
#include "tests/weights/fixtures.h"
#include "weights/atomic_file.h"

using namespace ttt;
namespace fs = std::filesystem;

namespace {

// Its largest matrices need several panels, of which the last is not full.
ModelConfig small_config() {
  ModelConfig config;
  config.vocab_size = 50;
  config.hidden_size = 32;
  config.intermediate_size = 64;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 2;
  config.mini_batch_size = 4;
  config.pre_conv = config.share_qk = config.use_gate = true;
  return config;
}

// A folder for the cache, and what the user was told.
class CacheFolder {
 public:
  explicit CacheFolder(std::uint64_t max_bytes = 1U << 30) {
    options.folder = folder_.path() + "/cache";
    options.max_bytes = max_bytes;
    options.warn = [this](const std::string& text) { warnings.push_back(text); };
    options.inform = [this](const std::string& text) { told.push_back(text); };
  }

  std::vector<fs::path> files() const {
    std::vector<fs::path> found;
    std::error_code missing;
    for (const auto& entry : fs::directory_iterator(options.folder, missing)) found.push_back(entry.path());
    return found;
  }
  fs::path only_file() const {
    REQUIRE(files().size() == 1);
    return files().front();
  }
  bool told_of(std::string_view words) const {
    return std::ranges::any_of(told, [&](const std::string& text) { return text.find(words) != text.npos; });
  }
  bool warned_of(std::string_view words) const {
    return std::ranges::any_of(warnings,
                               [&](const std::string& text) { return text.find(words) != text.npos; });
  }

  cpu::PackedCacheOptions options;
  std::vector<std::string> warnings, told;

 private:
  weights::TemporaryFolder folder_;
};

// Logits after three tokens, by a backend that starts with the cache.
std::vector<float> compute(const Model& model, CacheFolder* cache) {
  cpu::CpuOptions options{.num_threads = 2};
  if (cache != nullptr) {
    cache->warnings.clear();
    cache->told.clear();
    options.packed_cache = cache->options;
  }
  const auto backend = cpu::make_cpu_backend(model, options);
  backend->reset(0);
  const std::array<TokenId, 3> tokens = {3, 1, 4};
  Segment segment;
  segment.tokens = tokens;
  segment.wanted.logits = Rows::kLast;
  backend->submit(std::span(&segment, 1));
  const std::span<const float> logits = backend->wait().front().logits;
  return {logits.begin(), logits.end()};
}

std::vector<char> read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_file(const fs::path& path, const std::vector<char>& bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

void set_age(const fs::path& path, std::chrono::hours age) {
  fs::last_write_time(path, fs::file_time_type::clock::now() - age);
}

// While it lives this thread may do no more than the permissions of files say, also where root runs the test.
class PermissionsHold {
 public:
  PermissionsHold() {
    REQUIRE(::syscall(SYS_capget, &header_, had_.data()) == 0);
    auto fewer = had_;
    fewer[0].effective &= ~(1U << CAP_DAC_OVERRIDE);
    REQUIRE(::syscall(SYS_capset, &header_, fewer.data()) == 0);
  }
  ~PermissionsHold() { ::syscall(SYS_capset, &header_, had_.data()); }
  PermissionsHold(const PermissionsHold&) = delete;
  PermissionsHold& operator=(const PermissionsHold&) = delete;

 private:
  __user_cap_header_struct header_ = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> had_ = {};
};

// A model whose file states the right hash, as those of `ttt convert` do.
test::ConvertedModel model_of(std::uint64_t seed, weights::DType type = weights::DType::kF32) {
  return {test::RandomModel(small_config(), seed).model, type};
}

// What find() does where the folder holds the file of a model and `change` was done to it.
void check_packs_anew(const std::function<void(std::vector<char>&)>& change, std::string_view reason) {
  const auto converted = model_of(1);
  CacheFolder cache;
  const std::vector<float> wanted = compute(converted.model, &cache);
  const std::vector<char> whole = read_file(cache.only_file());
  std::vector<char> changed = whole;
  change(changed);
  REQUIRE(changed != whole);
  write_file(cache.only_file(), changed);
  CHECK(compute(converted.model, &cache) == wanted);
  CHECK(cache.warned_of(reason));
  CHECK(read_file(cache.only_file()) == whole);
}

// Two models' files in a cache that has room for two, used so long ago. Returns the first one's.
fs::path fill_cache(CacheFolder& cache, const Model& first_model, std::chrono::hours first_age,
                    const Model& second_model, std::chrono::hours second_age) {
  compute(first_model, &cache);
  const fs::path first = cache.only_file();
  cache.options.max_bytes = 2 * fs::file_size(first) + 100;
  compute(second_model, &cache);
  REQUIRE(cache.files().size() == 2);
  for (const fs::path& file : cache.files()) set_age(file, file == first ? first_age : second_age);
  return first;
}

}  // namespace

TEST_CASE("a second start takes the packed weights from the cache, with the same results in every type") {
  const auto type = GENERATE(weights::DType::kF32, weights::DType::kF16, weights::DType::kBF16,
                             weights::DType::kQ8_0, weights::DType::kQ4_0);
  const auto access = GENERATE(weights::FileAccess::kMap, weights::FileAccess::kRead);
  const auto converted = model_of(1, type);
  const std::vector<float> wanted = compute(converted.model, nullptr);
  CacheFolder cache;
  cache.options.access = access;
  CHECK(compute(converted.model, &cache) == wanted);
  CHECK(cache.told_of("stored as"));
  const std::vector<char> stored = read_file(cache.only_file());
  CHECK(compute(converted.model, &cache) == wanted);
  CHECK(cache.told_of("come from"));
  CHECK_FALSE(cache.told_of("stored as"));
  CHECK(cache.warnings.empty());
  CHECK(read_file(cache.only_file()) == stored);
}

TEST_CASE("blocks of 256 weights come from the cache as they were packed") {
  ModelConfig config = small_config();
  config.hidden_size = config.intermediate_size = 256;
  config.num_attention_heads = 4;
  const auto type = GENERATE(weights::DType::kQ6_K, weights::DType::kQ4_K);
  const auto access = GENERATE(weights::FileAccess::kMap, weights::FileAccess::kRead);
  const test::ConvertedModel converted(test::RandomModel(config).model, type);
  REQUIRE(converted.model.layers.back().ffn_down.dtype == type);
  REQUIRE(converted.model.output.dtype == weights::DType::kQ6_K);
  CacheFolder cache;
  cache.options.access = access;
  const std::vector<float> wanted = compute(converted.model, nullptr);
  CHECK(compute(converted.model, &cache) == wanted);
  CHECK(cache.told_of("stored as"));
  CHECK(compute(converted.model, &cache) == wanted);
  CHECK(cache.told_of("come from"));
  CHECK(cache.warnings.empty());
}

TEST_CASE(
    "a model without a stated hash, one with separate q and k, and one with a head of its own are cached") {
  ModelConfig config = small_config();
  config.share_qk = GENERATE(false, true);
  config.tie_word_embeddings = GENERATE(false, true);
  const test::RandomModel random(config);
  REQUIRE(random.model.stated_hash.empty());
  CacheFolder cache;
  const std::vector<float> wanted = compute(random.model, nullptr);
  CHECK(compute(random.model, &cache) == wanted);
  CHECK(compute(random.model, &cache) == wanted);
  CHECK(cache.told_of("come from"));
}

TEST_CASE("a damaged header, checksum or weight packs the weights anew and replaces the file") {
  // In the header, the checksums, the first matrix, and the last byte of the last one.
  check_packs_anew([](auto& bytes) { bytes[3] ^= 1; }, "another header");
  check_packs_anew([](auto& bytes) { bytes[20] ^= 1; }, "another header");
  check_packs_anew([](auto& bytes) { bytes[70] ^= 1; }, "another header");
  check_packs_anew([](auto& bytes) { bytes[4096] ^= 1; }, "damaged bytes");
  check_packs_anew([](auto& bytes) { bytes.back() ^= 1; }, "damaged bytes");
}

TEST_CASE("a file of another length packs the weights anew and replaces it") {
  check_packs_anew([](auto& bytes) { bytes.clear(); }, "empty");
  check_packs_anew([](auto& bytes) { bytes.resize(1); }, "1 bytes instead of");
  check_packs_anew([](auto& bytes) { bytes.pop_back(); }, "instead of");
  check_packs_anew([](auto& bytes) { bytes.push_back(0); }, "instead of");
}

TEST_CASE("other weights under a hash that is known are found out, and never stored under it") {
  const auto first = model_of(1);
  auto second = model_of(2);
  second.model.stated_hash = first.model.stated_hash;
  const std::vector<float> wanted = compute(second.model, nullptr);
  CacheFolder cache;
  SECTION("where the true model's file lies in the cache") {
    compute(first.model, &cache);
    const std::vector<char> stored = read_file(cache.only_file());
    CHECK(compute(second.model, &cache) == wanted);
    CHECK(cache.warned_of("other weights than"));
    CHECK(read_file(cache.only_file()) == stored);
  }
  SECTION("where it does not") {
    CHECK(compute(second.model, &cache) == wanted);
    CHECK(cache.files().empty());
  }
  CHECK(cache.warned_of("states another hash"));
}

TEST_CASE("files that were used longest ago make room, and what a killed process left is removed") {
  const std::array models = {model_of(1), model_of(2), model_of(3)};
  CacheFolder cache;
  const fs::path first =
      fill_cache(cache, models[0].model, std::chrono::hours(1), models[1].model, std::chrono::hours(2));
  const fs::path stale = fs::path(cache.options.folder) / ".ttt-1-0.tmp";
  const fs::path fresh = fs::path(cache.options.folder) / ".ttt-1-1.tmp";
  const fs::path foreign = fs::path(cache.options.folder) / "notes.packed";
  for (const fs::path& path : {stale, fresh, foreign}) write_file(path, {'x'});
  set_age(stale, std::chrono::hours(30));
  set_age(foreign, std::chrono::hours(30));

  compute(models[2].model, &cache);
  CHECK(fs::exists(first));
  CHECK_FALSE(fs::exists(stale));
  CHECK(fs::exists(fresh));
  CHECK(fs::exists(foreign));
  CHECK(cache.files().size() == 4);
  compute(models[0].model, &cache);
  CHECK(cache.told_of("come from"));
  compute(models[1].model, &cache);
  CHECK(cache.told_of("stored as"));
}

TEST_CASE("using a file makes it the one that is removed last") {
  const std::array models = {model_of(1), model_of(2), model_of(3)};
  CacheFolder cache;
  const fs::path first =
      fill_cache(cache, models[0].model, std::chrono::hours(2), models[1].model, std::chrono::hours(1));
  compute(models[0].model, &cache);
  compute(models[2].model, &cache);
  CHECK(fs::exists(first));
  CHECK(cache.files().size() == 2);
}

TEST_CASE("weights beyond the limit are not stored, and remove nothing") {
  const auto first = model_of(1), second = model_of(2);
  CacheFolder cache;
  compute(first.model, &cache);
  cache.options.max_bytes = fs::file_size(cache.only_file()) - 1;
  CHECK(compute(second.model, &cache) == compute(second.model, nullptr));
  CHECK(cache.warned_of("more than the limit"));
  CHECK(cache.files().size() == 1);
}

TEST_CASE("a folder that cannot be written costs nothing but the cache") {
  const auto converted = model_of(1);
  const std::vector<float> wanted = compute(converted.model, nullptr);
  CacheFolder cache;
  SECTION("a file stands in its place") {
    write_file(cache.options.folder, {'x'});
    CHECK(compute(converted.model, &cache) == wanted);
    CHECK(read_file(cache.options.folder).size() == 1);
  }
  SECTION("the disk refuses") {
    const std::string call = GENERATE("open", "write", "fsync", "rename");
    weights::set_atomic_file_fault([&](std::string_view name) { return name == call ? ENOSPC : 0; });
    CHECK(compute(converted.model, &cache) == wanted);
    weights::set_atomic_file_fault({});
    CHECK(cache.files().empty());
    CHECK(cache.warned_of("No space left"));
  }
  CHECK(cache.warned_of("not stored"));
}

TEST_CASE("a folder that cannot be written is still read from") {
  const auto converted = model_of(1), other = model_of(2);
  CacheFolder cache;
  const std::vector<float> wanted = compute(converted.model, &cache);
  fs::permissions(cache.options.folder, fs::perms::owner_read | fs::perms::owner_exec);
  {
    const PermissionsHold as_for_anybody;
    REQUIRE_FALSE(std::ofstream(fs::path(cache.options.folder) / "probe").is_open());
    CHECK(compute(converted.model, &cache) == wanted);
    CHECK(cache.told_of("come from"));
    CHECK(cache.warnings.empty());
    CHECK(compute(other.model, &cache) == compute(other.model, nullptr));
    CHECK(cache.warned_of("not stored"));
  }
  CHECK(cache.files().size() == 1);
  fs::permissions(cache.options.folder, fs::perms::owner_all);
}

TEST_CASE("something that is no file in the place of a packed file is left alone") {
  const auto converted = model_of(1);
  CacheFolder cache;
  const std::vector<float> wanted = compute(converted.model, &cache);
  const fs::path place = cache.only_file();
  fs::remove(place);
  fs::create_directory(place);
  CHECK(compute(converted.model, &cache) == wanted);
  CHECK(cache.warned_of("is not used"));
  CHECK(cache.warned_of("not stored"));
  CHECK(fs::is_directory(place));
}
