// SPDX-License-Identifier: Apache-2.0
#include "server/tokenizer_request.h"

#include <fmt/format.h>

#include <cstdint>
#include <optional>
#include <utility>
#include <variant>

#include "server/api_error.h"
#include "weights/checkpoint_error.h"
#include "weights/strict_json.h"

namespace ttt::server {
namespace {

using weights::JsonScalar;

ApiError wrong_type(const std::string& field, const char* wanted) {
  return ApiError(400, "invalid_type", fmt::format("{}: wanted {}", field, wanted), field);
}

// The fields of one flat object; what they are is told to the functions below.
class FlatListener : public weights::JsonListener {
 public:
  void begin_object() override { open(/*is_list=*/false); }
  void begin_array() override { open(/*is_list=*/true); }
  void end() override { --depth_; }
  void key(std::string name) override {
    if (depth_ == 1) field_ = std::move(name);
  }
  void scalar(JsonScalar value) override {
    if (depth_ == 0) throw ApiError(400, "invalid_json", "wanted a JSON object");
    if (depth_ == 1 && !std::holds_alternative<std::nullptr_t>(value)) take(field_, std::move(value));
    if (depth_ == 2) take_element(field_, value);
  }

 protected:
  virtual void take(const std::string& field, JsonScalar value) = 0;
  virtual void take_element(const std::string& /*field*/, const JsonScalar& /*value*/) {}
  // An array or an object begins in the field; throws where that is not wanted. `is_list`: it is an array,
  // and the field's own value.
  virtual void enter(const std::string& field, bool is_list) = 0;

 private:
  void open(bool is_list) {
    if (depth_ == 0 && is_list) throw ApiError(400, "invalid_json", "wanted a JSON object");
    if (depth_ > 0) enter(field_, is_list && depth_ == 1);
    ++depth_;
  }
  int depth_ = 0;
  std::string field_;
};

class TokenizeListener : public FlatListener {
 public:
  TokenizeRequest request;
  bool has_text = false;

 private:
  void take(const std::string& field, JsonScalar value) override {
    if (field == "prompt" || field == "content") {
      if (!std::holds_alternative<std::string>(value)) throw wrong_type(field, "a string");
      request.text = std::get<std::string>(std::move(value));
      has_text = true;
    } else if (field == "add_special_tokens" || field == "add_special") {
      request.add_special_tokens = flag(field, value);
    } else if (field == "return_token_strs" || field == "with_pieces") {
      request.with_texts = flag(field, value);
    }
  }
  void enter(const std::string& field, bool /*is_list*/) override {
    if (field == "prompt" || field == "content") throw wrong_type(field, "a string");
    const bool is_flag = field == "add_special_tokens" || field == "add_special" ||
                         field == "return_token_strs" || field == "with_pieces";
    if (is_flag) throw wrong_type(field, "true or false");
  }
  static bool flag(const std::string& field, const JsonScalar& value) {
    if (!std::holds_alternative<bool>(value)) throw wrong_type(field, "true or false");
    return std::get<bool>(value);
  }
};

class DetokenizeListener : public FlatListener {
 public:
  explicit DetokenizeListener(std::size_t vocab_size) : vocab_size_(vocab_size) {}
  std::vector<tokenizer::TokenId> ids;
  bool has_ids = false;

 private:
  void enter(const std::string& field, bool is_list) override {
    if (field != "tokens") return;
    if (!is_list) throw wrong_type(field, "an array of token ids");
    has_ids = true;
  }
  void take(const std::string& field, JsonScalar /*value*/) override {
    if (field == "tokens") throw wrong_type(field, "an array of token ids");
  }
  void take_element(const std::string& field, const JsonScalar& value) override {
    if (field != "tokens") return;
    const auto* id = std::get_if<std::uint64_t>(&value);
    if (id == nullptr || *id >= vocab_size_) {
      throw ApiError(400, "invalid_value",
                     fmt::format("tokens[{}]: wanted a token id from 0 to {}", ids.size(), vocab_size_ - 1),
                     "tokens");
    }
    ids.push_back(static_cast<tokenizer::TokenId>(*id));
  }
  std::size_t vocab_size_;
};

void read(std::string_view body, weights::JsonListener& listener) {
  try {
    weights::parse_strict_json(body, "the body", listener, {.max_string_bytes = body.size(), .remedy = {}});
  } catch (const weights::CheckpointError& error) {
    throw ApiError(400, "invalid_json", json_fault(error));
  }
}

}  // namespace

TokenizeRequest parse_tokenize(std::string_view body) {
  TokenizeListener listener;
  read(body, listener);
  if (!listener.has_text) {
    throw ApiError(400, "missing_required_parameter", "prompt: missing; give a string", "prompt");
  }
  return std::move(listener.request);
}

std::vector<tokenizer::TokenId> parse_detokenize(std::string_view body, std::size_t vocab_size) {
  DetokenizeListener listener(vocab_size);
  read(body, listener);
  if (!listener.has_ids) {
    throw ApiError(400, "missing_required_parameter", "tokens: missing; give an array of token ids",
                   "tokens");
  }
  return std::move(listener.ids);
}

}  // namespace ttt::server
