// SPDX-License-Identifier: Apache-2.0
// stdin, stdout and stderr. Results go to stdout and nothing else does; every write is flushed. Sentences for
// people go to stderr, prefixed with the program's name.
#pragma once

#include <string>
#include <string_view>

namespace ttt::cli {

// Throws ClosedOutput when the reader is gone, std::system_error when the disk is full.
void write_stdout(std::string_view text);
// Ends a text that goes to a terminal with a newline; what goes to a file or a pipe stays exact.
void end_text_on_terminal(std::string_view text);

void print_error(std::string_view sentence);    // "ttt: error: ..."
void print_warning(std::string_view sentence);  // "ttt: warning: ..."
void print_notice(std::string_view sentence);   // "ttt: ..."

bool stdin_is_terminal();
bool stdout_is_terminal();
bool stderr_is_terminal();

// The whole of a file; "-" is stdin. Throws std::system_error, or Interrupted by a signal.
std::string read_input(const std::string& path);

}  // namespace ttt::cli
