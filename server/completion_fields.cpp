// SPDX-License-Identifier: Apache-2.0
#include "server/completion_fields.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <utility>

#include "engine/request_error.h"
#include "server/api_error.h"
#include "server/chat_messages.h"
#include "server/field_table.h"
#include "weights/checkpoint_error.h"
#include "weights/strict_json.h"

namespace ttt::server {
namespace {

using Kind = Field::Kind;
using weights::JsonScalar;

constexpr std::int64_t kMaxInt64 = std::numeric_limits<std::int64_t>::max();

std::optional<std::int64_t> integer_of(const JsonScalar& value) {
  if (const auto* negative = std::get_if<std::int64_t>(&value)) return *negative;
  const auto* positive = std::get_if<std::uint64_t>(&value);
  if (positive == nullptr || *positive > static_cast<std::uint64_t>(kMaxInt64)) return std::nullopt;
  return static_cast<std::int64_t>(*positive);
}

// "42" alone; no sign, zero in front or suffix, so that one id has one spelling.
std::optional<std::int64_t> id_of_key(const std::string& key) {
  std::int64_t value = 0;
  const char* const end = key.data() + key.size();
  const auto [stop, error] = std::from_chars(key.data(), end, value);
  const bool is_plain = !key.empty() && key[0] != '-' && (key.size() == 1 || key[0] != '0');
  if (error != std::errc() || stop != end || !is_plain) return std::nullopt;
  return value;
}

// Beyond every range, yet within float.
std::optional<float> number_of(const JsonScalar& value) {
  double number = 0.0;
  if (const auto* real = std::get_if<double>(&value)) {
    number = *real;
  } else if (const auto* positive = std::get_if<std::uint64_t>(&value)) {
    number = static_cast<double>(*positive);
  } else if (const auto* negative = std::get_if<std::int64_t>(&value)) {
    number = static_cast<double>(*negative);
  } else {
    return std::nullopt;
  }
  return static_cast<float>(std::clamp(number, -1e30, 1e30));
}

// A value in a message: short, printable.
std::string described(const JsonScalar& value) {
  struct Describe {
    std::string operator()(std::nullptr_t) const { return "null"; }
    std::string operator()(bool value) const { return value ? "true" : "false"; }
    std::string operator()(std::int64_t value) const { return fmt::format("{}", value); }
    std::string operator()(std::uint64_t value) const { return fmt::format("{}", value); }
    std::string operator()(double value) const {
      std::string digits = fmt::format("{}", value);
      if (digits.find_first_of(".e") == std::string::npos) digits += ".0";  // told from an integer
      return digits;
    }
    std::string operator()(const std::string& value) const {
      constexpr std::size_t kShown = 40;
      const bool printable = std::ranges::all_of(
          value, [](char c) { return static_cast<unsigned char>(c) >= 0x20 && c != 0x7F; });
      if (value.size() > kShown || !printable) return fmt::format("a string of {} bytes", value.size());
      return fmt::format("\"{}\"", value);
    }
  };
  return std::visit(Describe(), value);
}

// Fills CompletionFields. A fault in one field does not keep it from reading the others.
class FieldListener : public weights::JsonListener {
 public:
  FieldListener(const FieldRules& rules, CompletionFields& fields) : rules_(rules), fields_(fields) {}

