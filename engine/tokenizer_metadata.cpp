// SPDX-License-Identifier: Apache-2.0
#include "engine/tokenizer_metadata.h"

#include <fmt/format.h>

#include <string>
#include <utility>
#include <vector>

#include "weights/checkpoint_error.h"

namespace ttt {
namespace {

using tokenizer::Tokenizer;
using weights::Checkpoint;
using weights::CheckpointFormat;

constexpr std::string_view kRemedy = "Convert the original checkpoint again.";

template <typename T>
const std::vector<T>* find_list(const weights::GgufMetadata& metadata, std::string_view key) {
  const weights::GgufValue* value = weights::find(metadata, key);
  const auto* array = value == nullptr ? nullptr : std::get_if<weights::GgufArray>(value);
  return array == nullptr ? nullptr : std::get_if<std::vector<T>>(array);
}

// Other readers use GGUF's lists, we use the SentencePiece model: both must mean the same tokens.
void check_lists(const Checkpoint& checkpoint, const Tokenizer& tokenizer) {
  const auto& metadata = checkpoint.metadata();
  const auto refuse = [&](std::string_view key, std::string_view wanted, std::string_view found) {
    weights::refuse(
        {.file = checkpoint.path(), .where = key, .wanted = wanted, .found = found, .remedy = kRemedy});
  };
  const auto size = static_cast<std::size_t>(tokenizer.vocab_size());
  const auto check_size = [&](std::string_view key, const auto* list) {
    if (list == nullptr) refuse(key, "a list of the tokenizer's pieces", "nothing, or another type");
    if (list->size() != size) refuse(key, fmt::format("{} entries", size), fmt::format("{}", list->size()));
  };
  const auto* tokens = find_list<std::string>(metadata, "tokenizer.ggml.tokens");
  const auto* scores = find_list<float>(metadata, "tokenizer.ggml.scores");
  const auto* kinds = find_list<std::int32_t>(metadata, "tokenizer.ggml.token_type");
  check_size("tokenizer.ggml.tokens", tokens);
  check_size("tokenizer.ggml.scores", scores);
  check_size("tokenizer.ggml.token_type", kinds);
  for (std::size_t id = 0; id < size; ++id) {
    const tokenizer::Piece& piece = tokenizer.piece(static_cast<tokenizer::TokenId>(id));
    if ((*tokens)[id] == piece.text && (*scores)[id] == piece.score &&
        (*kinds)[id] == static_cast<std::int32_t>(piece.kind)) {
      continue;
    }
    refuse(fmt::format("tokenizer.ggml.tokens[{}]", id),
           fmt::format("\"{}\" as in {}", piece.text, kTokenizerTensor),
           fmt::format("\"{}\", or another score or type", (*tokens)[id]));
  }
}

std::string_view model_bytes(const Checkpoint& checkpoint) {
  if (checkpoint.format() == CheckpointFormat::kHuggingFace) return checkpoint.tokenizer_model();
  const weights::TensorView* tensor = checkpoint.find_tensor(kTokenizerTensor);
  if (tensor == nullptr) return {};
  if (tensor->dtype != weights::DType::kI8 || tensor->shape.size() != 1) {
    weights::refuse({.file = checkpoint.path(),
                     .where = kTokenizerTensor,
                     .wanted = "a list of I8",
                     .found = fmt::format("{} {}", weights::dtype_info(tensor->dtype).name,
                                          weights::to_string(tensor->shape)),
                     .remedy = kRemedy});
  }
  return {reinterpret_cast<const char*>(tensor->bytes.data()), tensor->bytes.size()};
}

}  // namespace

std::optional<Tokenizer> load_tokenizer(const Checkpoint& checkpoint, std::size_t vocab_size) {
  const std::string_view bytes = model_bytes(checkpoint);
  if (bytes.empty()) return std::nullopt;
  Tokenizer tokenizer = make_tokenizer(bytes, checkpoint.path(), vocab_size);
  if (checkpoint.format() == CheckpointFormat::kGguf) check_lists(checkpoint, tokenizer);
  return tokenizer;
}

Tokenizer make_tokenizer(std::string_view model, const std::string& file, std::size_t vocab_size) {
  Tokenizer tokenizer = Tokenizer::from_model(model, file);
  if (std::cmp_greater(tokenizer.vocab_size(), vocab_size)) {
    weights::refuse({.file = file,
                     .where = "tokenizer",
                     .wanted = fmt::format("at most {} pieces, the model's vocabulary", vocab_size),
                     .found = fmt::format("{}", tokenizer.vocab_size()),
                     .remedy = "The tokenizer belongs to another model."});
  }
  return tokenizer;
}

bool adds_bos(const Checkpoint& checkpoint) {
  const weights::GgufValue* value = weights::find(checkpoint.metadata(), "tokenizer.ggml.add_bos_token");
  const bool* says = value == nullptr ? nullptr : std::get_if<bool>(value);
  return says == nullptr || *says;
}

void append_tokenizer(const Tokenizer& tokenizer, weights::GgufMetadata& metadata) {
  std::vector<std::string> tokens;
  std::vector<float> scores;
  std::vector<std::int32_t> kinds;
  for (tokenizer::TokenId id = 0; id < tokenizer.vocab_size(); ++id) {
    const tokenizer::Piece& piece = tokenizer.piece(id);
    tokens.push_back(piece.text);
    scores.push_back(piece.score);
    kinds.push_back(static_cast<std::int32_t>(piece.kind));
  }
  const auto add = [&](std::string_view key, weights::GgufValue value) {
    if (weights::find(metadata, key) == nullptr) metadata.emplace_back(std::string(key), std::move(value));
  };
  add("tokenizer.ggml.model", std::string("llama"));
  add("tokenizer.ggml.tokens", weights::GgufArray(std::move(tokens)));
  add("tokenizer.ggml.scores", weights::GgufArray(std::move(scores)));
  add("tokenizer.ggml.token_type", weights::GgufArray(std::move(kinds)));
  // The configuration's ids come first where it names them.
  if (const auto id = tokenizer.bos_id()) add("tokenizer.ggml.bos_token_id", static_cast<std::uint32_t>(*id));
  if (const auto id = tokenizer.eos_id()) add("tokenizer.ggml.eos_token_id", static_cast<std::uint32_t>(*id));
  add("tokenizer.ggml.unknown_token_id", static_cast<std::uint32_t>(tokenizer.unknown_id()));
  add("tokenizer.ggml.add_bos_token", true);
  add("tokenizer.ggml.add_space_prefix", tokenizer.add_space_prefix());
}

}  // namespace ttt
