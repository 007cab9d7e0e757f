// SPDX-License-Identifier: Apache-2.0
#include "tokenizer/chat_template.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

namespace ttt::tokenizer {
namespace {

constexpr std::string_view kImStart = "<|im_start|>";
constexpr std::string_view kImEnd = "<|im_end|>";

constexpr std::pair<std::string_view, ChatTemplate> kNames[] = {
    {"plain", ChatTemplate::kPlain}, {"chatml", ChatTemplate::kChatMl}, {"llama2", ChatTemplate::kLlama2}};

// The two spellings of ChatML that models carry most.
constexpr std::pair<std::string_view, ChatTemplate> kPrograms[] = {
    {R"({% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + )"
     R"('<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }})"
     R"({% endif %})",
     ChatTemplate::kChatMl},
    {"{%- for message in messages %}\n"
     R"(    {{- '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }})"
     "\n{%- endfor %}\n{%- if add_generation_prompt %}\n"
     R"(    {{- '<|im_start|>assistant\n' }})"
     "\n{%- endif %}",
     ChatTemplate::kChatMl}};

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlank) - begin + 1);
}

std::string_view name_of(ChatRole role) {
  switch (role) {
    case ChatRole::kSystem:
      return "system";
    case ChatRole::kUser:
      return "user";
    case ChatRole::kAssistant:
      return "assistant";
    case ChatRole::kTool:
      return "tool";
  }
  return "";
}

// Collects a stretch of text and makes ids of it where a special piece follows.
class Writer {
 public:
  explicit Writer(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  // The next stretch stands at the beginning of a text, where the model may want a space first.
  void begin_text(std::optional<TokenId> bos) {
    flush();
    if (bos) ids_.push_back(*bos);
    at_text_begin_ = true;
  }
  void end_text(std::optional<TokenId> eos) {
    flush();
    if (eos) ids_.push_back(*eos);
  }
  void add(std::string_view text) { stretch_ += text; }
  // A piece of its own where the model has it, else ordinary text.
  void add_marker(std::string_view marker) {
    const auto id = special_id(marker);
    if (!id) return add(marker);
    flush();
    ids_.push_back(*id);
    at_text_begin_ = false;
  }
  std::optional<TokenId> special_id(std::string_view marker) const {
    const auto id = tokenizer_.find_piece(marker);
    if (!id) return std::nullopt;
    const PieceKind kind = tokenizer_.piece(*id).kind;
    const bool is_special = kind == PieceKind::kControl || kind == PieceKind::kUserDefined;
    return is_special ? id : std::nullopt;
  }
  std::vector<TokenId> take() {
    flush();
    return std::move(ids_);
  }

 private:
  void flush() {
    if (stretch_.empty()) return;
    for (const TokenId id :
         at_text_begin_ ? tokenizer_.encode(stretch_) : tokenizer_.encode_continuation(stretch_)) {
      append(id);
    }
    stretch_.clear();
    at_text_begin_ = false;
  }
  // SentencePiece reads a user-defined piece in any text, and what a rule turns into one. In a message it is
  // not the template's: its first character and the rest are two stretches.
  void append(TokenId id) {
    const std::string& text = tokenizer_.piece(id).text;
    if (text != kImStart && text != kImEnd) return ids_.push_back(id);
    for (const std::string& part : {text.substr(0, 1), text.substr(1)}) {
      const std::vector<TokenId> ids = tokenizer_.encode_continuation(part);
      ids_.insert(ids_.end(), ids.begin(), ids.end());
    }
  }

  const Tokenizer& tokenizer_;
  std::string stretch_;
  bool at_text_begin_ = true;
  std::vector<TokenId> ids_;
};

void write_plain(Writer& writer, std::span<const ChatMessage> messages, std::optional<TokenId> bos) {
  writer.begin_text(bos);
  for (const ChatMessage& message : messages) {
    const std::string_view text = trimmed(message.text);
    if (message.role == ChatRole::kSystem) {
      writer.add(text);
      writer.add("\n\n");
      continue;
    }
    writer.add(message.role == ChatRole::kUser        ? "User: "
               : message.role == ChatRole::kAssistant ? "Assistant: "
                                                      : "Tool: ");
    writer.add(text);
    writer.add("\n");
  }
  writer.add("Assistant:");
}

void write_chatml(Writer& writer, std::span<const ChatMessage> messages, std::optional<TokenId> bos) {
  writer.begin_text(bos);
  for (const ChatMessage& message : messages) {
    writer.add_marker(kImStart);
    writer.add(name_of(message.role));
    writer.add("\n");
    writer.add(message.text);
    writer.add_marker(kImEnd);
    writer.add("\n");
  }
  writer.add_marker(kImStart);
  writer.add("assistant\n");
}

// Each exchange is a text of its own, as Llama 2's own program reads them.
void write_llama2(Writer& writer, std::span<const ChatMessage> messages, std::optional<TokenId> bos,
                  std::optional<TokenId> eos) {
  std::string system;
  std::size_t first = 0;
  if (!messages.empty() && messages[0].role == ChatRole::kSystem) {
    system = fmt::format("<<SYS>>\n{}\n<</SYS>>\n\n", trimmed(messages[0].text));
    first = 1;
  }
  for (std::size_t i = first; i < messages.size(); ++i) {
    const ChatRole wanted = (i - first) % 2 == 0 ? ChatRole::kUser : ChatRole::kAssistant;
    if (messages[i].role != wanted) {
      throw TokenizerError(
          fmt::format("messages[{}]: wanted the role {}, found {}: in the template llama2 "
                      "user and assistant alternate",
                      i, name_of(wanted), name_of(messages[i].role)));
    }
    const std::string_view text = trimmed(messages[i].text);
    if (wanted == ChatRole::kUser) {
      writer.begin_text(bos);
      writer.add("[INST] ");
      writer.add(std::exchange(system, {}));
      writer.add(text);
      writer.add(" [/INST]");
    } else {
      writer.add(" ");
      writer.add(text);
      writer.add(" ");
      writer.end_text(eos);
    }
  }
  if ((messages.size() - first) % 2 == 0) {
    throw TokenizerError("messages: wanted a message of the user at the end, found none");
  }
}

}  // namespace