  void begin_object() override {
    if (messages_.is_open()) return messages_.begin_object();
    if (is_one_way() && field_->words.empty()) refuse_way();
    if (depth_ == 1 && field_ != nullptr &&
        (field_->kind == Kind::kBiases || field_->kind == Kind::kStreamOptions)) {
      return open(field_->kind, "an object");
    }
    open(Kind::kAnything, "an object");
  }
  void begin_array() override {
    if (messages_.is_open() || (depth_ == 1 && field_ != nullptr && field_->kind == Kind::kMessages)) {
      return messages_.begin_array();
    }
    if (depth_ == 0) note("", "wanted a JSON object, found an array");
    if (depth_ == 2 && wanted_container_ && field_->kind == Kind::kPrompt) return open_prompt_ids();
    const bool takes_array =
        depth_ == 1 && field_ != nullptr &&
        (field_->kind == Kind::kIds || field_->kind == Kind::kTexts || field_->kind == Kind::kPrompt);
    open(takes_array ? field_->kind : Kind::kAnything, "an array");
  }
  void end() override {
    if (messages_.is_open()) {
      messages_.end();
      if (!messages_.is_open()) take_messages();
      return;
    }
    if (--depth_ == 1) {
      if (wanted_container_ && field_->kind == Kind::kPrompt) check_prompts();
      wanted_container_ = false;
    }
    if (depth_ == 2 && prompt_ids_open_) {
      prompt_ids_open_ = false;
      check_last_prompt();
    }
  }
  void key(std::string name) override {
    if (messages_.is_open()) return messages_.key(std::move(name));
    if (depth_ == 2) inner_key_ = std::move(name);
    if (depth_ != 1) return;
    field_ = nullptr;
    has_flat_ids_ = false;
    for (const Field& field : all_fields()) {
      if (field.name == name && field.is_in(rules_.set)) field_ = &field;
    }
    if (field_ != nullptr) return;
    constexpr std::size_t kMaxListed = 64;
    if (fields_.unknown.size() < kMaxListed) fields_.unknown.push_back(std::move(name));
  }
  void scalar(JsonScalar value) override {
    if (messages_.is_open()) return messages_.scalar(std::move(value));
    if (is_one_way()) return take_way(value);
    try {
      if (depth_ == 0) throw RequestError("", "wanted a JSON object, found " + described(value));
      if (depth_ == 1 && field_ != nullptr) take(std::move(value));
      if (wanted_container_ && (depth_ == 2 || prompt_ids_open_)) take_element(std::move(value));
    } catch (RequestError& error) {
      wanted_container_ = prompt_ids_open_ = false;  // one fault is enough of an array
      if (!fault_) fault_ = std::move(error);
    }
  }

  const std::optional<RequestError>& fault() const { return fault_; }

 private:
  // The depth grows; what does not fit the field is noted.
  void open(Kind kind, const char* found) {
    const int depth = depth_++;
    if (depth == 0 || field_ == nullptr || field_->kind == Kind::kAnything || is_one_way()) return;
    if (depth > 1 && !(depth == 2 && wanted_container_)) return;
    const bool fits = depth == 1 && field_->kind == kind;
    if (!fits) {
      wanted_container_ = false;
      return note(field_->name, fmt::format("wanted {}, found {}{}", wanted(*field_, rules_.set), found,
                                            depth == 2 ? " in it" : ""));
    }
    wanted_container_ = true;
    if (kind == Kind::kBiases) fields_.request.sampling.logit_bias.clear();
    if (kind == Kind::kTexts) fields_.request.stop_strings.clear();
    if (kind == Kind::kIds) field_->ids(fields_)->clear();
    if (kind == Kind::kStreamOptions) fields_.has_stream_options = true;
  }

  void open_prompt_ids() {
    ++depth_;
    if (rules_.set == FieldSet::kBatch) {
      wanted_container_ = false;
      return note("prompt", "wanted a string or an array of token ids, found an array in it");
    }
    try {
      add_prompt(std::vector<TokenId>());
      prompt_ids_open_ = true;
    } catch (RequestError& error) {
      wanted_container_ = false;
      if (!fault_) fault_ = std::move(error);
    }
  }

  void note(const std::string& field, const std::string& sentence) {
    if (!fault_) fault_ = RequestError(field, field.empty() ? sentence : field + ": " + sentence);
  }

  // Of what is not done here: anything in it, at any depth, that is not one of the words.
  bool is_one_way() const { return depth_ > 0 && field_ != nullptr && field_->kind == Kind::kOneWay; }
  void take_way(const JsonScalar& value) {
    if (std::holds_alternative<std::nullptr_t>(value)) return;
    const auto* const text = std::get_if<std::string>(&value);
    const auto is_text = [&](const char* word) { return text != nullptr && *text == word; };
    if (!std::ranges::any_of(field_->words, is_text)) refuse_way();
  }
  void refuse_way() {
    if (fields_.unsupported) return;
    fields_.unsupported = {
        field_->name, fmt::format("{}: {}; leave it out", field_->name,
                                  field_->words.empty() ? "this model writes text alone, calls nothing"
                                                        : fmt::format("wanted {}, for this model writes "
                                                                      "text alone",
                                                                      fmt::join(field_->words, " or ")))};
  }

