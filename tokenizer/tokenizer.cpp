// SPDX-License-Identifier: Apache-2.0
#include "tokenizer/tokenizer.h"

#include <fmt/format.h>

#include <unordered_map>
#include <utility>

#include "tokenizer/model_proto.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/piece_matcher.h"
#include "tokenizer/segmenter.h"
#include "tokenizer/text_decoder.h"

namespace ttt::tokenizer {

// The members after `model` point into it.
struct Tokenizer::Impl {
  Impl(std::string_view bytes, std::string_view name)
      : model_bytes(bytes),
        model(parse_model(bytes, name)),
        normalizer(model),
        control_pieces(texts_of(model, PieceKind::kControl)),
        segmenter(model, name) {
    ids.reserve(model.pieces.size());
    for (const Piece& piece : model.pieces) ids.emplace(piece.text, static_cast<TokenId>(ids.size()));
  }

  void append_stretch(std::string_view text, bool at_text_begin, std::vector<TokenId>& out) const {
    segmenter.append_ids(normalizer.normalize(text, at_text_begin), out);
  }

  const std::string model_bytes;
  const SentencePieceModel model;
  const Normalizer normalizer;
  const PieceMatcher control_pieces;
  const Segmenter segmenter;
  std::unordered_map<std::string_view, TokenId> ids;
};

Tokenizer Tokenizer::from_model(std::string_view model, std::string_view name) {
  return Tokenizer(std::make_unique<Impl>(model, name));
}

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

namespace {

void check_size(std::string_view text) {
  if (text.size() <= Tokenizer::kMaxTextBytes) return;
  throw TokenizerError(fmt::format("the text has {} bytes, at most {} are supported; split it", text.size(),
                                   Tokenizer::kMaxTextBytes));
}

}  // namespace

std::vector<TokenId> Tokenizer::encode_continuation(std::string_view text) const {
  check_size(text);
  std::vector<TokenId> out;
  impl_->append_stretch(text, /*at_text_begin=*/false, out);
  return out;
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, SpecialTokens special) const {
  check_size(text);
  std::vector<TokenId> out;
  std::size_t stretch = 0;  // where the current stretch of ordinary text begins
  for (std::size_t i = 0; special == SpecialTokens::kParse && i < text.size();) {
    const std::size_t length = impl_->control_pieces.longest_prefix(text.substr(i));
    if (length == 0) {
      ++i;
      continue;
    }
    impl_->append_stretch(text.substr(stretch, i - stretch), stretch == 0, out);
    out.push_back(impl_->ids.at(text.substr(i, length)));
    i += length;
    stretch = i;
  }
  impl_->append_stretch(text.substr(stretch), stretch == 0, out);
  return out;
}

std::string Tokenizer::decode(std::span<const TokenId> ids) const {
  std::string out;
  TextDecoder decoder(*this);
  for (const TokenId id : ids) decoder.push(id, out);
  decoder.finish(out);
  return out;
}

std::int32_t Tokenizer::vocab_size() const { return static_cast<std::int32_t>(impl_->model.pieces.size()); }

const Piece& Tokenizer::piece(TokenId id) const {
  if (id < 0 || id >= vocab_size()) {
    throw TokenizerError(
        fmt::format("token id {} is out of range: the vocabulary has {} pieces", id, vocab_size()));
  }
  return impl_->model.pieces[static_cast<std::size_t>(id)];
}

std::optional<TokenId> Tokenizer::find_piece(std::string_view text) const {
  const auto found = impl_->ids.find(text);
  if (found == impl_->ids.end()) return std::nullopt;
  return found->second;
}

std::optional<TokenId> Tokenizer::bos_id() const { return impl_->model.bos_id; }
std::optional<TokenId> Tokenizer::eos_id() const { return impl_->model.eos_id; }
TokenId Tokenizer::unknown_id() const { return impl_->model.unknown_id; }
bool Tokenizer::add_space_prefix() const { return impl_->model.add_dummy_prefix; }
std::string_view Tokenizer::model_type() const {
  return impl_->model.type == ModelType::kBpe ? "bpe" : "unigram";
}
const std::string& Tokenizer::model_bytes() const { return impl_->model_bytes; }
const SentencePieceModel& Tokenizer::model() const { return impl_->model; }

}  // namespace ttt::tokenizer
