// SPDX-License-Identifier: Apache-2.0
#include "tests/cli/child.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <map>
#include <stdexcept>

namespace ttt::cli::test {
namespace {

constexpr int kPatienceMs = 120'000;  // generous: sanitizers on a loaded machine

void close_if_open(int& descriptor) {
  if (descriptor >= 0) ::close(descriptor);
  descriptor = -1;
}

struct Pipe {
  int read_end = -1;
  int write_end = -1;
  Pipe() {
    std::array<int, 2> ends = {};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
    read_end = ends[0];
    write_end = ends[1];
  }
};

// The far end of a new terminal; `near_end` is the test's.
int open_terminal(int& near_end) {
  near_end = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (near_end < 0 || ::grantpt(near_end) != 0 || ::unlockpt(near_end) != 0) {
    throw std::runtime_error("no terminal");
  }
  return ::open(::ptsname(near_end), O_RDWR | O_NOCTTY | O_CLOEXEC);
}

void fill(int write_end) {
  const int flags = ::fcntl(write_end, F_GETFL);
  ::fcntl(write_end, F_SETFL, flags | O_NONBLOCK);
  while (::write(write_end, "x", 1) == 1) {
  }
  ::fcntl(write_end, F_SETFL, flags);
}

std::vector<std::string> clean_environment(const ChildOptions& options) {
  // Tests run beside each other, and threads that share a processor wait for one another.
  // The user's configuration file is none of theirs.
  std::map<std::string, std::string> variables = {{"TTT_THREADS", "1"}, {"XDG_CONFIG_HOME", "/nonexistent"}};
  for (const auto& [name, value] : options.environment) variables[name] = value;
  if (options.failing_kernel > 0) variables["FAILING_KERNEL"] = std::to_string(options.failing_kernel);
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::size_t equals = std::min(text.find('='), text.size());
    if (!text.starts_with("TTT_")) variables.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  std::vector<std::string> result;
  for (const auto& [name, value] : variables) result.push_back(name + "=" + value);
  return result;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (std::string& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

}  // namespace

bool has_terminals() {
  const int descriptor = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  const bool usable =
      descriptor >= 0 && ::ptsname(descriptor) != nullptr && ::access(::ptsname(descriptor), R_OK) == 0;
  if (descriptor >= 0) ::close(descriptor);
  return usable;
}

Child::Child(const std::vector<std::string>& arguments, const ChildOptions& options) {
  ::signal(SIGPIPE, SIG_IGN);  // a child that does not read its input
  std::vector<std::string> words = {options.failing_kernel < 0 ? TTT_PROGRAM : TTT_PROGRAM_WITH_GPU};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<std::string> variables = clean_environment(options);
  const std::vector<char*> argv = pointers(words);
  const std::vector<char*> envp = pointers(variables);

  Pipe in, out, err;
  int child_input = in.read_end;
  if (options.stdin_terminal) {
    close_if_open(in.read_end);
    close_if_open(in.write_end);
    child_input = open_terminal(in.write_end);
  }
  int child_output = out.write_end;
  if (!options.stdout_path.empty()) child_output = ::open(options.stdout_path.c_str(), O_WRONLY | O_CLOEXEC);

  if (options.full_stdout) fill(out.write_end);
  process_ = ::fork();
  if (process_ == 0) {
    ::signal(SIGPIPE, SIG_DFL);
    ::dup2(child_input, STDIN_FILENO);
    ::dup2(child_output, STDOUT_FILENO);
    ::dup2(err.write_end, STDERR_FILENO);
    ::execve(argv[0], argv.data(), envp.data());
    ::_exit(127);
  }
  ::close(child_input);
  ::close(out.write_end);
  ::close(err.write_end);
  if (child_output != out.write_end) ::close(child_output);
  input_ = in.write_end;
  output_ = out.read_end;
  errors_ = err.read_end;
  if (!options.stdin_terminal) feed_input(options.input);
}

Child::~Child() {
  if (process_ > 0) {
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
  }
  close_if_open(input_);
  close_if_open(output_);
  close_if_open(errors_);
}

// Inputs of tests fit a pipe.
void Child::feed_input(std::string_view text) {
  const ssize_t written = ::write(input_, text.data(), text.size());
  const bool refused = written < 0 && errno != EPIPE;
  if (refused || (written >= 0 && static_cast<std::size_t>(written) != text.size())) {
    throw std::runtime_error("the input does not fit a pipe");
  }
  close_if_open(input_);
}

bool Child::read_more(bool out, bool err) {
  std::array<pollfd, 2> polled = {pollfd{out ? output_ : -1, POLLIN, 0},
                                  pollfd{err ? errors_ : -1, POLLIN, 0}};
  if (polled[0].fd < 0 && polled[1].fd < 0) return false;
  if (::poll(polled.data(), polled.size(), kPatienceMs) <= 0) throw std::runtime_error("the program hangs");
  std::array<char, 4096> buffer;
  for (const pollfd& ready : polled) {
    if (ready.fd < 0 || ready.revents == 0) continue;
    const ssize_t count = ::read(ready.fd, buffer.data(), buffer.size());
    int& descriptor = ready.fd == output_ ? output_ : errors_;
    std::string& text = ready.fd == output_ ? outcome_.out : outcome_.err;
    if (count <= 0) {
      close_if_open(descriptor);
    } else {
      text.append(buffer.data(), static_cast<std::size_t>(count));
    }
  }
  return true;
}

bool Child::read_output(std::size_t bytes) {
  while (outcome_.out.size() < bytes && output_ >= 0) read_more(true, true);
  return outcome_.out.size() >= bytes;
}

bool Child::read_errors_until(std::string_view text) {
  while (outcome_.err.find(text) == std::string::npos && errors_ >= 0) read_more(false, true);
  return outcome_.err.find(text) != std::string::npos;
}

void Child::signal(int number) {
  if (process_ <= 0) throw std::logic_error("the program has ended");  // kill(-1) would hit every process
  ::kill(process_, number);
}

// Not what wait4 tells: that begins with the memory of this process, which the child has until it is
// executed.
std::size_t Child::peak_memory() const {
  std::ifstream lines("/proc/" + std::to_string(process_) + "/status");
  constexpr std::string_view kKey = "VmHWM:";
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(kKey)) return std::stoul(line.substr(kKey.size())) * 1024;
  }
  throw std::runtime_error("the program's memory is not told");
}

void Child::close_output() { close_if_open(output_); }

bool Child::ends_within(int milliseconds) {
  for (int waited = 0; process_ > 0; ++waited) {
    if (::waitpid(process_, &status_, WNOHANG) == process_) {
      process_ = -1;
    } else if (waited >= milliseconds) {
      return false;
    } else {
      ::usleep(1000);
    }
  }
  return true;
}

Outcome Child::wait() {
  while (read_more(true, true)) {
  }
  if (process_ > 0) ::waitpid(process_, &status_, 0);
  process_ = -1;
  outcome_.killed = WIFSIGNALED(status_);
  outcome_.code = outcome_.killed ? 128 + WTERMSIG(status_) : WEXITSTATUS(status_);
  return outcome_;
}

}  // namespace ttt::cli::test
