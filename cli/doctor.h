// SPDX-License-Identifier: Apache-2.0
// `ttt doctor`: a report for bug tickets about this program, this machine and given models, without what says
// who and where the user is. It reads headers, not weights, and computes nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cli/machine.h"
#include "cli/redaction.h"
#include "cli/version.h"
#include "cuda/cuda_backend.h"

namespace ttt::cli {

struct DoctorOptions {
  std::vector<std::string> models;
  bool paths = false;  // show whole paths
  bool json = false;
  // Not options: what the composition root knows.
  std::optional<std::string> config_file;      // the one in use
  std::string config_error;                    // why it cannot be used; empty: it can
  std::vector<std::string> variables;          // names that the program reads
  std::vector<std::string> numeric_variables;  // those whose values are numbers: no secret
};

struct ModelReport {
  std::string path;         // redacted
  std::string file_system;  // "ext4"; empty where it cannot be told
  std::string error;        // why it cannot be opened, redacted; empty: it can, and the rest is set
  std::string format, family, weights_hash;  // the hash is empty where none is stored
  std::uint64_t parameters = 0;
  std::uint64_t weights_bytes = 0;    // of the files
  std::uint64_t max_state_bytes = 0;  // of one sequence
  std::uint64_t needed_bytes() const { return weights_bytes + max_state_bytes; }
  // Sequences whose states fit beside the weights; empty where the memory is not known.
  std::optional<std::uint64_t> sequences;
};

struct DoctorReport {
  struct Config {
    std::string path;   // redacted; empty: none is in use
    std::string error;  // redacted
  };
  VersionInfo version;
  Machine machine;
  std::string gpu;  // one line
  std::vector<cuda::CudaDevice> gpus;
  std::vector<std::string> gpu_faults;  // of the driver, and of each device that cannot be used
  std::vector<std::pair<std::string, std::string>> environment;  // redacted values
  Config config;
  std::vector<ModelReport> models;
  std::vector<std::string> problems;  // one sentence each, with what to do
};

DoctorReport examine(const DoctorOptions& options, Machine machine,
                     const std::vector<std::pair<std::string, std::string>>& environment,
                     const Redaction& redaction);

// Problems are what a report is for, so they do not change the exit code; a model that cannot be opened makes
// it kInvalidModel.
int doctor(const DoctorOptions& options);

}  // namespace ttt::cli
