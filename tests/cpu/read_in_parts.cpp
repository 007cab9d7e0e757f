// SPDX-License-Identifier: Apache-2.0
// Backends of a model whose file is mapped, read whole or read in parts: what they compute, and what they
// keep in memory.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "cpu/cpu_backend.h"
#include "engine/convert.h"
#include "engine/random_weights.h"
#include "tests/sanitized.h"
#include "tests/weights/fixtures.h"
#include "weights/checkpoint.h"

using namespace ttt;
using weights::FileAccess;
namespace fs = std::filesystem;

namespace {

ModelConfig config_of(std::size_t width, bool tied) {
  ModelConfig config;
  config.vocab_size = 8 * width;
  config.hidden_size = width;
  config.intermediate_size = 2 * width;
  config.num_hidden_layers = 3;
  config.num_attention_heads = width / 32;
  config.mini_batch_size = 8;
  config.pre_conv = config.share_qk = config.use_gate = true;
  config.tie_word_embeddings = tied;
  return config;
}

// A model in a file.
struct ModelFile {
  explicit ModelFile(const ModelConfig& config, weights::DType type = weights::DType::kQ8_0) {
    const RandomWeights random(config, type, 1);
    convert(random.model(), {}, nullptr, path, {.matrix_type = type});
  }
  weights::TemporaryFolder folder;
  std::string path = folder / "model.gguf";
};

struct OpenFile {
  OpenFile(const std::string& path, FileAccess access)
      : checkpoint(weights::Checkpoint::open(path, access)), model(load_model(checkpoint)) {}
  weights::Checkpoint checkpoint;
  Model model;
};

constexpr cpu::CpuOptions kOptions{.max_batch_tokens = 16, .num_threads = 1};

std::vector<float> logits_of(Backend& backend) {
  backend.reset(0);
  const std::array<TokenId, 5> tokens = {3, 1, 4, 1, 5};
  Segment segment;
  segment.tokens = tokens;
  segment.wanted.logits = Rows::kLast;
  backend.submit(std::span(&segment, 1));
  const std::span<const float> logits = backend.wait().front().logits;
  return {logits.begin(), logits.end()};
}

// A line of /proc/self/status, in bytes.
std::int64_t memory_in_use(std::string_view key) {
  std::ifstream lines("/proc/self/status");
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(key)) return std::stoll(line.substr(key.size() + 1)) * 1024;
  }
  FAIL("no " << key);
  return 0;
}

// The most memory that was in use at once while fn ran, beyond what was before: mapped files and all.
template <typename Fn>
std::int64_t peak_of(Fn&& fn) {
  std::ofstream("/proc/self/clear_refs") << "5";  // the peak begins anew
  const std::int64_t before = memory_in_use("VmRSS");
  REQUIRE(memory_in_use("VmHWM") - before < 1 << 20);
  fn();
  return memory_in_use("VmHWM") - before;
}

}  // namespace

TEST_CASE("a model gives the same bits however its file is read") {
  const bool tied = GENERATE(true, false);
  const ModelFile file(config_of(64, tied));
  const OpenFile mapped(file.path, FileAccess::kMap);
  const std::vector<float> wanted = logits_of(*cpu::make_cpu_backend(mapped.model, kOptions));
  for (const FileAccess access : {FileAccess::kRead, FileAccess::kReadParts}) {
    const OpenFile read(file.path, access);
    CHECK(logits_of(*cpu::make_cpu_backend(read.model, kOptions)) == wanted);
  }
}

TEST_CASE("a model that was read in parts computes on whatever becomes of its file") {
  const ModelFile file(config_of(64, false));
  const OpenFile read(file.path, FileAccess::kReadParts);
  const auto backend = cpu::make_cpu_backend(read.model, kOptions);
  const std::vector<float> wanted = logits_of(*backend);
  const auto size = fs::file_size(file.path);
  fs::resize_file(file.path, 0);
  CHECK(logits_of(*backend) == wanted);
  fs::resize_file(file.path, size);  // zeros
  CHECK(logits_of(*backend) == wanted);
}

TEST_CASE("a file that shrinks before its weights are read in parts is refused") {
  const ModelFile file(config_of(64, false));
  const OpenFile read(file.path, FileAccess::kReadParts);
  fs::resize_file(file.path, fs::file_size(file.path) / 2);
  CHECK_THROWS_AS(cpu::make_cpu_backend(read.model, kOptions), weights::CheckpointError);
}

TEST_CASE("the memory of a model that is read in parts is known before it is read") {
  const bool tied = GENERATE(true, false);
  const ModelFile file(config_of(64, tied));
  const OpenFile read(file.path, FileAccess::kReadParts), mapped(file.path, FileAccess::kMap);
  const cpu::MemoryPlan plan = cpu::plan_memory(read.model, kOptions);
  const std::uint64_t embedding = read.model.token_embd.bytes.size();
  CHECK(plan.fetched == embedding);  // the largest
  CHECK(plan.weights == cpu::plan_memory(mapped.model, kOptions).weights + (tied ? 0 : embedding));
  CHECK(plan.weights == cpu::make_cpu_backend(read.model, kOptions)->info().weights_bytes);
  CHECK(cpu::plan_memory(mapped.model, kOptions).fetched == 0);
}

TEST_CASE("neither a mapped file nor one that is read in parts lies in memory beside its packed weights") {
  if (test::kSanitized) return;  // they keep what was freed
  constexpr std::int64_t kSlack = 4 << 20;
  const bool tied = GENERATE(true, false);
  const ModelFile file(config_of(512, tied), weights::DType::kF32);
  const auto file_bytes = static_cast<std::int64_t>(fs::file_size(file.path));
  REQUIRE(file_bytes > 8 * kSlack);
  const auto peak_with = [&](FileAccess access) {
    return peak_of([&] {
      const OpenFile open(file.path, access);
      cpu::make_cpu_backend(open.model, kOptions);
    });
  };
  const OpenFile mapped(file.path, FileAccess::kMap), read(file.path, FileAccess::kReadParts);
  const cpu::MemoryPlan plan = cpu::plan_memory(read.model, kOptions);
  const auto read_bytes = static_cast<std::int64_t>(plan.total());
  const auto mapped_bytes =
      static_cast<std::int64_t>(cpu::plan_memory(mapped.model, kOptions).total() + plan.fetched);
  CHECK(peak_with(FileAccess::kReadParts) < read_bytes + kSlack);
  CHECK(peak_with(FileAccess::kMap) < mapped_bytes + kSlack);
  CHECK(peak_with(FileAccess::kRead) > read_bytes + file_bytes / 2);  // so would it be found out
}
