// SPDX-License-Identifier: Apache-2.0
// `ttt selftest`: proves in seconds that this build on this machine computes the models, and with a MODEL
// that this file is sound and runs here as it should. Needs no data of its own but the bundled models, if
// they are there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "cli/selftest_checks.h"
#include "cli/version.h"

namespace ttt::cli {

struct SelftestOptions {
  ModelOptions model;  // its path may be empty
  bool json = false;
};

enum class CheckStatus : std::uint8_t { kPass, kFail, kSkip };
std::string_view to_string(CheckStatus status);  // "PASS", "FAIL", "SKIP"

struct SelftestCheck {
  std::string subject;  // "mlp bf16", "demo linear", "model"
  std::string name;     // "threads"; the pair is unique
  CheckStatus status = CheckStatus::kPass;
  Measured measured = {};
  double seconds = 0.0;
};

struct SelftestReport {
  VersionInfo version;
  std::string model;  // path; empty: none was given
  std::vector<SelftestCheck> checks = {};
  double seconds = 0.0;

  std::size_t count(CheckStatus status) const;
  bool passed() const { return count(CheckStatus::kFail) == 0; }
};

class Selftest {
 public:
  using OnCheck = std::function<void(const SelftestCheck&)>;  // called as each ends

  Selftest(BackendFactory factory, OnCheck on_check);

  // Both throw Interrupted before a check or a step, and std::bad_alloc. What else is thrown in a check fails
  // that check.
  void check_install();                       // random models, files, the bundled models
  void check_model(const ModelFiles& files);  // ends within about a minute, whatever its size

  const std::vector<SelftestCheck>& checks() const { return checks_; }

 private:
  void check(const std::string& subject, const std::string& name, const std::function<Measured()>& measure);
  void check_random_model(const RandomModelCase& random_case);
  void check_demo(const std::string& kind);
  void check_backend(const std::string& subject, BackendChecks& checks);

  BackendFactory factory_;
  OnCheck on_check_;
  std::vector<SelftestCheck> checks_;
};

// "1.61e-06 largest error over rms (bound 2e-05); 53 tokens"
std::string text_of(const Measured& measured);

// Returns kRuntimeError if a check failed.
int selftest(const SelftestOptions& options);

}  // namespace ttt::cli
