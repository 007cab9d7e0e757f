// SPDX-License-Identifier: Apache-2.0
#include "tokenizer/piece_list.h"

#include <algorithm>
#include <utility>

#include "tokenizer/model_proto.h"

namespace ttt::tokenizer {

std::string sentencepiece_model(const PieceList& list, std::string_view name) {
  const auto control = [&](std::optional<TokenId> id) {
    const bool is_one = id && *id >= 0 && std::cmp_less(*id, list.pieces.size()) &&
                        list.pieces[static_cast<std::size_t>(*id)].kind == PieceKind::kControl;
    return is_one ? id : std::nullopt;
  };
  const auto unknown = std::ranges::find(list.pieces, PieceKind::kUnknown, &Piece::kind);
  SentencePieceModel model;
  model.type = ModelType::kBpe;
  model.pieces = list.pieces;
  model.unknown_id = unknown == list.pieces.end() ? 0 : static_cast<TokenId>(unknown - list.pieces.begin());
  model.bos_id = control(list.bos_id);
  model.eos_id = control(list.eos_id);
  model.byte_fallback = std::ranges::count(list.pieces, PieceKind::kByte, &Piece::kind) > 0;
  model.add_dummy_prefix = list.add_space_prefix;
  model.remove_extra_whitespaces = false;
  std::string bytes = model_file(model);
  parse_model(bytes, name);  // checks what any model is checked for
  return bytes;
}

}  // namespace ttt::tokenizer