  void take_messages() {
    fields_.messages = messages_.take();
    if (fields_.messages.empty()) note("messages", "wanted at least one message, found an empty array");
    if (messages_.fault() && !fault_) fault_ = RequestError("messages", *messages_.fault());
    if (messages_.unsupported() && !fields_.unsupported) {
      fields_.unsupported = {"messages", *messages_.unsupported()};
    }
  }

  [[noreturn]] void refuse(const JsonScalar& value) const {
    throw RequestError(field_->name, fmt::format("{}: wanted {}, found {}", field_->name,
                                                 wanted(*field_, rules_.set), described(value)));
  }

  // null says nothing, as in requests that clients make from records.
  void take(JsonScalar value) {
    if (std::holds_alternative<std::nullptr_t>(value)) return;
    switch (field_->kind) {
      case Kind::kId:
        return take_id(std::move(value));
      case Kind::kPrompt:
        if (!std::holds_alternative<std::string>(value)) refuse(value);
        return add_prompt(std::get<std::string>(std::move(value)));
      case Kind::kInteger:
        return take_integer(value);
      case Kind::kNumber:
        if (!number_of(value)) refuse(value);
        *field_->number(fields_) = *number_of(value);
        return;
      case Kind::kBool:
        if (!std::holds_alternative<bool>(value)) refuse(value);
        *field_->flag(fields_) = std::get<bool>(value);
        return;
      case Kind::kText:
        if (!std::holds_alternative<std::string>(value)) refuse(value);
        *field_->text(fields_) = std::get<std::string>(std::move(value));
        return;
      case Kind::kTexts:
        if (!std::holds_alternative<std::string>(value)) refuse(value);
        fields_.request.stop_strings = {std::get<std::string>(std::move(value))};
        return;
      case Kind::kAnything:
      case Kind::kOneWay:
        return;
      case Kind::kMessages:
      case Kind::kIds:
      case Kind::kBiases:
      case Kind::kStreamOptions:
        refuse(value);
    }
  }

  void take_integer(const JsonScalar& value) {
    const bool is_seed = field_->is_seed();
    const auto* large = std::get_if<std::uint64_t>(&value);
    if (is_seed && large != nullptr && rules_.set != FieldSet::kBatch) {
      fields_.seed = *large;
      return;
    }
    const auto integer = integer_of(value);
    if (!integer) refuse(value);
    if (is_seed && rules_.set == FieldSet::kBatch && *integer < 0) {
      throw RequestError("seed", fmt::format("seed: wanted an integer of at least 0, found {}", *integer));
    }
    field_->set_integer(fields_, *integer);
  }

  void take_id(JsonScalar value) {
    if (auto* text = std::get_if<std::string>(&value)) {
      fields_.id = std::move(*text);
    } else if (const auto* positive = std::get_if<std::uint64_t>(&value)) {
      fields_.id = *positive;
    } else if (const auto* negative = std::get_if<std::int64_t>(&value)) {
      fields_.id = *negative;
    } else {
      refuse(value);
    }
  }

  void take_element(JsonScalar value) {
    switch (field_->kind) {
      case Kind::kTexts:
        return take_stop(std::move(value));
      case Kind::kBiases:
        return take_bias(value);
      case Kind::kStreamOptions:
        return take_stream_option(value);
      case Kind::kPrompt:
        return take_prompt_element(std::move(value));
      default:
        break;
    }
    std::vector<TokenId>& ids = *field_->ids(fields_);
    ids.push_back(token_id(value, ids.size()));
  }

  TokenId token_id(const JsonScalar& value, std::size_t index) const {
    const auto id = integer_of(value);
    if (!is_id(id)) refuse_id(fmt::format("{}[{}]", field_->name, index), described(value));
    return static_cast<TokenId>(*id);
  }

  std::vector<Prompt>& prompts() { return *field_->prompts(fields_); }
  [[noreturn]] void fault_of_prompts(const std::string& sentence) const {
    throw RequestError(field_->name, fmt::format("{}: {}", field_->name, sentence));
  }