std::optional<ChatTemplate> find_chat_template(std::string_view name_or_jinja) {
  const std::string_view text = trimmed(name_or_jinja);
  const auto is_text = [&](const auto& known) { return known.first == text; };
  if (const auto* name = std::ranges::find_if(kNames, is_text); name != std::end(kNames)) return name->second;
  const auto* program = std::ranges::find_if(kPrograms, is_text);
  return program == std::end(kPrograms) ? std::nullopt : std::optional(program->second);
}

std::vector<std::string_view> chat_template_names() {
  std::vector<std::string_view> names;
  for (const auto& [name, chat_template] : kNames) names.push_back(name);
  return names;
}

ChatPrompt encode_chat(const Tokenizer& tokenizer, ChatTemplate chat_template,
                       std::span<const ChatMessage> messages, std::optional<TokenId> bos,
                       std::optional<TokenId> eos) {
  Writer writer(tokenizer);
  ChatPrompt prompt;
  switch (chat_template) {
    case ChatTemplate::kPlain:
      write_plain(writer, messages, bos);
      prompt.stop_strings.emplace_back("\nUser:");
      break;
    case ChatTemplate::kChatMl:
      write_chatml(writer, messages, bos);
      if (const auto id = writer.special_id(kImEnd)) {
        prompt.stop_ids.push_back(*id);
      } else {
        prompt.stop_strings.emplace_back(kImEnd);
      }
      break;
    case ChatTemplate::kLlama2:
      write_llama2(writer, messages, bos, eos);
      break;
  }
  prompt.ids = writer.take();
  return prompt;
}

}  // namespace ttt::tokenizer
