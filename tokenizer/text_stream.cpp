// SPDX-License-Identifier: Apache-2.0
#include "tokenizer/text_stream.h"

#include <utility>

namespace ttt::tokenizer {

TextStream::StopString::StopString(std::string stop) : text(std::move(stop)), fallback(text.size(), 0) {
  for (std::size_t i = 1; i < text.size(); ++i) {
    std::size_t length = fallback[i - 1];
    while (length > 0 && text[length] != text[i]) length = fallback[length - 1];
    fallback[i] = text[length] == text[i] ? length + 1 : 0;
  }
}

void TextStream::StopString::advance(char c) {
  while (matched > 0 && text[matched] != c) matched = fallback[matched - 1];
  if (text[matched] == c) ++matched;
}

TextStream::TextStream(const Tokenizer& tokenizer, std::span<const TokenId> prompt,
                       std::vector<std::string> stop_strings)
    : decoder_(tokenizer) {
  std::string text;
  for (const TokenId id : prompt) {
    decoder_.push(id, text);
    text.clear();
  }
  for (std::string& stop : stop_strings) stop_strings_.emplace_back(std::move(stop));
}

std::string TextStream::push(TokenId id) {
  if (stopped_by_) return {};
  std::string text;
  decoder_.push(id, text);
  return take_certain(text);
}

std::string TextStream::finish() {
  if (stopped_by_) return {};
  std::string text;
  decoder_.finish(text);
  std::string out = take_certain(text);
  if (stopped_by_) return out;
  out += held();
  for (StopString& stop : stop_strings_) stop.matched = 0;
  return out;
}

std::string TextStream::take_certain(std::string_view text) {
  // What was held is a part of a stop string, so only what is given out is ever copied.
  const std::string_view held_before = held();
  const auto front = [&](std::size_t size) {
    std::string out(held_before.substr(0, size));
    if (size > held_before.size()) out += text.substr(0, size - held_before.size());
    return out;
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    for (std::size_t s = 0; s < stop_strings_.size(); ++s) {
      StopString& stop = stop_strings_[s];
      if (stop.text.empty()) continue;
      stop.advance(text[i]);
      const bool longest = !stopped_by_ || stop.text.size() > stop_strings_[*stopped_by_].text.size();
      if (stop.matched == stop.text.size() && longest) stopped_by_ = s;
    }
    if (stopped_by_) return front(held_before.size() + i + 1 - stop_strings_[*stopped_by_].text.size());
  }
  return front(held_before.size() + text.size() - held().size());
}

std::string_view TextStream::held() const {
  std::string_view longest;
  for (const StopString& stop : stop_strings_) {
    if (stop.matched > longest.size()) longest = std::string_view(stop.text).substr(0, stop.matched);
  }
  return longest;
}

std::string certain_text(const Tokenizer& tokenizer, std::span<const TokenId> ids) {
  std::string text;
  TextDecoder decoder(tokenizer);
  for (const TokenId id : ids) {
    if (id < tokenizer.vocab_size()) decoder.push(id, text);
  }
  return text;
}

}  // namespace ttt::tokenizer
