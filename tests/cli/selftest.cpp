// SPDX-License-Identifier: Apache-2.0
// The self-test passes where all is well, and each planted fault fails the check that is there for it.
#include "cli/selftest.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <string>
#include <thread>

#include "cli/exit_code.h"
#include "cpu/cpu_backend.h"
#include "tests/cli/child.h"
#include "tests/cli/test_models.h"
#include "tests/weights/fixtures.h"
#include "weights/safetensors.h"

namespace ttt::cli {
namespace {

using test::Outcome;
using test::run_program;
using weights::contains;
using weights::TemporaryFolder;

enum class Fault {
  kNone,
  kLogitOff,        // one logit, always
  kLogitNan,        // one logit of a prompt
  kStateOff,        // one value of what is saved
  kStateNan,        // it is no number
  kSegmentsMatter,  // a logit depends on the length of its segment
  kSlotsMixed,      // in a batch of several, the first two results are exchanged
  kThreadsMatter,   // one thread computes another logit
  kRewindResets,    // forgets too much (on the CPU there is nothing to do but the check of arguments)
  kLoadOff,         // one value of what is loaded
  kSampledOff,      // the token drawn
  kSlowAlone,       // a backend with one slot is: what the speed is measured with
  kStepFails,       // the device does
};

// The CPU backend with one fault.
class FaultyBackend final : public Backend {
 public:
  FaultyBackend(std::unique_ptr<Backend> sound, Fault fault, std::size_t vocab_size)
      : sound_(std::move(sound)), fault_(fault), vocab_size_(vocab_size) {}

  const BackendInfo& info() const override { return sound_->info(); }
  void reset(SlotId slot) override { sound_->reset(slot); }
  void copy(SlotId from, SlotId to, std::int64_t position) override { sound_->copy(from, to, position); }
  void rewind(SlotId slot, std::int64_t from, std::int64_t to) override {
    sound_->rewind(slot, from, to);
    if (fault_ == Fault::kRewindResets) sound_->reset(slot);
  }
  void save(SlotId slot, std::int64_t position, std::span<std::byte> bytes) const override {
    sound_->save(slot, position, bytes);
    if (fault_ == Fault::kStateOff) change_a_float(bytes);
    if (fault_ == Fault::kStateNan) change_a_float(bytes, std::numeric_limits<float>::quiet_NaN());
  }
  void load(SlotId slot, std::int64_t position, std::span<const std::byte> bytes) override {
    std::vector<std::byte> changed(bytes.begin(), bytes.end());
    if (fault_ == Fault::kLoadOff) change_a_float(changed);
    sound_->load(slot, position, changed);
  }
  void submit(std::span<const Segment> batch) override {
    if (fault_ == Fault::kStepFails) throw std::runtime_error("the device failed");
    if (fault_ == Fault::kSlowAlone && info().num_slots == 1) {
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
    }
    sound_->submit(batch);
  }
  std::span<const SegmentResult> wait() override {
    const auto sound = sound_->wait();
    results_.assign(sound.begin(), sound.end());
    logits_.clear();
    for (SegmentResult& result : results_) {
      std::vector<float>& logits = logits_.emplace_back(result.logits.begin(), result.logits.end());
      if (!logits.empty()) change_logits(logits);
      result.logits = logits;
      if (fault_ == Fault::kSampledOff && result.sampled.id >= 0) {
        result.sampled.id = (result.sampled.id + 1) % static_cast<TokenId>(vocab_size_);
      }
    }
    if (fault_ == Fault::kSlotsMixed && results_.size() > 1) std::swap(results_[0], results_[1]);
    return results_;
  }

