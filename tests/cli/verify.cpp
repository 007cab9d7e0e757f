// SPDX-License-Identifier: Apache-2.0
#include "cli/verify.h"

#include <catch2/catch.hpp>
#include <filesystem>

#include "cli/exit_code.h"
#include "tests/cli/child.h"
#include "tests/cli/test_models.h"
#include "tests/weights/fixtures.h"

namespace ttt::cli {
namespace {

using test::Outcome;
using test::run_program;
using weights::contains;
using weights::TemporaryFolder;

const std::string kGolden = TTT_TEST_DATA "/golden/";

Outcome verified(const std::string& source, const std::string& output, const std::string& reference,
                 std::vector<std::string> more = {}) {
  std::vector<std::string> line = {"convert", source, output, "--verify"};
  if (!reference.empty()) line.insert(line.end(), {"--reference", reference});
  line.insert(line.end(), more.begin(), more.end());
  return run_program(line);
}

TEST_CASE("verify: checkpoints of the official JAX code convert and give that code's logits") {
  const TemporaryFolder folder;
  for (const std::string name : {"jax-ttt-linear-12-layers-trainstate-bf16", "jax-ttt-mlp-trainstate-bf16",
                                 "jax-ttt-mlp-base-params-fp32-untied"}) {
    const std::string source = kGolden + "import/" + name;
    const Outcome made = verified(source, folder / name, source + "/golden.safetensors");
    CAPTURE(name, made.err);
    CHECK(made.code == kOk);
    CHECK(contains(made.err, "every value as in the source"));
    CHECK(contains(made.err, "self-test: "));
    CHECK(contains(made.err, "of the rms (bound 2e-05)"));
    CHECK(std::filesystem::exists(folder / name));
  }
}

TEST_CASE("verify: PyTorch checkpoints convert and give the logits of the model they were saved from") {
  const TemporaryFolder folder;
  for (const std::string name : {"torch-bin-views", "torch-bin-state-dict-wrapper"}) {
    const std::string source = folder / name;
    std::filesystem::create_directory(source);
    std::filesystem::copy(kGolden + "import/" + name + "/pytorch_model.bin", source);
    std::filesystem::copy(kGolden + "linear-mamba/config.json", source);
    const Outcome made = verified(source, folder / (name + ".gguf"),
                                  kGolden + "linear-mamba/golden.safetensors", {"--max-error", "1e-5"});
    CAPTURE(made.err);
    CHECK(made.code == kOk);
    CHECK(contains(made.err, "of the rms (bound 1e-05)"));
  }
}

TEST_CASE("verify: rounded weights are compared within what their type may cost, their logits shown") {
  const TemporaryFolder folder;
  const std::string reference = kGolden + "linear-headdim64/golden.safetensors";
  for (const std::string type : {"bf16", "q8_0", "q4_0"}) {
    const Outcome made = verified(kGolden + "linear-headdim64", folder / type, reference, {"--type", type});
    CAPTURE(made.err);
    CHECK(made.code == kOk);
    CHECK(contains(made.err, "of them rounded as their type does"));
    CHECK(contains(made.err, "no bound where weights were rounded"));
  }
  const Outcome bounded = verified(kGolden + "linear-headdim64", folder / "a", reference,
                                   {"--type", "q4_0", "--max-error", "1e-4"});
  CHECK(bounded.code == kRuntimeError);
}

TEST_CASE("verify: other logits, or a reference that is none, leave no file") {
  const TemporaryFolder folder;
  const std::string source = kGolden + "linear-mamba";
  const auto refused = [&](const std::string& reference, int code, std::string_view part) {
    const std::string output = folder / "model.gguf";
    const Outcome made = verified(source, output, reference);
    CAPTURE(reference, made.err);
    CHECK(made.code == code);
    CHECK(contains(made.err, part));
    for (const std::string& name : folder.names()) CHECK_FALSE(contains(name, "gguf"));
    for (const std::string& name : folder.names()) CHECK_FALSE(name.starts_with(".ttt"));
  };
  refused(kGolden + "linear-preconv-only/golden.safetensors", kRuntimeError,
          folder / "model.gguf: verification failed, and the file was not kept: logits: ");
}

TEST_CASE("verify: a reference that is none is found before anything is written") {
  const TemporaryFolder folder;
  const auto refused = [&](const std::string& reference, std::string_view part) {
    const Outcome made = verified(kGolden + "linear-mamba", folder / "model.gguf", reference);
    CAPTURE(reference, made.err);
    CHECK(made.code == kRuntimeError);
    CHECK(contains(made.err, "--reference: " + reference));
    CHECK(contains(made.err, part));
    CHECK_FALSE(contains(made.err, "verif"));
    CHECK_FALSE(contains(made.err, "weights hash"));  // which the file's own line ends with
    CHECK(folder.names().empty());
  };
  refused(folder / "absent", "no such file");
  refused(kGolden + "linear-mamba/model.safetensors", "token_ids (or input_ids) and logits");
}

TEST_CASE("verify: an existing file survives a verification that fails") {
  const TemporaryFolder folder;
  const std::string output = folder.write("model.gguf", "precious");
  const Outcome made = verified(kGolden + "linear-mamba", output,
                                kGolden + "linear-preconv-only/golden.safetensors", {"--force"});
  CHECK(made.code == kRuntimeError);
  CHECK(weights::read_file(output) == "precious");
  CHECK(folder.names() == std::set<std::string>{"model.gguf"});
}

TEST_CASE("verify: needs a file to read") {
  const Outcome refused = run_program({"convert", kGolden + "linear-mamba", "--dry-run", "--verify"});
  CHECK(refused.code == kUsage);
  CHECK(contains(refused.err, "--dry-run"));
}

}  // namespace
}  // namespace ttt::cli
