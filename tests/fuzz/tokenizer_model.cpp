// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: any bytes as a tokenizer.model, before SentencePiece sees any of it.
#include <set>

#include "tests/fuzz/tensor_check.h"
#include "tokenizer/model_proto.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ttt::tokenizer;
  using ttt::weights::require;
  try {
    const SentencePieceModel model = parse_model({reinterpret_cast<const char*>(data), size}, "fuzz");
    const auto is_piece = [&](TokenId id) {
      return id >= 0 && static_cast<std::size_t>(id) < model.pieces.size();
    };
    require(is_piece(model.unknown_id));
    for (const auto id : {model.bos_id, model.eos_id}) require(!id || is_piece(*id));
    std::set<std::string_view> texts;
    for (const Piece& piece : model.pieces) {
      require(!piece.text.empty() && piece.text.size() <= kMaxPieceBytes);
      require(texts.insert(piece.text).second);
      require((piece.kind == PieceKind::kByte) == (model.byte_fallback && byte_of(piece.text).has_value()));
    }
    // What SentencePiece is given instead is itself a model, of at least these pieces.
    require(parse_model(segmentation_model(model), "ours").pieces.size() >= model.pieces.size());
  } catch (const TokenizerError&) {  // a refusal; anything else is a finding
  }
  return 0;
}
