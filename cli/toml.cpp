// SPDX-License-Identifier: Apache-2.0
#include "cli/toml.h"

#include <fmt/format.h>

#include <optional>
#include <utility>

#include "cli/exit_code.h"
#include "cli/readable.h"
#include "tokenizer/utf8.h"

namespace ttt::cli {
namespace {

using Kind = TomlEntry::Kind;

constexpr std::size_t kMaxShownBytes = 40;  // of what was found

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_bare_key_character(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
}

bool is_control(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return (byte < 0x20 && c != '\t') || byte == 0x7f;
}

std::string as_utf8(std::uint32_t code) {
  const auto trail = [&](int shift) { return static_cast<char>(0x80U | (code >> shift & 0x3FU)); };
  if (code < 0x80) return {static_cast<char>(code)};
  if (code < 0x800) return {static_cast<char>(0xC0U | code >> 6U), trail(0)};
  if (code < 0x10000) return {static_cast<char>(0xE0U | code >> 12U), trail(6), trail(0)};
  return {static_cast<char>(0xF0U | code >> 18U), trail(12), trail(6), trail(0)};
}

// Moves digits (with single underscores between them) from `rest` to `digits`; false if there are none.
bool take_digits(std::string_view& rest, std::string& digits) {
  if (rest.empty() || !is_digit(rest.front())) return false;
  while (!rest.empty()) {
    if (is_digit(rest.front())) {
      digits.push_back(rest.front());
    } else if (rest.front() != '_' || rest.size() < 2 || !is_digit(rest[1])) {
      break;
    }
    rest.remove_prefix(1);
  }
  return true;
}

struct Number {
  Kind kind;
  std::string text;
};

std::optional<Number> parse_toml_number(std::string_view word) {
  Number number{Kind::kInteger, {}};
  const auto take_sign = [&] {
    if (word.starts_with('-')) number.text.push_back('-');
    if (word.starts_with('-') || word.starts_with('+')) word.remove_prefix(1);
  };
  take_sign();
  const bool leading_zero = word.size() > 1 && word[0] == '0' && (is_digit(word[1]) || word[1] == '_');
  if (leading_zero || !take_digits(word, number.text)) return std::nullopt;
  if (word.starts_with('.')) {
    word.remove_prefix(1);
    number.kind = Kind::kNumber;
    number.text.push_back('.');
    if (!take_digits(word, number.text)) return std::nullopt;
  }
  if (word.starts_with('e') || word.starts_with('E')) {
    word.remove_prefix(1);
    number.kind = Kind::kNumber;
    number.text.push_back('e');
    take_sign();
    if (!take_digits(word, number.text)) return std::nullopt;
  }
  if (!word.empty()) return std::nullopt;
  return number;
}

class Parser {
 public:
  Parser(std::string_view text, std::string_view path) : text_(text), path_(path) {}

  std::vector<TomlTable> parse() {
    if (text_.size() > kMaxTomlBytes) {
      throw UsageError(fmt::format("{}: wanted a configuration file of at most {} bytes, found {}", path_,
                                   kMaxTomlBytes, text_.size()));
    }
    if (text_.starts_with("\xEF\xBB\xBF")) position_ = 3;  // a byte order mark
    tables_.emplace_back();
    while (position_ < text_.size()) {
      skip_spaces();
      if (peek() == '[') {
        read_header();
      } else if (!at_line_end()) {
        read_entry();
      }
      end_line();
    }
    return std::move(tables_);
  }

 private:
  [[noreturn]] void refuse(std::string_view wanted, const std::string& found) const {
    throw UsageError(fmt::format("{}:{}: wanted {}, found {}", path_, line_, wanted, found));
  }

  // What stands at the current place, for messages.
  std::string found_here() const {
    const std::string_view rest = text_.substr(position_);
    if (rest.empty()) return "the end of the file";
    if (rest.starts_with('\n') || rest.starts_with("\r\n")) return "the end of the line";
    std::string_view word = rest.substr(0, rest.find_first_of(" \t\r\n", 1));
    const bool cut = word.size() > kMaxShownBytes;
    if (cut) word = word.substr(0, kMaxShownBytes);
    while (!word.empty() && !tokenizer::is_valid_utf8(word)) word.remove_suffix(1);
    if (word.empty()) return "a byte that is not UTF-8";
    return fmt::format("'{}{}'", escaped(word), cut ? "..." : "");
  }

  char peek() const { return position_ < text_.size() ? text_[position_] : '\0'; }
  bool at_line_end() const {
    const std::string_view rest = text_.substr(position_);
    return rest.empty() || rest.starts_with('\n') || rest.starts_with("\r\n") || rest.starts_with('#');
  }

  void skip_spaces() {
    while (peek() == ' ' || peek() == '\t') ++position_;
  }

  // A comment, if there is one, and the end of the line.
  void end_line() {
    skip_spaces();
    if (!at_line_end()) refuse("the end of the line or a comment", found_here());
    if (peek() == '#') {
      while (position_ < text_.size() && peek() != '\n' && !text_.substr(position_).starts_with("\r\n")) {
        if (is_control(peek())) refuse("text without control characters", found_here());
        position_ += character();
      }
    }
    if (peek() == '\r') ++position_;
    if (position_ == text_.size()) return;
    ++position_;
    ++line_;
  }

  // Bytes of the character at the current place.
  std::size_t character() const {
    const std::size_t length = tokenizer::valid_character_length(text_.substr(position_));
    if (length == 0) refuse("UTF-8", fmt::format("byte 0x{:02x}", static_cast<unsigned char>(peek())));
    return length;
  }

