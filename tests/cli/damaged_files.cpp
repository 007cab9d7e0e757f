// SPDX-License-Identifier: Apache-2.0
// Model files that are not what they should be: refused with code 3 and the next step, never a crash.
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "cli/exit_code.h"
#include "cli/info.h"
#include "tests/cli/child.h"
#include "tests/cli/test_models.h"
#include "tests/weights/fixtures.h"
#include "weights/checkpoint_error.h"

namespace ttt::cli {
namespace {

using test::Outcome;
using test::run_program;
using weights::contains;
using weights::TemporaryFolder;

// Refused by every command that opens a model, in the same words.
void check_refused(const std::string& model, std::string_view part) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{"run", model, "-p", "x", "-n", "1"},
        std::vector<std::string>{"info", model}}) {
    const Outcome outcome = run_program(arguments);
    CAPTURE(arguments[0], outcome.err);
    CHECK(outcome.code == kInvalidModel);
    CHECK_FALSE(outcome.killed);
    CHECK(outcome.out.empty());
    CHECK(outcome.err.starts_with("ttt: error: " + model));
    CHECK(contains(outcome.err, part));
  }
}

TEST_CASE("a truncated file is refused wherever it ends") {
  const TemporaryFolder folder;
  const std::string whole = weights::read_file(test::make_gguf(folder.path()));
  for (const std::size_t size :
       {std::size_t{3}, std::size_t{20}, std::size_t{1000}, whole.size() / 2, whole.size() - 1}) {
    CAPTURE(size);
    check_refused(folder.write("short.gguf", whole.substr(0, size)), "");
  }
}

TEST_CASE("a Git LFS pointer is recognised") {
  const TemporaryFolder folder;
  const std::string pointer = folder.write("model.gguf",
                                           "version https://git-lfs.github.com/spec/v1\n"
                                           "oid sha256:0123456789abcdef\nsize 12345\n");
  check_refused(pointer, "git lfs pull");
}

TEST_CASE("files and folders of other kinds are refused") {
  const TemporaryFolder folder;
  check_refused(folder.write("empty.gguf", ""), "");
  check_refused(folder.write("notes.gguf", "this is a text"), "");
  check_refused(folder / "absent.gguf", "no such file");
  std::filesystem::create_directory(folder / "folder");
  check_refused(folder / "folder", "config.json");
}

TEST_CASE("a single flipped bit among the weights is found by a check") {
  const TemporaryFolder folder;
  const std::string whole = weights::read_file(test::make_gguf(folder.path()));
  std::string flipped = whole;
  flipped[whole.size() - 100'000] = static_cast<char>(flipped[whole.size() - 100'000] ^ 0x10);
  const std::string path = folder.write("flipped.gguf", flipped);
  const Outcome outcome = run_program({"info", path, "--check"});
  CHECK(outcome.code == kInvalidModel);
  CHECK(contains(outcome.out, "NOT SOUND"));
  CHECK(contains(outcome.out, "hash differs"));
}

TEST_CASE("a single flipped bit among the weights is not converted to a file that looks sound") {
  const TemporaryFolder folder;
  std::string flipped = weights::read_file(test::make_gguf(folder.path()));
  flipped[flipped.size() - 100'000] = static_cast<char>(flipped[flipped.size() - 100'000] ^ 0x10);
  const std::string path = folder.write("flipped.gguf", flipped);
  const std::string output = folder.write("out.gguf", "precious");
  const std::set<std::string> names = folder.names();
  for (const std::vector<std::string>& line :
       {std::vector<std::string>{"convert", path, output, "--type", "f16", "--verify", "--force"},
        std::vector<std::string>{"quantize", path, output, "--force"},
        std::vector<std::string>{"export", path, folder / "exported"}}) {
    const Outcome outcome = run_program(line);
    CAPTURE(line[0], outcome.err);
    CHECK(outcome.code == kInvalidModel);
    CHECK(contains(outcome.err, "ttt: error: " + path + ": ttt.weights_hash: wanted "));
    CHECK(contains(outcome.err, "download it, or convert its original, again"));
    CHECK(weights::read_file(output) == "precious");
    CHECK(folder.names() == names);
  }
}

TEST_CASE("flipped bits anywhere are refused, found by a check, or harmless") {
  const TemporaryFolder folder;
  const std::string whole = weights::read_file(test::make_gguf(folder.path()));
  std::uint32_t random = 12345;
  int refused = 0;
  for (int round = 0; round < 60; ++round) {
    random = random * 1664525U + 1013904223U;
    // Every other one among the first bytes, where each of them steers the reader.
    const std::size_t limit = round % 2 == 0 ? 2000 : whole.size();
    std::string flipped = whole;
    flipped[(random >> 8) % limit] ^= static_cast<char>(1U << (random >> 29));
    const std::string path = folder.write("flipped.gguf", flipped);
    try {
      const ModelFiles files(path, weights::FileAccess::kRead);
      check_model(files, describe_model(files));
    } catch (const weights::CheckpointError&) {
      ++refused;
    } catch (const tokenizer::TokenizerError&) {
      ++refused;
    }
  }
  CHECK(refused > 5);
}

TEST_CASE("weights that are not finite are found and located") {
  const TemporaryFolder folder;
  const std::string model = test::make_text_model(folder / "model");
  std::string bytes = weights::read_file(model + "/model.safetensors");
  bytes.replace(bytes.size() - 4, 4, std::string("\x00\x00\xc0\x7f", 4));  // a NaN, in F32
  std::ofstream(model + "/model.safetensors", std::ios::binary) << bytes;
  const Outcome outcome = run_program({"info", model, "--check"});
  CHECK(outcome.code == kInvalidModel);
  CHECK(contains(outcome.out, "1 values are NaN or infinite"));
}

}  // namespace
}  // namespace ttt::cli
