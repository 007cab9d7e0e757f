// SPDX-License-Identifier: Apache-2.0
// Messages of a conversation -> the ids that a model reads. A short closed list of templates; the Jinja
// programs that models carry are recognised where they are one of these, and never run.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace ttt::tokenizer {

enum class ChatRole : std::uint8_t { kSystem, kUser, kAssistant, kTool };

struct ChatMessage {
  ChatRole role = ChatRole::kUser;
  std::string text = {};
};

enum class ChatTemplate : std::uint8_t {
  kPlain,   // "User: ...\nAssistant: ...", for models that were never taught a conversation
  kChatMl,  // "<|im_start|>user\n...<|im_end|>\n"
  kLlama2,  // "[INST] ... [/INST] ...": the roles alternate, one system message may come first
};

// By its name ("plain", "chatml", "llama2"), or by a known Jinja text. Empty: neither.
std::optional<ChatTemplate> find_chat_template(std::string_view name_or_jinja);
std::vector<std::string_view> chat_template_names();

struct ChatPrompt {
  std::vector<TokenId> ids;  // ends where the assistant's next message begins
  // What ends that message, beside eos.
  std::vector<std::string> stop_strings;
  std::vector<TokenId> stop_ids;
};

// `bos`, `eos`: where the model puts them before a text and behind an answer. The text of a message is text
// alone: control pieces and the template's own pieces, written out in it, are spelt in other ids. Throws
// TokenizerError for messages that the template has no place for, and as Tokenizer::encode does.
ChatPrompt encode_chat(const Tokenizer& tokenizer, ChatTemplate chat_template,
                       std::span<const ChatMessage> messages, std::optional<TokenId> bos,
                       std::optional<TokenId> eos);

}  // namespace ttt::tokenizer
