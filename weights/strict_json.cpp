// SPDX-License-Identifier: Apache-2.0
#include "weights/strict_json.h"

#include <fmt/format.h>

#include <cstddef>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>
#include <vector>

#include "weights/checkpoint_error.h"
#include "weights/limits.h"

namespace ttt::weights {
namespace {

using nlohmann::json;

// What the library does not see: it takes a NUL for the end of input, and copies a string of any length
// several times before anyone is asked.
void check_bytes(std::string_view text, std::string_view file, const JsonRules& rules) {
  bool in_string = false;
  std::size_t string_begin = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\0') {
      refuse({.file = file,
              .where = fmt::format("byte {}", i),
              .wanted = "JSON",
              .found = "a NUL",
              .remedy = rules.remedy});
    }
    if (in_string && c == '\\') {
      ++i;
    } else if (c == '"') {
      in_string = !in_string;
      string_begin = i;
    }
    if (in_string && i - string_begin > rules.max_string_bytes) {
      refuse({.file = file,
              .where = fmt::format("byte {}", string_begin),
              .wanted = fmt::format("a string of at most {} bytes", rules.max_string_bytes),
              .found = "a longer one",
              .remedy = rules.remedy});
    }
  }
}

// Checks depth, keys and numbers on the way from the library's parser to the listener.
class Checker : public nlohmann::json_sax<json> {
 public:
  Checker(std::string_view file, JsonListener& listener, const JsonRules& rules)
      : file_(file), listener_(listener), rules_(rules) {}

  bool null() override { return pass(nullptr); }
  bool boolean(bool value) override { return pass(value); }
  bool number_integer(number_integer_t value) override { return pass(value); }
  bool number_unsigned(number_unsigned_t value) override { return pass(value); }
  bool number_float(number_float_t value, const string_t& digits) override {
    if (digits.find_first_of(".eE") == string_t::npos) {
      fail("an integer", "an integer of at most 64 bits", digits);
    }
    return pass(value);
  }
  bool string(string_t& value) override { return pass(std::move(value)); }
  bool binary(binary_t&) override { return false; }  // not in JSON text

  bool start_object(std::size_t) override {
    enter();
    listener_.begin_object();
    return true;
  }
  bool start_array(std::size_t) override {
    enter();
    listener_.begin_array();
    return true;
  }
  bool end_object() override { return leave(); }
  bool end_array() override { return leave(); }

  bool key(string_t& name) override {
    if (++num_open_keys_ > limits::kMaxJsonKeys) {
      fail(name, fmt::format("at most {} keys in the open objects", limits::kMaxJsonKeys), "more");
    }
    if (!open_.back().insert(name).second)
      fail(fmt::format("key \"{}\"", name), "it once", "it twice in one object");
    listener_.key(std::move(name));
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    std::string_view reason = error.what();  // "[json.exception...] parse error at line 1, column 2: reason"
    if (const std::size_t colon = reason.find(": "); colon != std::string_view::npos)
      reason.remove_prefix(colon + 2);
    refuse({.file = file_,
            .where = fmt::format("byte {}", position),
            .wanted = "JSON",
            .found = reason,
            .remedy = rules_.remedy});
  }

 private:
  bool pass(JsonScalar value) {
    listener_.scalar(std::move(value));
    return true;
  }
  void enter() {
    if (open_.size() == static_cast<std::size_t>(limits::kMaxJsonDepth)) {
      fail("nesting", fmt::format("depth {} at most", limits::kMaxJsonDepth), "a deeper one");
    }
    open_.emplace_back();
  }
  bool leave() {
    num_open_keys_ -= open_.back().size();
    open_.pop_back();
    listener_.end();
    return true;
  }
  [[noreturn]] void fail(std::string_view where, std::string_view wanted, std::string_view found) {
    refuse({.file = file_, .where = where, .wanted = wanted, .found = found, .remedy = rules_.remedy});
  }

  std::string_view file_;
  JsonListener& listener_;
  const JsonRules& rules_;
  std::vector<std::set<std::string>> open_;  // keys seen in each open object; none for an array
  std::uint64_t num_open_keys_ = 0;
};

}  // namespace

std::string json_quoted(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      result += {'\\', c};
    } else if (static_cast<unsigned char>(c) < 0x20) {
      result += fmt::format("\\u{:04x}", static_cast<unsigned char>(c));
    } else {
      result += c;
    }
  }
  return result + '"';
}

void parse_strict_json(std::string_view text, std::string_view file, JsonListener& listener,
                       const JsonRules& rules) {
  check_bytes(text, file, rules);
  Checker checker(file, listener, rules);
  json::sax_parse(text.data(), text.data() + text.size(), &checker);
}

}  // namespace ttt::weights
