// SPDX-License-Identifier: Apache-2.0
#include "engine/tokenizer_metadata.h"

#include <fmt/format.h>

#include <string>
#include <utility>
#include <vector>

#include "tokenizer/piece_list.h"
#include "tokenizer/tokenizer_json.h"
#include "weights/checkpoint_error.h"
#include "weights/strict_json.h"

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
void check_lists(const weights::GgufMetadata& metadata, const std::string& file, const Tokenizer& tokenizer) {
  const auto refuse = [&](std::string_view key, std::string_view wanted, std::string_view found) {
    weights::refuse({.file = file, .where = key, .wanted = wanted, .found = found, .remedy = kRemedy});
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

// Of the tensor that our files have; empty without one.
std::string_view model_bytes(const weights::TensorView* tensor, const std::string& file) {
  if (tensor == nullptr) return {};
  if (tensor->dtype != weights::DType::kI8 || tensor->shape.size() != 1) {
    weights::refuse({.file = file,
                     .where = kTokenizerTensor,
                     .wanted = "a list of I8",
                     .found = fmt::format("{} {}", weights::dtype_info(tensor->dtype).name,
                                          weights::to_string(tensor->shape)),
                     .remedy = kRemedy});
  }
  return {reinterpret_cast<const char*>(tensor->bytes.data()), tensor->bytes.size()};
}

std::string translated(std::string_view json, const std::string& file) {
  tokenizer::TokenizerJson text(file);
  weights::ForwardingListener listener(text);
  weights::parse_strict_json(json, file, listener);
  return text.sentencepiece_model();
}

std::optional<tokenizer::TokenId> find_id(const weights::GgufMetadata& metadata, std::string_view key) {
  const weights::GgufValue* value = weights::find(metadata, key);
  const auto* id = value == nullptr ? nullptr : std::get_if<std::uint32_t>(value);
  return id == nullptr || !std::in_range<tokenizer::TokenId>(*id)
             ? std::nullopt
             : std::optional(static_cast<tokenizer::TokenId>(*id));
}

// What the lists of a file without a SentencePiece model say.
std::string model_of_lists(const weights::GgufFile& file) {
  const weights::GgufMetadata& metadata = file.metadata();
  const auto refuse = [&](std::string_view key, std::string_view wanted, std::string_view found) {
    weights::refuse({.file = file.path(),
                     .where = key,
                     .wanted = wanted,
                     .found = found,
                     .remedy = "Name a tokenizer.model, a tokenizer.json, or a GGUF file of a model with "
                               "Llama's tokenizer."});
  };
  const weights::GgufValue* kind = weights::find(metadata, "tokenizer.ggml.model");
  const auto* name = kind == nullptr ? nullptr : std::get_if<std::string>(kind);
  if (name == nullptr || *name != "llama") {
    refuse("tokenizer.ggml.model", "\"llama\"", name == nullptr ? "nothing" : *name);
  }
  const auto* tokens = find_list<std::string>(metadata, "tokenizer.ggml.tokens");
  const auto* scores = find_list<float>(metadata, "tokenizer.ggml.scores");
  const auto* kinds = find_list<std::int32_t>(metadata, "tokenizer.ggml.token_type");
  if (tokens == nullptr || scores == nullptr || kinds == nullptr || scores->size() != tokens->size() ||
      kinds->size() != tokens->size()) {
    refuse("tokenizer.ggml.tokens", "lists of tokens, scores and types, of one length", "others, or none");
  }
  tokenizer::PieceList list{.pieces = {},
                            .bos_id = find_id(metadata, "tokenizer.ggml.bos_token_id"),
                            .eos_id = find_id(metadata, "tokenizer.ggml.eos_token_id")};
  for (std::size_t id = 0; id < tokens->size(); ++id) {
    constexpr auto kLast = static_cast<std::int32_t>(tokenizer::PieceKind::kByte);
    if ((*kinds)[id] < 1 || (*kinds)[id] > kLast) {
      refuse(fmt::format("tokenizer.ggml.token_type[{}]", id), fmt::format("1 to {}", kLast),
             fmt::format("{}", (*kinds)[id]));
    }
    list.pieces.push_back({.text = (*tokens)[id],
                           .score = (*scores)[id],
                           .kind = static_cast<tokenizer::PieceKind>((*kinds)[id])});
  }
  const weights::GgufValue* prefix = weights::find(metadata, "tokenizer.ggml.add_space_prefix");
  const bool* adds = prefix == nullptr ? nullptr : std::get_if<bool>(prefix);
  if (adds != nullptr) list.add_space_prefix = *adds;
  return tokenizer::sentencepiece_model(list, file.path());
}

}  // namespace

std::optional<Tokenizer> load_tokenizer(const Checkpoint& checkpoint, std::size_t vocab_size) {
  if (checkpoint.format() == CheckpointFormat::kHuggingFace) {
    const weights::TokenizerFile& file = checkpoint.tokenizer_files().tokenizer;
    if (file.bytes.empty()) return std::nullopt;
    return make_tokenizer(file.bytes, file.path, vocab_size);
  }
  const std::string_view bytes = model_bytes(checkpoint.find_tensor(kTokenizerTensor), checkpoint.path());
  if (bytes.empty()) return std::nullopt;
  Tokenizer tokenizer = make_tokenizer(bytes, checkpoint.path(), vocab_size);
  check_lists(checkpoint.metadata(), checkpoint.path(), tokenizer);
  return tokenizer;
}

Tokenizer take_tokenizer(const weights::GgufFile& file, std::size_t vocab_size) {
  std::string bytes(model_bytes(file.find_tensor(kTokenizerTensor), file.path()));
  if (bytes.empty()) bytes = model_of_lists(file);
  Tokenizer tokenizer = make_tokenizer(bytes, file.path(), vocab_size);
  check_lists(file.metadata(), file.path(), tokenizer);
  return tokenizer;
}

Tokenizer make_tokenizer(std::string_view bytes, const std::string& file, std::size_t vocab_size) {
  const bool is_json = bytes.starts_with('{');  // no SentencePiece model does
  Tokenizer tokenizer = Tokenizer::from_model(is_json ? translated(bytes, file) : std::string(bytes), file);
  if (std::cmp_greater(tokenizer.vocab_size(), vocab_size)) {
    weights::refuse({.file = file,
                     .where = "tokenizer",
                     .wanted = fmt::format("at most {} pieces, the model's vocabulary", vocab_size),
                     .found = fmt::format("{}", tokenizer.vocab_size()),
                     .remedy = "The tokenizer belongs to another model."});
  }
  return tokenizer;
}

std::vector<std::string> tokenizer_warnings(const Tokenizer& tokenizer, std::size_t vocab_size) {
  constexpr std::size_t kPadding = 128;
  const auto pieces = static_cast<std::size_t>(tokenizer.vocab_size());
  if (vocab_size < pieces + kPadding) return {};
  return {fmt::format(
      "the tokenizer has {} pieces and the model {} ids, so {} of them stand for no text: it is probably "
      "another model's. `ttt convert --tokenizer FILE` puts the right one in.",
      pieces, vocab_size, vocab_size - pieces)};
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
