// SPDX-License-Identifier: Apache-2.0
// The field `messages` of a request for a chat completion, from the events of a JSON reader.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tokenizer/chat_template.h"
#include "weights/strict_json.h"

namespace ttt::server {

// Told everything from the beginning of the array to its end. Of several faults the first is kept.
class ChatMessagesReader {
 public:
  void begin_object();
  void begin_array();
  void end();
  void key(std::string name);
  void scalar(weights::JsonScalar value);

  bool is_open() const { return depth_ > 0; }
  std::vector<tokenizer::ChatMessage> take() { return std::move(messages_); }
  const std::optional<std::string>& fault() const { return fault_; }
  // Something that is no mistake, but not done here: images, calls of tools.
  const std::optional<std::string>& unsupported() const { return unsupported_; }

 private:
  std::string place() const;
  void note(const std::string& wanted);
  void refuse(const std::string& sentence);
  void take_message_value(weights::JsonScalar value);
  void take_role(const weights::JsonScalar& value);
  void end_part();
  void end_message();

  int depth_ = 0;  // 1: among messages, 2: in one, 3: among its parts, 4: in one
  std::string key_, part_key_;
  bool has_role_ = false, has_content_ = false;
  std::size_t num_parts_ = 0;
  std::optional<std::string> part_type_, part_text_;
  std::vector<tokenizer::ChatMessage> messages_;
  std::optional<std::string> fault_, unsupported_;
};

}  // namespace ttt::server
