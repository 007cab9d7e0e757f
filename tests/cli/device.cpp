// SPDX-License-Identifier: Apache-2.0
// Commands on a GPU, which the block emulator is: how they find it and what they say where they cannot use
// it, how they end when it fails, and what a bench says of it.
#include <cuda_runtime_api.h>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/exit_code.h"
#include "tests/cli/child.h"
#include "tests/cli/test_models.h"
#include "tests/weights/fixtures.h"

namespace ttt::cli {
namespace {

using test::id_model;
using test::Outcome;
using test::text_model;
using weights::contains;

Outcome run_on_device(std::vector<std::string> arguments, int failing_kernel = 0, std::string input = {}) {
  arguments.insert(arguments.end(), {"--device", "cuda", "--precision", "exact"});
  return test::run_program(arguments, {.input = std::move(input), .failing_kernel = failing_kernel});
}

TEST_CASE("a command whose GPU fails while it runs ends with a code of its own and the reason") {
  struct Command {
    std::vector<std::string> words;
    std::string input;
  };
  const std::vector<Command> commands = {
      {{"run", id_model(), "--tokens", "1,2,3", "-n", "4"}, ""},
      {{"run", text_model(), "--batch", "-", "-n", "2"}, "{\"prompt\": \"a\"}\n{\"prompt\": \"b\"}\n"},
      {{"eval", "ppl", text_model(), "-f", "-"}, "a few words"},
      {{"bench", id_model(), "-p", "4", "-n", "2", "-r", "1"}, ""},
  };
  for (const auto& [words, input] : commands) {
    INFO(words[0] << " " << words[2]);
    CHECK(run_on_device(words, 0, input).code == kOk);
    for (const int kernel : {1, 20}) {
      const Outcome outcome = run_on_device(words, kernel, input);
      CHECK(outcome.code == kDeviceLost);
      CHECK(contains(outcome.err + outcome.out,
                     "cuda:0 failed and can do nothing more in this process: restart"));
      CHECK(contains(outcome.err + outcome.out, "unspecified launch failure"));
    }
  }
}

TEST_CASE("a bench on a GPU names it, in every format without a number that is none") {
  for (const char* const format : {"md", "html", "csv", "json", "jsonl"}) {
    INFO(format);
    const Outcome outcome =
        run_on_device({"bench", id_model(), "-p", "4", "-n", "2", "-d", "0,4", "-r", "2", "-o", format});
    REQUIRE(outcome.code == kOk);
    CHECK_FALSE(contains(outcome.out, "0 threads"));
    CHECK_FALSE(contains(outcome.out, "nan"));
    CHECK_FALSE(contains(outcome.out, "inf,"));
    CHECK(contains(outcome.out, "emulated device") == (std::string(format) != "csv"));
  }
}

TEST_CASE("a bench on a GPU has shares of what it measured, of the arithmetic that it is asked for") {
  for (const char* const precision : {"fast", "exact"}) {
    INFO(precision);
    const Outcome outcome = test::run_program({"bench", id_model(), "-p", "20", "-n", "2", "-r", "1", "-o",
                                               "json", "--device", "cuda", "--precision", precision},
                                              {.failing_kernel = 0});
    REQUIRE(outcome.code == kOk);
    const auto report = nlohmann::json::parse(outcome.out);
    const auto& device = report.at("device");
    for (const char* key : {"read_bytes_per_second", "flops_per_second", "half_flops_per_second"}) {
      INFO(key);
      CHECK(device.at(key).get<double>() > 0.0);
    }
    CHECK(device.at("int8_ops_per_second").is_null());
    const auto& prompt = report.at("rows").at(0);
    const char* const rate = std::string(precision) == "fast" ? "half_flops_per_second" : "flops_per_second";
    CHECK(prompt.at("share_of_limit").get<double>() ==
          Approx(prompt.at("flops").get<double>() / device.at(rate).get<double>() /
                 prompt.at("seconds").at(0).get<double>()));
    CHECK(report.at("rows").at(1).at("share_of_limit").get<double>() > 0.0);
  }
}

TEST_CASE("a bench on a GPU that has no memory left to measure its limits has no shares") {
  // Sixteen times this is more than the whole memory.
  const Outcome outcome = test::run_program(
      {"bench", id_model(), "-p", "4", "-n", "2", "-r", "1", "-o", "json", "--device", "cuda"},
      {.environment = {{"GPU_CACHE_BYTES", "1000000000"}}, .failing_kernel = 0});
  REQUIRE(outcome.code == kOk);
  const auto report = nlohmann::json::parse(outcome.out);
  CHECK(report.at("device").at("read_bytes_per_second").is_null());
  for (const auto& row : report.at("rows")) CHECK(row.at("share_of_limit").is_null());
}

using Variables = std::vector<std::pair<std::string, std::string>>;

// Two tokens after two, with this machine's GPU.
Outcome generate(const Variables& machine, const std::vector<std::string>& options) {
  std::vector<std::string> arguments = {"run", id_model(), "--tokens", "1,2", "-n", "2", "--temp", "0"};
  arguments.insert(arguments.end(), options.begin(), options.end());
  return test::run_program(arguments, {.environment = machine, .failing_kernel = 0});
}

Variables with_error(const char* variable, cudaError_t error) { return {{variable, std::to_string(error)}}; }

TEST_CASE("a GPU that can be used and has room is what --device auto takes, and it says so") {
  const Outcome outcome = generate({}, {"--device", "auto"});
  CHECK(outcome.code == kOk);
  CHECK(
      contains(outcome.err, "ttt: --device auto: cuda:0, because emulated device can be used and has room"));
  CHECK(generate({}, {"--device", "auto", "--precision", "exact"}).out ==
        generate({}, {"--device", "cuda", "--precision", "exact"}).out);
  CHECK(outcome.err == generate({}, {}).err);  // auto is what happens without the option
}

TEST_CASE("a GPU that --device auto passes over is told with the reason, and the CPU computes") {
  struct Case {
    Variables machine;
    std::string reason;
  };
  const std::vector<Case> cases = {
      {{{"GPU_MEMORY_BYTES", "1000"}}, "cuda:0 has 0.00 GiB free of 0.00 GiB, and "},
      {{{"GPU_MAJOR", "7"}},
       "cuda:0 (emulated device) has compute capability 7.0, and the kernels need 8.0 or newer"},
      {with_error("GPU_PROPERTIES_ERROR", cudaErrorLaunchFailure),
       "cuda:0 does not answer: unspecified launch failure (cudaErrorLaunchFailure)"},
      {with_error("GPU_CHOICE_ERROR", cudaErrorDevicesUnavailable),
       "cuda:0 (emulated device) cannot be used, perhaps because another program has it for itself: "
       "CUDA-capable device(s) is/are busy or unavailable (cudaErrorDevicesUnavailable); nvidia-smi shows"},
      {with_error("GPU_MEMORY_ERROR", cudaErrorDevicesUnavailable),
       "cuda:0 (emulated device) cannot be used, perhaps because another program has it for itself: "},
      {with_error("GPU_CHOICE_ERROR", cudaErrorMemoryAllocation),
       "cuda:0 (emulated device) has not even memory to be started: other programs have filled it"},
      {with_error("GPU_CODE_ERROR", cudaErrorNoKernelImageForDevice),
       "cuda:0 (emulated device) has compute capability 9.0, and this build has no code for it: no kernel "
       "image is available for execution on the device (cudaErrorNoKernelImageForDevice); build with "
       "-DTTT_CUDA=ON -DCMAKE_CUDA_ARCHITECTURES=90"},
      {{{"GPU_DRIVER", "12020"}},
       "the NVIDIA driver is too old: it is for CUDA 12.2, and this build needs one for CUDA 13.0 or newer; "
       "update the driver, or build with a CUDA toolkit that it knows, 12.8 or newer"},
      {with_error("GPU_DRIVER_ERROR", cudaErrorSystemDriverMismatch),
       "the NVIDIA driver (for CUDA 13.0) does not work: system has unsupported display driver / cuda driver "
       "combination (cudaErrorSystemDriverMismatch); see what nvidia-smi says"},
  };
  const std::string wanted = generate({}, {"--device", "cpu"}).out;
  for (const auto& [machine, reason] : cases) {
    INFO(machine[0].first << "=" << machine[0].second);
    const Outcome outcome = generate(machine, {"--device", "auto"});
    CHECK(outcome.code == kOk);
    CHECK(outcome.out == wanted);
    INFO(outcome.err);
    CHECK(contains(outcome.err, "ttt: --device auto: the CPU, because " + reason));
    // Told once, and without a second reason.
    CHECK(outcome.err.find("because", outcome.err.find(reason) + reason.size()) == std::string::npos);
  }
}

TEST_CASE("without a driver or a GPU --device auto takes the CPU, and says so") {
  for (const auto& [machine, reason] : std::vector<std::pair<Variables, std::string>>{
           {{{"GPU_DRIVER", "0"}, {"GPU_COUNT", "0"}}, "no NVIDIA driver is installed"},
           {{{"GPU_COUNT", "0"}}, "the driver (for CUDA 13.0) finds no GPU"}}) {
    INFO(reason);
    CHECK(contains(generate(machine, {"--device", "auto"}).err,
                   "ttt: --device auto: the CPU, because CUDA runtime 13.0; " + reason));
    const Outcome fast = generate(machine, {"--device", "auto", "--precision", "fast"});
    CHECK(fast.code == kUsage);
    CHECK(contains(fast.err, reason));
  }
}

TEST_CASE("auto goes on to the next GPU where the first cannot be used") {
  Variables machine = with_error("GPU_CHOICE_ERROR", cudaErrorDevicesUnavailable);
  machine.emplace_back("GPU_COUNT", "2");
  const Outcome outcome = generate(machine, {"--device", "auto"});
  CHECK(outcome.code == kOk);
  CHECK(contains(outcome.err, "--device auto: cuda:1, because "));
}

TEST_CASE(
    "a GPU that is asked for is refused with the reason, where there is one before the model is opened") {
  struct Case {
    Variables machine;
    ExitCode code;
    std::string reason;
  };
  const std::vector<Case> cases = {
      {{{"GPU_DRIVER", "0"}, {"GPU_COUNT", "0"}},
       kUsage,
       "--device cuda: CUDA runtime 13.0; no NVIDIA driver is installed; --device cpu computes without a "
       "GPU"},
      {{{"GPU_COUNT", "0"}}, kUsage, "finds no GPU; --device cpu"},
      {{{"GPU_DRIVER", "11040"}},
       kUsage,
       "is too old: it is for CUDA 11.4, and this build needs one for CUDA 13.0 or newer; update the driver; "
       "--device cpu"},
      {{{"GPU_MAJOR", "7"}}, kUsage, "compute capability 7.0, and the kernels need 8.0 or newer"},
      {with_error("GPU_CHOICE_ERROR", cudaErrorDevicesUnavailable), kRuntimeError,
       "error: cuda:0 (emulated device) cannot be used, perhaps because another program has it for itself"},
      {with_error("GPU_MEMORY_ERROR", cudaErrorDevicesUnavailable), kRuntimeError,
       "error: cuda:0 (emulated device) cannot be used, perhaps because another program has it for itself"},
      {with_error("GPU_CHOICE_ERROR", cudaErrorMemoryAllocation), kOutOfMemory,
       "has not even memory to be started: other programs have filled it"},
      {with_error("GPU_CODE_ERROR", cudaErrorNoKernelImageForDevice), kRuntimeError,
       "this build has no code for it"},
      {{{"GPU_MEMORY_BYTES", "1000"}}, kOutOfMemory, "not even one sequence would fit"},
  };
  for (const auto& [machine, code, reason] : cases) {
    INFO(machine[0].first << "=" << machine[0].second);
    const Outcome outcome = generate(machine, {"--device", "cuda"});
    CHECK(outcome.code == code);
    CHECK(outcome.out.empty());
    INFO(outcome.err);
    CHECK(contains(outcome.err, reason));
  }
}

TEST_CASE("the list of devices names a GPU, and why one cannot be used") {
  const auto list = [](const Variables& machine, const std::vector<std::string>& options = {}) {
    std::vector<std::string> arguments = {"info", "--devices"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    const Outcome outcome = test::run_program(arguments, {.environment = machine, .failing_kernel = 0});
    CHECK(outcome.code == kOk);
    return outcome.out;
  };
  CHECK(contains(list({}), "\ncuda:0  emulated device, compute 9.0, 4.00 GiB\n"));
  CHECK(contains(list({}), "\nCUDA    CUDA runtime 13.0, driver for CUDA 13.0, 1 device, no cuBLASLt\n"));
  const auto usable = nlohmann::json::parse(list({}, {"--json"})).at("devices").at(1);
  CHECK(usable.at("device") == "cuda:0");
  CHECK(usable.at("unusable_because").is_null());

  const std::string busy = list(with_error("GPU_CHOICE_ERROR", cudaErrorDevicesUnavailable));
  CHECK(contains(busy, "\ncuda:0  emulated device, compute 9.0, 4.00 GiB"));
  CHECK(contains(busy, "perhaps because another program has it for itself"));
  const auto old = nlohmann::json::parse(list({{"GPU_MAJOR", "7"}}, {"--json"})).at("devices").at(1);
  CHECK(contains(old.at("unusable_because").get<std::string>(), "compute capability 7.0"));
  CHECK(contains(
      list(with_error("GPU_CODE_ERROR", cudaErrorNoKernelImageForDevice)),
      "cannot be used: cuda:0 (emulated device) has compute capability 9.0, and this build has no code"));
  CHECK(contains(list({{"GPU_DRIVER", "12020"}}), "the NVIDIA driver is too old: it is for CUDA 12.2"));
}

TEST_CASE("ttt doctor counts a driver or a device that cannot be used among the problems") {
  const auto report = [](const Variables& machine) {
    const Outcome outcome = test::run_program({"doctor"}, {.environment = machine, .failing_kernel = 0});
    CHECK(outcome.code == kOk);
    return outcome.out;
  };
  const std::string_view problem = "A GPU cannot be used, so that the CPU computes: ";
  CHECK_FALSE(contains(report({}), problem));
  CHECK_FALSE(contains(report({{"GPU_DRIVER", "0"}, {"GPU_COUNT", "0"}}), problem));
  CHECK(contains(report({{"GPU_DRIVER", "12020"}}), std::string(problem) + "the NVIDIA driver is too old"));
  CHECK(
      contains(report({{"GPU_MAJOR", "7"}}), std::string(problem) + "cuda:0 (emulated device) has compute "));
}

}  // namespace
}  // namespace ttt::cli
