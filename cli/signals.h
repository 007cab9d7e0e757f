// SPDX-License-Identifier: Apache-2.0
// What the process does on signals. The first SIGINT, SIGTERM or SIGHUP is a request that loops ask for; the
// second ends the process at once. A mapped model file that shrinks raises SIGBUS: that ends with a sentence,
// and without the temporary file that was being written.
#pragma once

namespace ttt::cli {

// Leaves alone what the caller ignores (nohup). Opens /dev/null for standard streams that are closed. Ignores
// SIGPIPE and SIGXFSZ, so that a closed pipe and a limit on the size of files are errors of write(). Call
// once, first thing.
void install_signal_handlers();

// The signal that asked for the end, or 0.
int interrupted_by();
inline bool interrupted() { return interrupted_by() != 0; }

// 128 + the signal.
int interrupted_exit_code();

// Throws Interrupted if a signal asked for the end.
void check_interrupted();

// Waits until a read of `descriptor` would not block. Throws Interrupted when a signal asks for the end, also
// one that came before.
void wait_readable(int descriptor);

// Waits until a write of PIPE_BUF bytes to `descriptor` would not block. Once a signal asks or has asked for
// the end, for a second at most, and then throws Interrupted: who reads gets the rest, who does not read
// keeps nothing waiting.
void wait_writable(int descriptor);

}  // namespace ttt::cli