 private:
  static void change_a_float(std::span<std::byte> bytes, float difference = 0.01F) {
    float value = 0.0F;
    std::byte* place = bytes.data() + bytes.size() / 2 / sizeof(float) * sizeof(float);
    std::memcpy(&value, place, sizeof(value));
    value += difference;
    std::memcpy(place, &value, sizeof(value));
  }
  void change_logits(std::vector<float>& logits) const {
    const bool changes = fault_ == Fault::kLogitOff ||
                         (fault_ == Fault::kSegmentsMatter && logits.size() == 3 * vocab_size_) ||
                         (fault_ == Fault::kThreadsMatter && info().num_threads == 1);
    if (changes) logits[logits.size() / 2] += 0.01F;
    if (fault_ == Fault::kLogitNan) logits[logits.size() / 2] = std::numeric_limits<float>::quiet_NaN();
  }

  std::unique_ptr<Backend> sound_;
  Fault fault_;
  std::size_t vocab_size_;
  std::vector<SegmentResult> results_;
  std::vector<std::vector<float>> logits_;
};

std::unique_ptr<Backend> make_faulty(const Model& model, const BackendLimits& limits, std::int64_t threads,
                                     Fault fault) {
  return std::make_unique<FaultyBackend>(
      cpu::make_cpu_backend(model, {.num_slots = limits.slots,
                                    .max_batch_tokens = limits.tokens,
                                    .max_logits_rows = limits.logits_rows,
                                    .num_threads = static_cast<std::size_t>(threads == 0 ? 2 : threads)}),
      fault, model.config.vocab_size);
}

// The checks of a tiny model.
std::vector<SelftestCheck> checks_with(Fault fault) {
  Selftest run([&](const Model& model, const BackendLimits& limits,
                   std::int64_t threads) { return make_faulty(model, limits, threads, fault); },
               [](const SelftestCheck&) {});
  run.check_model(ModelFiles(test::id_model()));
  return run.checks();
}

std::set<std::string> failures_with(Fault fault) {
  std::set<std::string> failures;
  for (const SelftestCheck& check : checks_with(fault)) {
    if (check.status == CheckStatus::kFail) failures.insert(check.name);
  }
  return failures;
}

// Failed checks of a report as the program prints it with --json: "subject: name".
std::set<std::string> failed_checks(const nlohmann::json& report) {
  std::set<std::string> failed;
  for (const auto& check : report.at("checks")) {
    if (check.at("status") == "FAIL") {
      failed.insert(check.at("subject").get<std::string>() + ": " + check.at("name").get<std::string>());
    }
  }
  return failed;
}

const test::ChildOptions kWithoutDemos{.environment = {{"TTT_MODEL_DIR", "/no/such/folder"}}};
const test::ChildOptions kWithDemos{.environment = {{"TTT_MODEL_DIR", TTT_TEST_DATA "/../models"}}};

TEST_CASE("each planted fault fails the checks that are there for it, and a sound backend none") {
  using Names = std::set<std::string>;
  CHECK(failures_with(Fault::kNone) == Names{});
  CHECK(failures_with(Fault::kLogitOff).contains("logits vs float64"));
  for (const char* name : {"finite logits", "logits vs float64"}) {
    CHECK(failures_with(Fault::kLogitNan).contains(name));
  }
  CHECK(failures_with(Fault::kStateOff) == Names{"state vs float64", "state round trip"});
  CHECK(failures_with(Fault::kStateNan).contains("state vs float64"));
  CHECK(failures_with(Fault::kSegmentsMatter).contains("chunking"));
  CHECK(failures_with(Fault::kSlotsMixed).contains("batch isolation"));
  CHECK(failures_with(Fault::kThreadsMatter) == Names{"threads"});
  CHECK(failures_with(Fault::kRewindResets) == Names{"rewind"});
  CHECK(failures_with(Fault::kLoadOff) == Names{"state round trip"});
  CHECK(failures_with(Fault::kSampledOff) == Names{"engine"});
  CHECK(failures_with(Fault::kStepFails) == Names{"finite logits"});
}

TEST_CASE("of a slow model fewer tokens are read, still across the end of a mini-batch") {
  const std::vector<SelftestCheck> checks = checks_with(Fault::kSlowAlone);
  for (const SelftestCheck& check : checks) {
    CAPTURE(check.name, check.measured.note);
    CHECK(check.status != CheckStatus::kFail);
    if (check.name == "finite logits") {
      // 21 and 11 where nothing else is slow.
      std::smatch counts;
      const std::string& note = check.measured.note;
      REQUIRE(std::regex_search(note, counts, std::regex("([0-9]+) tokens, ([0-9]+) of them read once")));
      CHECK(std::stoi(counts[1]) > 16);
      CHECK(std::stoi(counts[1]) <= 21);
    }
    if (contains(check.name, "float64")) CHECK(check.status == CheckStatus::kSkip);
  }
}

TEST_CASE("a second backend that does not fit into memory is no fault") {
  const TemporaryFolder folder;
  Selftest run(
      [](const Model& model, const BackendLimits& limits, std::int64_t threads) {
        if (threads == 1 || limits.tokens == BackendLimits().tokens) throw MemoryError("needs more");
        return make_faulty(model, limits, threads, Fault::kNone);
      },
      [](const SelftestCheck&) {});
  run.check_model(ModelFiles(test::make_text_model(folder / "model")));
  std::set<std::string> skipped;
  for (const SelftestCheck& check : run.checks()) {
    CAPTURE(check.name, check.measured.note);
    CHECK(check.status != CheckStatus::kFail);
    if (check.status == CheckStatus::kSkip && check.measured.note == "needs more") skipped.insert(check.name);
  }
  CHECK(skipped == std::set<std::string>{"threads", "mean loss"});
}

TEST_CASE("a device or a target that is not there is one usage error, and nothing is checked") {
  for (const char* option : {"--device", "--cpu-target"}) {
    const Outcome outcome = run_program({"selftest", option, "none-such"}, kWithoutDemos);
    CHECK(outcome.code == kUsage);
    CHECK(outcome.out.empty());
    CHECK(contains(outcome.err, std::string(option) + ": wanted "));
  }
}

TEST_CASE("the heading names the target that is checked") {
  const auto version = nlohmann::json::parse(run_program({"version", "--json"}).out);
  for (const auto& target : version.at("cpu_targets")) {
    test::Child child({"selftest", "--cpu-target", target.get<std::string>()}, kWithoutDemos);
    CHECK(child.read_output(200));
    child.signal(SIGINT);
    CHECK(contains(child.wait().out, "kernels for " + target.get<std::string>() + ","));
  }
}

TEST_CASE("this build computes right, and the bundled models write what they should", "[slow]") {
  const Outcome text = run_program({"selftest"}, kWithDemos);
  CAPTURE(text.out);
  CHECK(text.code == kOk);
  CHECK(text.err.empty());
  CHECK(std::ranges::count(text.out, '\n') > 80);
  CHECK(contains(text.out, "\nPASS  linear f32    logits vs float64"));
  CHECK(contains(text.out, "\nPASS  mlp bf16      state vs float64"));
  CHECK(contains(text.out, "\nPASS  demo linear   greedy text"));
  CHECK(contains(text.out, "\nPASS  demo mlp      log-probability"));
  CHECK(contains(text.out, "\nPASSED: "));
}

TEST_CASE("a given model is checked, too; a bundled one passes") {
  const Outcome outcome =
      run_program({"selftest", TTT_TEST_DATA "/../models/demo-mlp.gguf", "--json"}, kWithoutDemos);
  CHECK(outcome.code == kOk);
  const auto report = nlohmann::json::parse(outcome.out);
  CHECK(report.at("schema") == 1);
  CHECK(report.at("passed") == true);
  CHECK(report.at("model").get<std::string>().ends_with("demo-mlp.gguf"));
  CHECK(report.at("counts").at("fail") == 0);
  CHECK(report.at("counts").at("skip") == 2);  // the bundled models
  std::set<std::string> names;
  for (const auto& check : report.at("checks")) {
    CAPTURE(check.dump());
    if (check.at("subject") == "model") names.insert(check.at("name").get<std::string>());
    if (check.at("status") == "PASS") CHECK(check.at("value") <= check.at("bound"));
    if (check.at("status") == "SKIP") CHECK_FALSE(check.at("note").get<std::string>().empty());
  }
  CHECK(names == std::set<std::string>{"file", "memory", "tokenizer", "finite logits", "logits vs float64",
                                       "state vs float64", "chunking", "batch isolation", "threads",
                                       "state round trip", "rewind", "engine", "mean loss"});
}

TEST_CASE("a model of random weights works but knows no English", "[slow]") {
  const TemporaryFolder folder;
  const Outcome outcome =
      run_program({"selftest", test::make_text_model(folder / "m"), "--json"}, kWithoutDemos);
  CHECK(outcome.code == kRuntimeError);
  CHECK(failed_checks(nlohmann::json::parse(outcome.out)) == std::set<std::string>{"model: mean loss"});
}

TEST_CASE("a damaged model fails the check of its file, and the verdict says what to do", "[slow]") {
  const TemporaryFolder folder;
  std::string bytes = weights::read_file(test::make_gguf(folder.path()));
  bytes[bytes.size() - 100'000] = static_cast<char>(bytes[bytes.size() - 100'000] ^ 0x01);
  const Outcome flipped = run_program({"selftest", folder.write("flipped.gguf", bytes)}, kWithoutDemos);
  CHECK(flipped.code == kRuntimeError);
  CHECK(contains(flipped.out, "\nFAIL  model         file"));
  CHECK(contains(flipped.out, "its hash differs"));
  CHECK(contains(flipped.out, "\nFAILED: 2 of "));  // and the loss, as its weights are random
  CHECK(contains(flipped.out, "ttt doctor MODEL"));
}

TEST_CASE("a NaN among the weights fails the check of the file and that of the logits", "[slow]") {
  const TemporaryFolder folder;
  const std::string model = test::make_text_model(folder / "model");
  std::string bytes = weights::read_file(model + "/model.safetensors");
  bytes.replace(bytes.size() - 4, 4, std::string("\x00\x00\xc0\x7f", 4));
  std::ofstream(model + "/model.safetensors", std::ios::binary) << bytes;
  const auto failed =
      failed_checks(nlohmann::json::parse(run_program({"selftest", model, "--json"}, kWithoutDemos).out));
  CHECK(failed.contains("model: file"));
  CHECK(failed.contains("model: finite logits"));
  CHECK(failed.contains("model: logits vs float64"));
  CHECK_FALSE(failed.contains("mlp f32: finite logits"));
}

TEST_CASE("a bundled model that is another one is named, with what to do", "[slow]") {
  const TemporaryFolder folder;
  std::filesystem::rename(test::make_gguf(folder.path()), folder / "demo-linear.gguf");
  const Outcome outcome = run_program({"selftest"}, {.environment = {{"TTT_MODEL_DIR", folder.path()}}});
  CHECK(outcome.code == kRuntimeError);
  CHECK(contains(outcome.out, "\nFAIL  demo linear   known weights"));
  CHECK(contains(outcome.out, "is not the model that came with this version"));
  CHECK(contains(outcome.out, "\nSKIP  demo mlp      file"));
}

TEST_CASE("a model that cannot be opened ends the self-test before it begins, with code 3") {
  const Outcome outcome = run_program({"selftest", "/no/such/model.gguf"}, kWithoutDemos);
  CHECK(outcome.code == kInvalidModel);
  CHECK(outcome.out.empty());
  CHECK(contains(outcome.err, "/no/such/model.gguf"));
}

TEST_CASE("a signal ends the self-test between two checks") {
  test::Child child({"selftest"}, kWithoutDemos);
  CHECK(child.read_output(200));
  child.signal(SIGINT);
  const Outcome outcome = child.wait();
  CHECK(outcome.code == kInterrupted);
  CHECK_FALSE(outcome.killed);
  CHECK(outcome.out.ends_with("\n"));
  CHECK_FALSE(contains(outcome.out, "PASSED"));
}

}  // namespace
}  // namespace ttt::cli
