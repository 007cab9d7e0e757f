// SPDX-License-Identifier: Apache-2.0
// How the program ends, and the exceptions that say so. main() turns every exception into one of these codes.
#pragma once

#include <exception>
#include <stdexcept>

namespace ttt::cli {

enum ExitCode : int {
  kOk = 0,            // also when the reader of stdout went away: it had what it wanted
  kRuntimeError = 1,  // a file that cannot be read or written, a full disk, a selftest that failed
  kUsage = 2,         // the command line, a variable or the configuration file is wrong
  kInvalidModel = 3,  // a model or a saved state cannot be used, or the file changed while in use
  kOutOfMemory = 4,
  kTimeLimit = 5,      // --timeout
  kDeviceLost = 6,     // the GPU failed and is of no use to this process; another run may do
  kInterrupted = 130,  // 128 + SIGINT; other signals likewise
};

// What the user wrote asks for something that cannot be done.
class UsageError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// What is asked for does not fit into memory: found out before work began.
class MemoryError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A signal asked for the end, and nothing is left to say.
struct Interrupted : std::exception {
  const char* what() const noexcept override { return "interrupted"; }
};

// The reader of stdout went away.
struct ClosedOutput : std::exception {
  const char* what() const noexcept override { return "stdout is closed"; }
};

}  // namespace ttt::cli