  // An array of ids is one prompt, of strings or of arrays many.
  void take_prompt_element(JsonScalar value) {
    if (auto* text = std::get_if<std::string>(&value)) {
      if (rules_.set == FieldSet::kBatch || has_flat_ids_ || prompt_ids_open_) refuse(value);
      return add_prompt(std::move(*text));
    }
    if (!prompt_ids_open_ && !has_flat_ids_) {
      if (!prompts().empty()) refuse(value);
      add_prompt(std::vector<TokenId>());
      has_flat_ids_ = true;
    }
    auto& ids = std::get<std::vector<TokenId>>(prompts().back());
    ids.push_back(token_id(value, ids.size()));
  }

  void add_prompt(Prompt prompt) {
    if (has_flat_ids_) {
      fault_of_prompts("wanted token ids alone, or arrays alone, found both");
    }
    if (prompts().size() == rules_.max_prompts) {
      fault_of_prompts(fmt::format("wanted at most {}, found more", rules_.max_prompts));
    }
    if (!prompts().empty() && prompts().back().index() != prompt.index()) {
      fault_of_prompts("wanted strings alone, or arrays alone, found both");
    }
    prompts().push_back(std::move(prompt));
  }

  void check_prompts() {
    if (prompts().empty()) note(field_->name, "wanted at least one, found an empty array");
  }
  void check_last_prompt() {
    if (!std::get<std::vector<TokenId>>(prompts().back()).empty()) return;
    note(field_->name,
         fmt::format("wanted at least one token id, found an empty array (number {})", prompts().size() - 1));
  }

  void take_stop(JsonScalar value) {
    std::vector<std::string>& stops = fields_.request.stop_strings;
    if (!std::holds_alternative<std::string>(value)) refuse(value);
    if (stops.size() == kMaxStopStrings) {
      throw RequestError("stop", fmt::format("stop: wanted at most {}, found more", kMaxStopStrings));
    }
    stops.push_back(std::get<std::string>(std::move(value)));
  }

  void take_bias(const JsonScalar& value) {
    const auto bias = number_of(value);
    if (!bias) refuse(value);
    const auto id = id_of_key(inner_key_);
    if (!is_id(id)) refuse_id(field_->name, described(inner_key_));
    fields_.request.sampling.logit_bias.push_back({static_cast<TokenId>(*id), *bias});
  }

  void take_stream_option(const JsonScalar& value) {
    bool* target = inner_key_ == "include_usage"            ? &fields_.include_usage
                   : inner_key_ == "continuous_usage_stats" ? &fields_.continuous_usage
                                                            : nullptr;
    if (target == nullptr || std::holds_alternative<std::nullptr_t>(value)) return;
    if (!std::holds_alternative<bool>(value)) {
      throw RequestError("stream_options", fmt::format("stream_options.{}: wanted true or false, found {}",
                                                       inner_key_, described(value)));
    }
    *target = std::get<bool>(value);
  }

  bool is_id(std::optional<std::int64_t> id) const {
    return id && *id >= 0 && static_cast<std::size_t>(*id) < rules_.vocab_size;
  }
  [[noreturn]] void refuse_id(const std::string& place, const std::string& found) const {
    throw RequestError(field_->name, fmt::format("{}: wanted a token id from 0 to {}, found {}", place,
                                                 rules_.vocab_size - 1, found));
  }

  const FieldRules& rules_;
  CompletionFields& fields_;
  int depth_ = 0;
  const Field* field_ = nullptr;   // the one that is read; null: unknown
  bool wanted_container_ = false;  // its array or object is open and wanted
  bool prompt_ids_open_ = false;   // an array within the array of prompts
  bool has_flat_ids_ = false;      // the array of prompts turned out to be one prompt's ids
  std::string inner_key_;
  ChatMessagesReader messages_;  // told what stands in the field of that name
  std::optional<RequestError> fault_;
};

}  // namespace

void read_completion_fields(std::string_view json, std::string_view place, const FieldRules& rules,
                            CompletionFields& fields) {
  const weights::JsonRules json_rules{.max_string_bytes = rules.max_string_bytes, .remedy = {}};
  FieldListener listener(rules, fields);
  try {
    weights::parse_strict_json(json, place, listener, json_rules);
  } catch (const weights::CheckpointError& error) {
    throw RequestError("", json_fault(error));
  }
  if (listener.fault()) throw *listener.fault();
}

}  // namespace ttt::server
