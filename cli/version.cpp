// SPDX-License-Identifier: Apache-2.0
#include "cli/version.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "cli/build_info.h"
#include "cli/exit_code.h"
#include "cli/json_output.h"
#include "cli/standard_streams.h"
#include "cpu/dispatch.h"
#include "cpu/processors.h"
#include "cuda/cuda_backend.h"

namespace ttt::cli {
namespace {

// TTT_LIBRARIES is "CLI11 2.1.2,fmt 9.1.0,...", from the packages that CMake found.
std::vector<std::pair<std::string, std::string>> libraries() {
  std::vector<std::pair<std::string, std::string>> list;
  for (std::string_view rest = TTT_LIBRARIES; !rest.empty();) {
    const std::string_view entry = rest.substr(0, rest.find(','));
    const std::size_t space = entry.find(' ');
    list.emplace_back(entry.substr(0, space), entry.substr(space + 1));
    rest.remove_prefix(std::min(entry.size() + 1, rest.size()));
  }
  return list;
}

}  // namespace

VersionInfo describe_version() {
  const BuildInfo& build = build_info();
  VersionInfo info;
  info.version = build.version;
  info.commit = build.commit;
  info.compiler = build.compiler;
  info.build_type = build.build_type;
  info.sanitizers = build.sanitizers;
  info.processor = cpu::processor_name();
  info.processors = cpu::available_processors();
  info.dispatch_target = cpu::dispatch_target();
  info.cpu_targets = cpu::cpu_targets();
  info.cuda = cuda::cuda_description();
  info.cuda_built = cuda::cuda_built();
  info.libraries = libraries();
  return info;
}

std::string version_text(const VersionInfo& info) {
  std::string text = fmt::format("ttt {} ({})\n", info.version, info.commit);
  const auto line = [&](std::string_view key, const std::string& value) {
    text += fmt::format("  {:<12}{}\n", key, value);
  };
  line("compiler", info.compiler);
  line("build", info.sanitizers.empty() ? info.build_type
                                        : fmt::format("{}, sanitizers {}", info.build_type, info.sanitizers));
  line("processor", fmt::format("{}, {} usable", info.processor, info.processors));
  line("kernels", fmt::format("{} (of {})", info.dispatch_target, fmt::join(info.cpu_targets, ", ")));
  line("cuda", info.cuda);
  std::string joined;
  for (const auto& [name, number] : info.libraries) {
    joined += fmt::format("{}{} {}", joined.empty() ? "" : ", ", name, number);
  }
  line("libraries", joined);
  return text;
}

int version(const VersionOptions& options) {
  const VersionInfo info = describe_version();
  write_stdout(options.json ? to_json(info) : version_text(info));
  return kOk;
}

}  // namespace ttt::cli
