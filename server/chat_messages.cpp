// SPDX-License-Identifier: Apache-2.0
#include "server/chat_messages.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace ttt::server {
namespace {

using tokenizer::ChatRole;
using weights::JsonScalar;

// "function" is what "tool" was once called.
constexpr std::pair<const char*, ChatRole> kRoles[] = {
    {"system", ChatRole::kSystem},       {"developer", ChatRole::kSystem}, {"user", ChatRole::kUser},
    {"assistant", ChatRole::kAssistant}, {"tool", ChatRole::kTool},        {"function", ChatRole::kTool}};

bool is_word(const std::string& text) {
  return text.size() <= 40 && std::ranges::all_of(text, [](char c) { return c > 0x20 && c < 0x7F; });
}

}  // namespace

std::string ChatMessagesReader::place() const {
  const std::size_t index = messages_.empty() ? 0 : messages_.size() - 1;
  return depth_ < 3 ? fmt::format("messages[{}]", index)
                    : fmt::format("messages[{}].{}[{}]", index, key_, num_parts_);
}

void ChatMessagesReader::note(const std::string& wanted) {
  if (!fault_) fault_ = fmt::format("{}: wanted {}", place(), wanted);
}

void ChatMessagesReader::refuse(const std::string& sentence) {
  if (!unsupported_) unsupported_ = fmt::format("{}: {}", place(), sentence);
}

void ChatMessagesReader::begin_object() {
  if (depth_ == 1) {
    messages_.emplace_back();
    has_role_ = has_content_ = false;
    num_parts_ = 0;
  } else if (depth_ == 2 && key_ == "content") {
    note("content: a string or an array of text parts, found an object");
  } else if (depth_ == 2 && (key_ == "function_call" || key_ == "audio")) {
    refuse(fmt::format("{} is not supported; this model reads and writes text alone", key_));
  } else if (depth_ == 3 && key_ == "content") {
    part_type_.reset();
    part_text_.reset();
    part_key_.clear();
  } else if (depth_ == 3 && key_ == "tool_calls") {
    num_parts_ = 0;
    refuse("tool_calls are not supported; this model reads and writes text alone");
  }
  ++depth_;
}

void ChatMessagesReader::begin_array() {
  if (depth_ == 1) note("an object with role and content, found an array");
  if (depth_ == 2 && key_ == "content") has_content_ = true;
  if (depth_ == 3 && key_ == "content") note("a part such as {\"type\": \"text\", \"text\": \"Hello\"}");
  ++depth_;
}

void ChatMessagesReader::end() {
  if (depth_ == 4 && key_ == "content" && !fault_) end_part();
  if (depth_ == 2 && !messages_.empty() && !fault_) end_message();
  --depth_;
}

void ChatMessagesReader::key(std::string name) {
  if (depth_ == 2) key_ = std::move(name);
  if (depth_ == 4) part_key_ = std::move(name);
}

void ChatMessagesReader::scalar(JsonScalar value) {
  if (depth_ == 1) note("an object with role and content");
  if (depth_ == 2) take_message_value(std::move(value));
  if (depth_ == 3 && key_ == "content") note("a part such as {\"type\": \"text\", \"text\": \"Hello\"}");
  if (depth_ != 4 || key_ != "content") return;
  auto* const text = std::get_if<std::string>(&value);
  if (part_key_ == "type" || part_key_ == "text") {
    if (text == nullptr) return note(part_key_ + ": a string");
    (part_key_ == "type" ? part_type_ : part_text_) = std::move(*text);
  }
}

void ChatMessagesReader::take_message_value(JsonScalar value) {
  if (key_ == "role") return take_role(value);
  if (key_ != "content" || std::holds_alternative<std::nullptr_t>(value)) return;
  if (!std::holds_alternative<std::string>(value)) return note("content: a string or an array of text parts");
  messages_.back().text = std::get<std::string>(std::move(value));
  has_content_ = true;
}

void ChatMessagesReader::take_role(const JsonScalar& value) {
  const auto* const name = std::get_if<std::string>(&value);
  const auto* const known =
      std::ranges::find_if(kRoles, [&](const auto& role) { return name != nullptr && role.first == *name; });
  if (known == std::end(kRoles)) {
    return note("role: one of system, developer, user, assistant, tool");
  }
  messages_.back().role = known->second;
  has_role_ = true;
}

// Several parts are lines of one text.
void ChatMessagesReader::end_part() {
  if (!part_type_) return note("type: a string such as \"text\", found none");
  if (*part_type_ != "text") {
    refuse(fmt::format("a part of type {} is not supported; this model reads text alone",
                       is_word(*part_type_) ? *part_type_ : "unknown"));
  } else if (!part_text_) {
    note("text: a string, found none");
  } else {
    std::string& text = messages_.back().text;
    if (num_parts_ > 0) text += "\n";
    text += *part_text_;
  }
  ++num_parts_;
}

// An assistant that only called tools said nothing.
void ChatMessagesReader::end_message() {
  if (!has_role_) return note("role: one of system, developer, user, assistant, tool, found none");
  if (!has_content_ && messages_.back().role != ChatRole::kAssistant) {
    note("content: a string or an array of text parts, found none");
  }
}

}  // namespace ttt::server
