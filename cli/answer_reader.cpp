// SPDX-License-Identifier: Apache-2.0
#include "cli/answer_reader.h"

#include <fmt/format.h>

#include <utility>
#include <variant>

#include "cli/json_scalars.h"
#include "cli/readable.h"
#include "weights/checkpoint_error.h"
#include "weights/strict_json.h"

namespace ttt::cli {
namespace {

using weights::JsonScalar;

// False: it is no JSON.
template <typename Take>
bool for_each_scalar(std::string_view json, Take take) {
  ScalarListener<Take> scalars(std::move(take));
  try {
    weights::parse_strict_json(json, "answer", scalars);
    return true;
  } catch (const weights::CheckpointError&) {
    return false;
  }
}

const std::string* text_in(const JsonScalar& value) { return std::get_if<std::string>(&value); }
bool is_null(const JsonScalar& value) { return std::holds_alternative<std::nullptr_t>(value); }

std::optional<std::size_t> count_in(const JsonScalar& value) {
  const auto* const count = std::get_if<std::uint64_t>(&value);
  return count == nullptr ? std::nullopt : std::optional<std::size_t>(*count);
}

std::string shortened(std::string_view text) {
  constexpr std::size_t kLength = 300;
  std::string line = escaped(text.substr(0, kLength));
  if (text.size() > kLength) line += "...";
  return line.empty() ? "an empty answer" : line;
}

}  // namespace

AnswerChunk read_chunk(std::string_view json) {
  AnswerChunk chunk;
  const bool sound = for_each_scalar(json, [&](std::string_view path, const JsonScalar& value) {
    if (path.starts_with("choices.")) {
      chunk.num_choices = 1;
      const std::string* const text = text_in(value);
      if (path.ends_with(".text") || path.ends_with(".delta.content")) {
        chunk.has_text = chunk.has_text || (text != nullptr && !text->empty());
      }
      if (path.ends_with(".finish_reason") && !is_null(value)) chunk.has_finish = true;
    } else if (path == "usage.prompt_tokens") {
      chunk.prompt_tokens = count_in(value);
    } else if (path == "usage.completion_tokens") {
      chunk.output_tokens = count_in(value);
    } else if (path == "error.message" || path == "error") {
      if (const std::string* const text = text_in(value)) chunk.error = shortened(*text);
    }
  });
  if (!sound) chunk.error = fmt::format("an event that is no JSON: {}", shortened(json));
  return chunk;
}

std::string error_message(std::string_view body) {
  std::string message;
  for_each_scalar(body, [&](std::string_view path, const JsonScalar& value) {
    if (path != "error.message" && path != "message" && path != "error" && path != "detail") return;
    if (const std::string* const text = text_in(value)) message = *text;
  });
  return shortened(message.empty() ? body : message);
}

std::optional<ListedModel> read_first_model(std::string_view json) {
  ListedModel model;
  const bool sound = for_each_scalar(json, [&](std::string_view path, const JsonScalar& value) {
    if (path == "data.0.id") {
      if (const std::string* const text = text_in(value)) model.name = *text;
    }
    if (path == "data.0.meta.vocab" || path == "data.0.meta.n_vocab") {
      if (const auto* const size = std::get_if<std::uint64_t>(&value)) {
        if (*size < (std::uint64_t{1} << 31)) model.vocab_size = static_cast<std::int64_t>(*size);
      }
    }
  });
  if (!sound || model.name.empty()) return std::nullopt;
  return model;
}

}  // namespace ttt::cli
