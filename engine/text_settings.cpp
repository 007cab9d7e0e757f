// SPDX-License-Identifier: Apache-2.0
#include "engine/text_settings.h"

#include <optional>
#include <string_view>
#include <utility>
#include <variant>

#include "weights/checkpoint_error.h"
#include "weights/strict_json.h"

namespace ttt {
namespace {

constexpr std::string_view kAddBosKey = "tokenizer.ggml.add_bos_token";
constexpr std::string_view kChatTemplateKey = "tokenizer.chat_template";

// Takes two fields of a tokenizer_config.json and passes over the rest. A model with several chat templates
// lists them, {"name", "template"} each: "default" is the one for conversations.
class TokenizerConfigReader final : public weights::JsonListener {
 public:
  explicit TokenizerConfigReader(std::string_view file) : file_(file) {}

  void begin_object() override {
    if (depth_++ == kInList) name_ = text_ = {};
  }
  void begin_array() override {
    if (depth_++ == 0) refuse("", "a JSON object", "a list");
  }
  void end() override {
    if (--depth_ == kInList && field_ == kListed && name_ == "default") settings_.chat_template = text_;
  }
  void key(std::string name) override {
    if (depth_ == kTopLevel) field_ = std::move(name);
    if (depth_ == kInEntry) entry_field_ = std::move(name);
  }
  void scalar(weights::JsonScalar value) override {
    if (depth_ == 0) refuse("", "a JSON object", "a value");
    if (depth_ == kTopLevel && field_ == "add_bos_token") take_adds_bos(value);
    if (field_ != kListed) return;
    auto* const text = std::get_if<std::string>(&value);
    const bool is_null = std::holds_alternative<std::nullptr_t>(value);
    if (depth_ == kTopLevel && text == nullptr && !is_null)
      refuse(kListed, "a text or a list", "another value");
    if (text == nullptr) return;
    if (depth_ == kTopLevel) settings_.chat_template = std::move(*text);
    if (depth_ == kInEntry && entry_field_ == "name") name_ = std::move(*text);
    if (depth_ == kInEntry && entry_field_ == "template") text_ = std::move(*text);
  }

  TextSettings take() { return std::move(settings_); }

 private:
  static constexpr int kTopLevel = 1, kInList = 2, kInEntry = 3;
  static constexpr std::string_view kListed = "chat_template";

  void take_adds_bos(const weights::JsonScalar& value) {
    if (std::holds_alternative<std::nullptr_t>(value)) return;
    const bool* const says = std::get_if<bool>(&value);
    if (says == nullptr) refuse("add_bos_token", "true or false", "another value");
    settings_.adds_bos = *says;
  }

  [[noreturn]] void refuse(std::string_view key, std::string_view wanted, std::string_view found) const {
    weights::refuse(
        {.file = file_,
         .where = key,
         .wanted = wanted,
         .found = found,
         .remedy = "The file is damaged or of another kind: download it again, or take it away."});
  }

  std::string_view file_;
  int depth_ = 0;
  std::string field_, entry_field_, name_, text_;
  TextSettings settings_;
};

template <typename T>
const T* find_as(const weights::GgufMetadata& metadata, std::string_view key) {
  const weights::GgufValue* const value = weights::find(metadata, key);
  return value == nullptr ? nullptr : std::get_if<T>(value);
}

}  // namespace

TextSettings text_settings(const weights::Checkpoint& checkpoint) {
  if (checkpoint.format() == weights::CheckpointFormat::kHuggingFace) {
    return text_settings(checkpoint.tokenizer_files());
  }
  TextSettings settings;
  if (const bool* says = find_as<bool>(checkpoint.metadata(), kAddBosKey)) settings.adds_bos = *says;
  if (const auto* text = find_as<std::string>(checkpoint.metadata(), kChatTemplateKey)) {
    settings.chat_template = *text;
  }
  return settings;
}

TextSettings text_settings(const weights::TokenizerFiles& files) {
  TextSettings settings;
  if (!files.config.bytes.empty()) {
    TokenizerConfigReader reader(files.config.path);
    weights::parse_strict_json(files.config.bytes, files.config.path, reader);
    settings = reader.take();
  }
  if (!files.chat_template.bytes.empty()) settings.chat_template = files.chat_template.bytes;
  return settings;
}

void append_text_settings(const TextSettings& settings, weights::GgufMetadata& metadata) {
  const auto add = [&](std::string_view key, weights::GgufValue value) {
    if (weights::find(metadata, key) == nullptr) metadata.emplace_back(std::string(key), std::move(value));
  };
  if (!settings.adds_bos) add(kAddBosKey, false);
  if (!settings.chat_template.empty()) add(kChatTemplateKey, settings.chat_template);
}

}  // namespace ttt