  void read_header() {
    ++position_;
    if (peek() == '[') refuse("a table such as [run]", "'[[', which opens an array of tables");
    TomlTable table;
    table.line = line_;
    while (true) {
      skip_spaces();
      table.name.push_back(read_key());
      skip_spaces();
      if (peek() != '.') break;
      ++position_;
    }
    if (peek() != ']') refuse("']' after the table's name", found_here());
    ++position_;
    tables_.push_back(std::move(table));
  }

  void read_entry() {
    TomlEntry entry;
    entry.line = line_;
    entry.key = read_key();
    skip_spaces();
    if (peek() == '.') refuse("'=' after the key (dotted keys are not understood)", found_here());
    if (peek() != '=') refuse("'=' after the key", found_here());
    ++position_;
    skip_spaces();
    read_value(entry);
    tables_.back().entries.push_back(std::move(entry));
  }

  std::string read_key() {
    std::string key;
    if (peek() == '"' || peek() == '\'') {
      key = read_string();
    } else {
      const std::size_t begin = position_;
      while (is_bare_key_character(peek())) ++position_;
      key = text_.substr(begin, position_ - begin);
      if (key.empty()) refuse("a key or a [table]", found_here());
    }
    if (key.empty() || key.size() > kMaxTomlKeyBytes) {
      refuse(fmt::format("a name of 1 to {} bytes", kMaxTomlKeyBytes), fmt::format("{}", key.size()));
    }
    return key;
  }

  void read_value(TomlEntry& entry) {
    switch (peek()) {
      case '"':
      case '\'':
        entry.kind = Kind::kString;
        entry.values = {read_string()};
        return;
      case '[':
        entry.kind = Kind::kStrings;
        read_list(entry.values);
        return;
      case '{':
        refuse("a string, a number, true, false or a list of strings", "'{', which opens an inline table");
      default:
        read_word(entry);
    }
  }

  void read_word(TomlEntry& entry) {
    constexpr std::string_view kWanted =
        "a string in quotes, a decimal number, true, false or a list of strings";
    const std::size_t end = std::min(text_.find_first_of(" \t\r\n#,]", position_), text_.size());
    const std::string_view word = text_.substr(position_, end - position_);
    if (word == "true" || word == "false") {
      entry.kind = Kind::kBool;
      entry.values = {std::string(word)};
    } else if (auto number = parse_toml_number(word)) {
      entry.kind = number->kind;
      entry.values = {std::move(number->text)};
    } else {
      refuse(kWanted, found_here());
    }
    position_ = end;
  }

  // Of strings alone, so that nothing is nested. May go over several lines.
  void read_list(std::vector<std::string>& values) {
    ++position_;
    while (true) {
      skip_lines();
      if (peek() == ']') break;
      if (peek() != '"' && peek() != '\'') refuse("a string in quotes, or ']'", found_here());
      values.push_back(read_string());
      skip_lines();
      if (peek() == ']') break;
      if (peek() != ',') refuse("',' or ']' after an element of a list", found_here());
      ++position_;
    }
    ++position_;
  }

  // Spaces, line ends and comments inside a list.
  void skip_lines() {
    skip_spaces();
    while (position_ < text_.size() && at_line_end()) {
      end_line();
      skip_spaces();
    }
  }

  std::string read_string() {
    const char quote = peek();
    const std::string_view rest = text_.substr(position_);
    if (rest.size() >= 3 && rest[1] == quote && rest[2] == quote) {
      refuse("a string on one line", fmt::format("{0}{0}{0}, which opens one of several lines", quote));
    }
    ++position_;
    std::string value;
    while (peek() != quote || position_ == text_.size()) {
      if (position_ == text_.size() || peek() == '\n' || text_.substr(position_).starts_with("\r\n")) {
        refuse(fmt::format("{} at the end of the string", quote), found_here());
      }
      if (is_control(peek())) refuse("text without control characters", found_here());
      if (quote == '"' && peek() == '\\') {
        value += read_escape();
      } else {
        const std::size_t length = character();
        value += text_.substr(position_, length);
        position_ += length;
      }
    }
    ++position_;
    return value;
  }

  std::string read_escape() {
    constexpr std::string_view kLetters = "btnfr\"\\";
    constexpr std::string_view kMeanings = "\b\t\n\f\r\"\\";
    const char letter = position_ + 1 < text_.size() ? text_[position_ + 1] : '\0';
    if (letter == 'u') return read_code_point(4);
    if (letter == 'U') return read_code_point(8);
    const std::size_t index = letter == '\0' ? std::string_view::npos : kLetters.find(letter);
    if (index == std::string_view::npos) {
      refuse(R"(one of \b \t \n \f \r \" \\ \uXXXX \UXXXXXXXX (or a string in '...'))", found_here());
    }
    position_ += 2;
    return {kMeanings[index]};
  }

  std::string read_code_point(std::size_t digits) {
    const std::string_view hex = text_.substr(position_ + 2).substr(0, digits);
    std::uint32_t code = 0;
    bool valid = hex.size() == digits;
    for (const char c : hex) {
      const bool is_hex = is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
      valid = valid && is_hex;
      if (is_hex)
        code = code << 4U | static_cast<std::uint32_t>(is_digit(c) ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    const bool is_surrogate = code >= 0xD800 && code <= 0xDFFF;
    if (!valid || is_surrogate || code == 0 || code > 0x10FFFF) {
      refuse(fmt::format("a character's number in {} hexadecimal digits, other than 0", digits),
             found_here());
    }
    position_ += 2 + digits;
    return as_utf8(code);
  }

  std::string_view text_;
  std::string_view path_;
  std::size_t position_ = 0;
  std::size_t line_ = 1;
  std::vector<TomlTable> tables_;
};

}  // namespace

std::vector<TomlTable> parse_toml(std::string_view text, std::string_view path) {
  return Parser(text, path).parse();
}

}  // namespace ttt::cli
