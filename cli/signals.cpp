// SPDX-License-Identifier: Apache-2.0
#include "cli/signals.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <string_view>
#include <system_error>

#include "cli/exit_code.h"
#include "weights/temporary_name.h"

namespace ttt::cli {
namespace {

std::atomic<int> received{0};
static_assert(std::atomic<int>::is_always_lock_free, "used in a signal handler");

// So long (ms) a reader may take nothing, once the end was asked for, and still get the rest.
constexpr int kPatience = 1000;

// Readable once the end was asked for: what poll() waits on beside its input, whichever thread the signal
// hits.
std::array<int, 2> wake_pipe = {-1, -1};

extern "C" void on_end_request(int signal) {
  int none = 0;
  if (!received.compare_exchange_strong(none, signal)) _exit(128 + signal);
  const int saved_errno = errno;
  const ssize_t written = write(wake_pipe[1], "", 1);
  static_cast<void>(written);
  errno = saved_errno;
}

extern "C" void on_bus_error(int) {
  constexpr std::string_view kMessage = "ttt: error: the model file changed while in use\n";
  const ssize_t written = write(STDERR_FILENO, kMessage.data(), kMessage.size());
  static_cast<void>(written);
  weights::remove_temporaries();
  _exit(kInvalidModel);
}

void handle(int signal, void (*handler)(int)) {
  struct sigaction action = {};
  // nohup and shells that start jobs in the background ignore some signals for their children: so it stays.
  if (sigaction(signal, nullptr, &action) == 0 && action.sa_handler == SIG_IGN) return;
  action = {};
  action.sa_handler = handler;  // no SA_RESTART: a blocked write returns
  sigemptyset(&action.sa_mask);
  sigaction(signal, &action, nullptr);
}

// A caller may have closed stdin, stdout or stderr. The next file opened would take the number, and would be
// read or written for the stream. Nobody misses what goes to stderr; what goes to stdout is an error.
void keep_standard_descriptors() {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(descriptor, F_GETFD) >= 0) continue;
    const int lowest_free = open("/dev/null", descriptor == STDOUT_FILENO ? O_RDONLY : O_RDWR);
    if (lowest_free != descriptor) return;
  }
}

}  // namespace

void install_signal_handlers() {
  keep_standard_descriptors();
  if (pipe2(wake_pipe.data(), O_CLOEXEC | O_NONBLOCK) != 0) {
    throw std::system_error(errno, std::generic_category(), "cannot make a pipe");
  }
  handle(SIGINT, on_end_request);
  handle(SIGTERM, on_end_request);
  handle(SIGHUP, on_end_request);
  handle(SIGBUS, on_bus_error);
  handle(SIGPIPE, SIG_IGN);
  handle(SIGXFSZ, SIG_IGN);
}

int interrupted_by() { return received.load(); }

int interrupted_exit_code() { return 128 + interrupted_by(); }

void check_interrupted() {
  if (interrupted()) throw Interrupted();
}

void wait_readable(int descriptor) {
  while (true) {
    std::array<pollfd, 2> polled = {pollfd{descriptor, POLLIN, 0}, pollfd{wake_pipe[0], POLLIN, 0}};
    const int ready = poll(polled.data(), polled.size(), -1);
    check_interrupted();
    if (ready > 0) return;
  }
}

void wait_writable(int descriptor) {
  std::array<pollfd, 2> polled = {pollfd{descriptor, POLLOUT, 0}, pollfd{wake_pipe[0], POLLIN, 0}};
  while (true) {
    const bool is_last_try = interrupted();
    const int ready = poll(polled.data(), is_last_try ? 1 : 2, is_last_try ? kPatience : -1);
    if (ready > 0 && polled[0].revents != 0) return;
    if (is_last_try && (ready == 0 || errno != EINTR)) throw Interrupted();
  }
}

}  // namespace ttt::cli
