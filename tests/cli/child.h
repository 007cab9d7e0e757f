// SPDX-License-Identifier: Apache-2.0
// Runs the built program as users do: its own process, with pipes, signals and a clean environment.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ttt::cli::test {

struct ChildOptions {
  std::string input = {};                                             // for stdin
  std::vector<std::pair<std::string, std::string>> environment = {};  // beside TTT_THREADS=1; no other TTT_
  std::string stdout_path = {};                                       // a file instead of a pipe
  bool stdin_terminal = false;
  bool full_stdout = false;  // the first write to stdout blocks until the test reads
  // The program that finds a GPU, of the block emulator: with_gpu.cpp. 0: as it should be; n: its n-th kernel
  // fails. -1: the program of the user.
  int failing_kernel = -1;
};

// Some sandboxes have no pseudo-terminals; what a terminal changes cannot be tested there.
bool has_terminals();

struct Outcome {
  int code = 0;  // exit code; 128 + the signal for a child that a signal killed
  bool killed = false;
  std::string out;
  std::string err;
};

class Child {
 public:
  explicit Child(const std::vector<std::string>& arguments, const ChildOptions& options = {});
  ~Child();  // kills what still runs
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // Until that many bytes of stdout have come (true) or it ended.
  bool read_output(std::size_t bytes);
  // Until stderr contains `text` (true) or it ended. Does not read stdout.
  bool read_errors_until(std::string_view text);
  void signal(int number);
  // The most bytes of memory that it ever had. REQUIRES: it has not ended.
  std::size_t peak_memory() const;
  void close_output();                 // the reader of stdout goes away
  bool ends_within(int milliseconds);  // without reading anything
  Outcome wait();                      // reads the rest

 private:
  bool read_more(bool out, bool err);  // false once every wanted stream has ended
  void feed_input(std::string_view text);

  pid_t process_ = -1;  // -1: ended, with status_
  int status_ = 0;
  int input_ = -1, output_ = -1, errors_ = -1;
  Outcome outcome_;
};

inline Outcome run_program(const std::vector<std::string>& arguments, const ChildOptions& options = {}) {
  return Child(arguments, options).wait();
}

}  // namespace ttt::cli::test
