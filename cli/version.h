// SPDX-License-Identifier: Apache-2.0
// `ttt version`: what this program is, for people and for bug reports.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace ttt::cli {

struct VersionOptions {
  bool json = false;
};

struct VersionInfo {
  std::string version, commit, compiler, build_type, sanitizers, dispatch_target;
  std::vector<std::string> cpu_targets;  // those of this machine
  std::string processor;                 // "AMD EPYC 7B13", and how many this process may use
  std::size_t processors = 0;
  std::string cuda;  // one line
  bool cuda_built = false;
  std::vector<std::pair<std::string, std::string>> libraries;  // name, version
};

VersionInfo describe_version();
std::string version_text(const VersionInfo& info);
int version(const VersionOptions& options);

}  // namespace ttt::cli
