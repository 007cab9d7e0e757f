// SPDX-License-Identifier: Apache-2.0
#include "cli/redaction.h"

#include <limits.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>

#include "cli/readable.h"

namespace ttt::cli {
namespace {

constexpr std::string_view kHidden = "(hidden)";

bool is_word_character(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

// Replaces `what` wherever it stands, as a whole word if `word`.
std::string replaced(std::string_view text, std::string_view what, std::string_view by, bool word) {
  if (what.empty()) return std::string(text);
  std::string result;
  std::size_t begin = 0;
  for (std::size_t at = text.find(what); at != std::string_view::npos;) {
    const std::size_t end = at + what.size();
    const bool joined =
        (at > 0 && is_word_character(text[at - 1])) || (end < text.size() && is_word_character(text[end]));
    if (word && joined) {
      at = text.find(what, at + 1);
      continue;
    }
    result += text.substr(begin, at - begin);
    result += by;
    begin = end;
    at = text.find(what, end);
  }
  return result += text.substr(begin);
}

void add(std::vector<std::string>& list, const char* value) {
  std::string text = value == nullptr ? "" : value;
  while (text.ends_with('/')) text.pop_back();
  if (!text.empty() && std::ranges::find(list, text) == list.end()) list.push_back(std::move(text));
}

}  // namespace

Identity Identity::of_this_process() {
  Identity identity;
  add(identity.homes, std::getenv("HOME"));
  for (const char* name : {"USER", "LOGNAME", "HOSTNAME"}) add(identity.names, std::getenv(name));
  if (const passwd* entry = ::getpwuid(::geteuid())) {
    add(identity.homes, entry->pw_dir);
    add(identity.names, entry->pw_name);
  }
  std::array<char, HOST_NAME_MAX + 1> host = {};
  if (::gethostname(host.data(), host.size() - 1) == 0) {
    add(identity.names, host.data());
    const std::string name = host.data();  // "machine.example.org" and "machine"
    add(identity.names, name.substr(0, name.find('.')).c_str());
  }
  return identity;
}

Redaction::Redaction(Identity identity, bool whole_paths)
    : identity_(std::move(identity)), whole_paths_(whole_paths) {
  // The longest first: a home or a name may contain another.
  std::ranges::sort(identity_.homes, std::ranges::greater(), &std::string::size);
  std::ranges::sort(identity_.names, std::ranges::greater(), &std::string::size);
}

std::string Redaction::text(std::string_view text) const {
  std::string result = escaped(text);
  for (const std::string& home : identity_.homes) result = replaced(result, home, "~", true);
  for (const std::string& name : identity_.names) result = replaced(result, name, kHidden, true);
  return result;
}

std::string Redaction::path(std::string_view path) const {
  if (whole_paths_) return text(path);
  const std::size_t last = path.find_last_not_of('/');
  if (last == std::string_view::npos) return text(path);
  path = path.substr(0, last + 1);
  for (const std::string& home : identity_.homes) {
    if (path == home) return "~";
  }
  return text(path.substr(path.rfind('/') + 1));
}

std::string Redaction::text_about(std::string_view path, std::string_view text) const {
  return this->text(replaced(text, path, this->path(path), false));
}

std::string Redaction::variable(std::string_view name, std::string_view value) const {
  constexpr std::array<std::string_view, 8> kSecret = {"KEY",    "TOKEN", "SECRET",     "PASSWORD",
                                                       "PASSWD", "AUTH",  "CREDENTIAL", "PASSPHRASE"};
  std::string upper(name);
  for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  if (std::ranges::any_of(kSecret, [&](auto word) { return upper.find(word) != std::string::npos; })) {
    return std::string(kHidden);
  }
  return value.find('/') == std::string_view::npos ? text(value) : path(value);
}

}  // namespace ttt::cli
