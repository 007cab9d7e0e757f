// SPDX-License-Identifier: Apache-2.0
// Takes out of a text what says who and where the user is, so that it can go into a public ticket.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ttt::cli {

struct Identity {
  std::vector<std::string> homes;  // without a final slash
  std::vector<std::string> names;  // of the user and of the host

  static Identity of_this_process();
};

class Redaction {
 public:
  // `whole_paths`: paths are shown with their folders, else by their last part.
  Redaction(Identity identity, bool whole_paths);

  // A home folder becomes ~, a name that stands as a word becomes "(hidden)". On one line, printable.
  std::string text(std::string_view text) const;
  std::string path(std::string_view path) const;
  // A text about a file or folder that may name it by its path.
  std::string text_about(std::string_view path, std::string_view text) const;
  // The value of a variable: "(hidden)" if the variable's name speaks of a key, token, secret or password.
  std::string variable(std::string_view name, std::string_view value) const;

 private:
  Identity identity_;
  bool whole_paths_;
};

}  // namespace ttt::cli
