// SPDX-License-Identifier: Apache-2.0
#include "cli/doctor.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli/exit_code.h"
#include "tests/cli/child.h"
#include "tests/cli/fake_system.h"
#include "tests/cli/test_models.h"
#include "tests/weights/fixtures.h"

namespace ttt::cli {
namespace {

using test::FakeSystem;
using test::Outcome;
using test::run_program;
using weights::contains;
using weights::TemporaryFolder;

using Variables = std::vector<std::pair<std::string, std::string>>;

const Identity kBob = {.homes = {"/home/bob"}, .names = {"bob", "bobs-laptop"}};

DoctorReport report_on(const FakeSystem& system, const DoctorOptions& options = {},
                       const Variables& environment = {}, bool whole_paths = false) {
  return examine(options, read_machine(system.root()), environment, Redaction(kBob, whole_paths));
}

bool has_problem(const DoctorReport& report, std::string_view text) {
  return std::ranges::any_of(report.problems, [&](const auto& problem) { return contains(problem, text); });
}

DoctorOptions with_model(const std::string& path) {
  DoctorOptions options;
  options.models = {path};
  return options;
}

TEST_CASE("the settings of a machine that cost speed are named with advice") {
  FakeSystem system;
  system.write_usual();
  const DoctorReport usual = report_on(system);
  CHECK(has_problem(usual, "governor is powersave"));
  CHECK(has_problem(usual, "vm.overcommit_memory is 2"));
  CHECK_FALSE(has_problem(usual, "AVX2"));
  CHECK_FALSE(has_problem(usual, "control group"));
  CHECK_FALSE(has_problem(usual, "files may be open"));
  system.write("sys/fs/cgroup/cpu.max", "25000 100000");
  system.write("proc/cpuinfo", "processor : 0\nflags : sse4_2\n");
  system.write("proc/self/limits", "Max open files            20    20    files\n");
  const DoctorReport poor = report_on(system);
  CHECK(has_problem(poor, "allows 0.25 of a processor"));
  CHECK(has_problem(poor, "Only 20 files"));
#if defined(__x86_64__)
  CHECK(has_problem(poor, "has no AVX2"));
#endif
}

TEST_CASE("a model is opened, measured, and set against the memory there is") {
  const TemporaryFolder folder;
  const std::string path = test::make_gguf(folder.path());
  FakeSystem system;
  system.write_usual();
  const DoctorReport report = report_on(system, with_model(path));
  REQUIRE(report.models.size() == 1);
  const ModelReport& model = report.models[0];
  CHECK(model.path == "model.gguf");
  CHECK(model.error.empty());
  CHECK(model.format == "GGUF");
  CHECK(model.weights_bytes == std::filesystem::file_size(path));
  CHECK(model.weights_hash.size() == 32);
  CHECK(model.max_state_bytes > 0);
  const std::uint64_t memory = std::uint64_t{8'000'000} * 1024;
  CHECK(model.sequences == (memory - model.weights_bytes) / model.max_state_bytes);
  CHECK_FALSE(has_problem(report, "needs"));
}

TEST_CASE("a model that does not fit is a problem that says which limit, how much, and what to do") {
  const TemporaryFolder folder;
  const std::string path = test::make_gguf(folder.path());
  FakeSystem system;
  system.write_usual();
  SECTION("the control group's") {
    system.write("sys/fs/cgroup/memory.max", "204800");
    const DoctorReport report = report_on(system, with_model(path));
    CHECK(has_problem(report, "memory.max allows 200 KiB; model.gguf needs "));
    CHECK(has_problem(report, "--type bf16"));
    CHECK(report.models.at(0).sequences == 0U);
  }
  SECTION("version 1 of it") {
    system.write("proc/self/cgroup", "3:memory:/\n");
    system.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "204800");
    CHECK(has_problem(report_on(system, with_model(path)), "memory.max allows 200 KiB"));
  }
  SECTION("the machine's") {
    system.write("proc/meminfo", "MemTotal: 400 kB\nMemAvailable: 300 kB\n");
    CHECK(has_problem(report_on(system, with_model(path)),
                      "300 KiB of memory are available; model.gguf needs"));
  }
}

TEST_CASE("a model that cannot be opened is reported without its folders, the others are still examined") {
  const TemporaryFolder folder;
  const std::string broken = folder.write("broken.gguf", "GGUF");
  FakeSystem system;
  DoctorOptions options = with_model(broken);
  options.models.push_back(test::id_model());
  const DoctorReport report = report_on(system, options);
  REQUIRE(report.models.size() == 2);
  CHECK(report.models[0].error.starts_with("broken.gguf"));
  CHECK_FALSE(contains(report.models[0].error, folder.path()));
  CHECK(has_problem(report, "broken.gguf cannot be opened: "));
  CHECK(report.models[1].format == "Hugging Face folder");
  const DoctorReport whole = report_on(system, with_model(broken), {}, true);
  CHECK(contains(whole.models.at(0).error, folder.path()));
}

TEST_CASE("only the variables that matter are shown, without secrets and folders") {
  const FakeSystem system;
  DoctorOptions options;
  options.variables = {"TTT_MODEL", "TTT_MAX_TOKENS"};
  options.numeric_variables = {"TTT_MAX_TOKENS"};
  const DoctorReport report = report_on(system, options,
                                        {{"TTT_MODEL", "/home/bob/m.gguf"},
                                         {"TTT_MAX_TOKENS", "32K"},
                                         {"TTT_MAX_TOKEN", "5"},
                                         {"TTT_HUB_TOKEN", "hf_abc"},
                                         {"PASSWORD", "x"}});
  CHECK(report.environment == Variables{{"TTT_HUB_TOKEN", "(hidden)"},
                                        {"TTT_MAX_TOKEN", "(hidden)"},
                                        {"TTT_MAX_TOKENS", "32K"},
                                        {"TTT_MODEL", "m.gguf"}});
  CHECK(has_problem(report, "No option reads the variable TTT_MAX_TOKEN: TTT_MAX_TOKENS was probably meant"));
  CHECK_FALSE(has_problem(report, "TTT_MODEL"));
}

TEST_CASE("a number's variable that holds no number is hidden if its name speaks of a token") {
  const FakeSystem system;
  DoctorOptions options;
  options.numeric_variables = {"TTT_MAX_TOKENS"};
  CHECK(report_on(system, options, {{"TTT_MAX_TOKENS", "hf_abc"}}).environment.at(0).second == "(hidden)");
}

TEST_CASE("problems leave the exit code alone, a model that cannot be opened does not") {
  const TemporaryFolder folder;
  const std::string config = folder.write("c.toml", "[run]\nfrob = 1\n");
  const std::string model = test::make_gguf(folder.path());
  const Outcome report = run_program({"doctor", "--config", config, model});
  CHECK(report.code == kOk);
  CHECK(report.out.starts_with("ttt 0."));
  CHECK(contains(report.out, "\nmodel model.gguf\n"));
  CHECK(contains(report.out, "c.toml (not usable)"));
  CHECK(contains(report.out, "c.toml:2: ttt run has no option 'frob'"));
  const Outcome missing = run_program({"doctor", folder / "none.gguf", model});
  CHECK(missing.code == kInvalidModel);
  CHECK(contains(missing.out, "none.gguf cannot be opened: "));
  CHECK(contains(missing.out, "\nmodel model.gguf\n"));
  CHECK_FALSE(contains(report.out + missing.out, folder.path()));
  CHECK(contains(run_program({"doctor", "--paths", folder / "none.gguf"}).out, folder.path()));
}

TEST_CASE("the report as JSON names what it found, and nobody") {
  const TemporaryFolder folder;
  const test::ChildOptions options{
      .environment = {{"HOME", folder.path()}, {"USER", "marvin"}, {"TTT_DEVICE", "marvin's cpu"}}};
  const std::string model = test::make_gguf(folder.path());
  const Outcome outcome = run_program({"doctor", "--json", "--paths", model}, options);
  CHECK(outcome.code == kOk);
  const auto json = nlohmann::json::parse(outcome.out);
  CHECK(json.at("schema") == 1);
  CHECK(json.at("version").at("version").get<std::string>().starts_with("0."));
  for (const char* key : {"processor", "memory", "system", "cuda", "config_file", "problems"})
    CHECK(json.contains(key));
  CHECK(json.at("models").at(0).at("path") == "~/model.gguf");
  CHECK(json.at("models").at(0).at("opened") == true);
  CHECK(json.at("environment").at("TTT_DEVICE") == "(hidden)'s cpu");
  CHECK_FALSE(contains(outcome.out, folder.path()));
  CHECK_FALSE(contains(outcome.out, "marvin"));
}

}  // namespace
}  // namespace ttt::cli
