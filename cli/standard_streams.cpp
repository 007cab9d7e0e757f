// SPDX-License-Identifier: Apache-2.0
#include "cli/standard_streams.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <system_error>

#include "cli/exit_code.h"
#include "cli/signals.h"

namespace ttt::cli {
namespace {

// Bytes written before an error; errno tells which.
std::size_t write_all(int descriptor, std::string_view text) {
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t count = ::write(descriptor, text.data() + done, text.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) break;
    done += static_cast<std::size_t>(count);
  }
  return done;
}

void print_line(std::string_view prefix, std::string_view sentence) {
  write_all(STDERR_FILENO, fmt::format("ttt: {}{}\n", prefix, sentence));  // nowhere to report a failure
}

[[noreturn]] void fail(int error, const std::string& what) {
  throw std::system_error(error, std::generic_category(), what);
}

std::string read_to_end(int descriptor, const std::string& name) {
  std::string text;
  std::array<char, 1U << 16> buffer;
  while (true) {
    wait_readable(descriptor);
    const ssize_t count = ::read(descriptor, buffer.data(), buffer.size());
    if (count == 0) return text;
    if (count > 0) {
      text.append(buffer.data(), static_cast<std::size_t>(count));
    } else if (errno != EINTR) {
      fail(errno, "cannot read " + name);
    }
  }
}

}  // namespace

void write_stdout(std::string_view text) {
  if (write_all(STDOUT_FILENO, text) == text.size()) return;
  if (errno == EPIPE) throw ClosedOutput();
  fail(errno, "cannot write to stdout");
}

void end_text_on_terminal(std::string_view text) {
  if (stdout_is_terminal() && !text.ends_with('\n')) write_stdout("\n");
}

void print_error(std::string_view sentence) { print_line("error: ", sentence); }
void print_warning(std::string_view sentence) { print_line("warning: ", sentence); }
void print_notice(std::string_view sentence) { print_line("", sentence); }

bool stdin_is_terminal() { return isatty(STDIN_FILENO) == 1; }
bool stdout_is_terminal() { return isatty(STDOUT_FILENO) == 1; }
bool stderr_is_terminal() { return isatty(STDERR_FILENO) == 1; }

std::string read_input(const std::string& path) {
  if (path == "-") return read_to_end(STDIN_FILENO, "stdin");
  struct Descriptor {
    int value;
    ~Descriptor() {
      if (value >= 0) ::close(value);
    }
  };
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.value < 0) fail(errno, "cannot open " + path);
  return read_to_end(file.value, path);
}

}  // namespace ttt::cli
