// SPDX-License-Identifier: Apache-2.0
#include "tokenizer/tokenizer_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "tokenizer/model_proto.h"
#include "tokenizer/refusal.h"
#include "tokenizer/utf8.h"

namespace ttt::tokenizer {
namespace {

constexpr std::string_view kRemedy =
    "Use the tokenizer.model that was published with the checkpoint, or with the model it was made from; "
    "without a tokenizer the model takes and gives token ids.";

struct Node {
  enum class Kind : std::uint8_t { kScalar, kArray, kObject };
  Kind kind = Kind::kScalar;
  TokenizerJson::Scalar value = nullptr;
  std::string key;  // in the object around it
  const Node* first = nullptr;
  const Node* next = nullptr;  // sibling
  Node* last = nullptr;

  const Node* find(std::string_view name) const {
    for (const Node* child = first; child != nullptr; child = child->next) {
      if (child->key == name) return child;
    }
    return nullptr;
  }
  const std::string* text() const { return std::get_if<std::string>(&value); }
  bool is_null() const { return kind == Kind::kScalar && std::holds_alternative<std::nullptr_t>(value); }
  bool is(bool wanted) const {
    const bool* flag = std::get_if<bool>(&value);
    return kind == Kind::kScalar && flag != nullptr && *flag == wanted;
  }
  // An object whose "type" is `name`.
  bool has_type(std::string_view name) const {
    const Node* type = find("type");
    return type != nullptr && type->text() != nullptr && *type->text() == name;
  }
};

bool is_text(const Node* node, std::string_view wanted) {
  return node != nullptr && node->text() != nullptr && *node->text() == wanted;
}

bool is_number(const Node* node, std::uint64_t wanted) {
  const auto* number = node == nullptr ? nullptr : std::get_if<std::uint64_t>(&node->value);
  return number != nullptr && *number == wanted;
}

struct PairHash {
  std::size_t operator()(const std::pair<TokenId, TokenId>& pair) const {
    return std::hash<std::uint64_t>()(std::uint64_t{static_cast<std::uint32_t>(pair.first)} << 32 |
                                      static_cast<std::uint32_t>(pair.second));
  }
};
using Pairs = std::unordered_set<std::pair<TokenId, TokenId>, PairHash>;

// Makes the model from a whole tree.
class Translation {
 public:
  Translation(const Node& root, std::string_view name) : root_(root), name_(name) {}
  std::string translate();

 private:
  void read_settings(const Node& bpe) const;
  void read_vocabulary(const Node& vocabulary);
  void read_added_tokens();
  void read_unknown(const Node& bpe);
  void read_merges(const Node& merges);
  void check_merges(const Pairs& pairs) const;
  std::pair<std::string_view, std::string_view> parts_of(const Node& merge, std::size_t rank) const;
  void read_spaces();
  void check_replacement(const Node& step, std::string_view from, std::string_view to) const;
  void check_decoder() const;
  void find_special_ids();

  std::optional<TokenId> find(std::string_view text) const {
    const auto found = ids_.find(text);
    return found == ids_.end() ? std::nullopt : std::optional(found->second);
  }
  Piece& piece(TokenId id) { return model_.pieces[static_cast<std::size_t>(id)]; }
  const Piece& piece(TokenId id) const { return model_.pieces[static_cast<std::size_t>(id)]; }
  bool is_normal(TokenId id) const { return piece(id).kind == PieceKind::kNormal; }
  bool is_byte(TokenId id) const { return piece(id).kind == PieceKind::kByte; }
  const Node& member(const Node& object, std::string_view key, Node::Kind kind) const;
  TokenId id_of(const Node& number, std::string_view where) const;
  [[noreturn]] void reject(std::string_view where, std::string_view wanted, std::string_view found) const {
    refuse({.model = name_, .where = where, .wanted = wanted, .found = found, .remedy = kRemedy});
  }

  const Node& root_;
  std::string_view name_;
  SentencePieceModel model_;
  std::unordered_map<std::string_view, TokenId> ids_;  // texts lie in the tree
};

std::string Translation::translate() {
  if (root_.kind != Node::Kind::kObject) reject("the file", "an object", "another value");
  const Node& bpe = member(root_, "model", Node::Kind::kObject);
  if (!bpe.has_type("BPE")) reject("model", "BPE", "another type");
  model_.type = ModelType::kBpe;
  model_.byte_fallback = true;
  read_settings(bpe);
  read_vocabulary(member(bpe, "vocab", Node::Kind::kObject));
  read_added_tokens();
  read_unknown(bpe);
  for (Piece& one : model_.pieces) {
    if (one.kind == PieceKind::kNormal && byte_of(one.text)) one.kind = PieceKind::kByte;
  }
  read_merges(member(bpe, "merges", Node::Kind::kArray));
  read_spaces();
  check_decoder();
  find_special_ids();
  std::string bytes = model_file(model_);
  parse_model(bytes, name_);  // what is left to check is what any model is checked for
  return bytes;
}

void Translation::read_settings(const Node& bpe) const {
  for (const std::string_view key : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"}) {
    const Node* setting = bpe.find(key);
    const bool empty =
        setting == nullptr || setting->is_null() || (setting->text() && setting->text()->empty());
    if (!empty) reject(fmt::format("model.{}", key), "none", "one");
  }
  const Node* fallback = bpe.find("byte_fallback");
  if (fallback == nullptr || !fallback->is(true)) reject("model.byte_fallback", "true", "false");
  const Node* ignored = bpe.find("ignore_merges");
  if (ignored != nullptr && !ignored->is(false)) reject("model.ignore_merges", "false", "true");
}

void Translation::read_vocabulary(const Node& vocabulary) {
  std::size_t count = 0;
  for (const Node* entry = vocabulary.first; entry != nullptr; entry = entry->next) ++count;
  if (count == 0 || count > kMaxPieces)
    reject("model.vocab", fmt::format("1 to {} pieces", kMaxPieces), fmt::format("{}", count));
  model_.pieces.resize(count);
  std::size_t text_bytes = 0;
  for (const Node* entry = vocabulary.first; entry != nullptr; entry = entry->next) {
    const TokenId id = id_of(*entry, "model.vocab");
    if (static_cast<std::size_t>(id) >= count || !piece(id).text.empty() || entry->key.empty())
      reject("model.vocab", fmt::format("each id from 0 to {} once, with a text", count - 1),
             fmt::format("{} for {}", id, quoted(entry->key)));
    text_bytes += entry->key.size();
    if (text_bytes > kMaxPieceTextBytes)
      reject("model.vocab", fmt::format("at most {} bytes of text", kMaxPieceTextBytes), "more");
    piece(id).text = entry->key;
    ids_.emplace(entry->key, id);
  }
}

// Special ones become control pieces. Those behind the vocabulary are listed in the order of their ids.
void Translation::read_added_tokens() {
  const Node* list = root_.find("added_tokens");
  if (list == nullptr || list->is_null()) return;
  for (const Node* token = list->first; token != nullptr; token = token->next) {
    const std::string* text = member(*token, "content", Node::Kind::kScalar).text();
    if (text == nullptr || text->empty()) reject("added_tokens", "a text for each", "none");
    const std::string where = "added token " + quoted(*text);
    const Node* special = token->find("special");
    if (special == nullptr || !special->is(true))
      reject(where, "a special one", "one that is cut out of any text before it is normalised");
    for (const std::string_view key : {"lstrip", "rstrip", "single_word"}) {
      const Node* flag = token->find(key);
      if (flag != nullptr && !flag->is(false)) reject(where, fmt::format("{} false", key), "true");
    }
    const TokenId id = id_of(member(*token, "id", Node::Kind::kScalar), where);
    const auto known = find(*text);
    const bool next = !known && static_cast<std::size_t>(id) == model_.pieces.size();
    if (next && model_.pieces.size() < kMaxPieces) {
      model_.pieces.push_back({.text = *text});
      ids_.emplace(*text, id);
    } else if (known != id) {
      reject(where, known ? fmt::format("id {}, as in the vocabulary", *known) : "the next free id",
             fmt::format("{}", id));
    }
    piece(id).kind = PieceKind::kControl;
  }
}

void Translation::read_unknown(const Node& bpe) {
  const Node* token = bpe.find("unk_token");
  const std::string* text = token == nullptr ? nullptr : token->text();
  const auto id = text == nullptr ? std::nullopt : find(*text);
  if (!id) reject("model.unk_token", "a piece of the vocabulary", text ? quoted(*text) : "none");
  piece(*id).kind = PieceKind::kUnknown;
  model_.unknown_id = *id;
}

// "a b" in older files, ["a", "b"] in newer ones.
std::pair<std::string_view, std::string_view> Translation::parts_of(const Node& merge,
                                                                    std::size_t rank) const {
  if (const std::string* both = merge.text()) {
    const std::size_t space = both->find(' ');
    if (space != std::string::npos && both->find(' ', space + 1) == std::string::npos) {
      const std::string_view text = *both;
      return {text.substr(0, space), text.substr(space + 1)};
    }
  } else if (merge.first != nullptr && merge.first->next != nullptr && merge.first->next->next == nullptr) {
    const std::string* left = merge.first->text();
    const std::string* right = merge.first->next->text();
    if (left != nullptr && right != nullptr) return {*left, *right};
  }
  reject(fmt::format("merge {}", rank), "two pieces", "something else");
}

void Translation::read_merges(const Node& merges) {
  Pairs pairs;
  std::vector<bool> made(model_.pieces.size());
  std::optional<TokenId> current;
  std::size_t rank = 0;
  for (const Node* merge = merges.first; merge != nullptr; merge = merge->next, ++rank) {
    const auto [left, right] = parts_of(*merge, rank);
    const std::string joined = std::string(left) + std::string(right);
    const auto left_id = find(left);
    const auto right_id = find(right);
    const auto id = find(joined);
    const std::string where = fmt::format("merge {}", rank);
    if (!left_id || !right_id || !id)
      reject(where, "pieces of the vocabulary", fmt::format("{} and {}", quoted(left), quoted(right)));
    if (is_byte(*id) || is_byte(*left_id) || is_byte(*right_id))
      reject(where, "no byte piece in a merge", quoted(joined));
    // Special tokens are cut out of a text before it is merged.
    if (!is_normal(*id) || !is_normal(*left_id) || !is_normal(*right_id)) continue;
    if (!pairs.emplace(*left_id, *right_id).second)
      reject(where, "each pair once", quoted(joined) + " again");
    if (current == id) continue;
    if (made[static_cast<std::size_t>(*id)])
      reject(where, fmt::format("the merges into {} one after another", quoted(joined)),
             "another piece's between them, which scores of pieces cannot express");
    made[static_cast<std::size_t>(*id)] = true;
    piece(*id).score = -static_cast<float>(rank);
    current = id;
  }
  for (std::size_t id = 0; id < made.size(); ++id) {
    if (!made[id])
      model_.pieces[id].score = is_normal(static_cast<TokenId>(id)) ? -static_cast<float>(rank) : 0.0F;
  }
  check_merges(pairs);
}

// SentencePiece joins any two neighbours, pieces or single characters, whose text is a piece.
void Translation::check_merges(const Pairs& pairs) const {
  for (const Piece& whole : model_.pieces) {
    const std::string_view text = whole.text;
    if (whole.kind != PieceKind::kNormal || text.size() > kMaxPieceBytes)
      continue;  // parse_model refuses these
    if (!is_valid_utf8(text)) continue;
    for (std::size_t cut = character_length(text[0]); cut < text.size(); cut += character_length(text[cut])) {
      const std::string_view left = text.substr(0, cut);
      const std::string_view right = text.substr(cut);
      const auto part_id = [&](std::string_view part) {
        const auto id = find(part);
        return id && is_normal(*id) ? id : std::nullopt;
      };
      const auto left_id = part_id(left);
      const auto right_id = part_id(right);
      const bool joins = (left_id || character_length(left[0]) == left.size()) &&
                         (right_id || character_length(right[0]) == right.size());
      if (!joins || (left_id && right_id && pairs.contains({*left_id, *right_id}))) continue;
      reject("merges", fmt::format("{} and {}, which SentencePiece would join", quoted(left), quoted(right)),
             "no such merge: this vocabulary was not made by SentencePiece");
    }
  }
}

// Either a normaliser [Prepend, Replace] or [Replace] and no pre-tokenizer, or none and a Metaspace.
void Translation::read_spaces() {
  model_.remove_extra_whitespaces = false;
  model_.add_dummy_prefix = false;
  const Node* normalizer = root_.find("normalizer");
  const Node* pre_tokenizer = root_.find("pre_tokenizer");
  const bool has_normalizer = normalizer != nullptr && !normalizer->is_null();
  const bool has_pre_tokenizer = pre_tokenizer != nullptr && !pre_tokenizer->is_null();
  if (has_normalizer == has_pre_tokenizer)
    reject("normalizer", "either a normalizer or a pre_tokenizer", has_normalizer ? "both" : "none");
  if (has_pre_tokenizer) {
    if (!pre_tokenizer->has_type("Metaspace")) reject("pre_tokenizer", "Metaspace or none", "another one");
    const Node* scheme = pre_tokenizer->find("prepend_scheme");
    const Node* prefix = pre_tokenizer->find("add_prefix_space");
    const bool never = scheme != nullptr ? is_text(scheme, "never") : prefix != nullptr && prefix->is(false);
    const Node* split = pre_tokenizer->find("split");
    if (!never)
      reject("pre_tokenizer", "a Metaspace that prepends nothing",
             "one that adds a space, but not before a text that begins with one, as SentencePiece does");
    if (split == nullptr || !split->is(false))
      reject("pre_tokenizer", "a Metaspace that does not split", "one that splits");
    if (!is_text(pre_tokenizer->find("replacement"), kSpaceSymbol))
      reject("pre_tokenizer", "U+2581 for a space", "something else");
    return;
  }
  const Node* step = normalizer;
  if (normalizer->has_type("Sequence")) step = member(*normalizer, "normalizers", Node::Kind::kArray).first;
  if (step != nullptr && step->has_type("Prepend")) {
    if (!is_text(step->find("prepend"), kSpaceSymbol))
      reject("normalizer", "U+2581 to be prepended", "something else");
    model_.add_dummy_prefix = true;
    step = step == normalizer ? nullptr : step->next;
  }
  const bool replaces = step != nullptr && step->has_type("Replace");
  if (!replaces || (step != normalizer && step->next != nullptr))
    reject("normalizer", "Prepend and Replace, or Replace alone", "other steps");
  check_replacement(*step, " ", kSpaceSymbol);
}

void Translation::check_replacement(const Node& step, std::string_view from, std::string_view to) const {
  const Node* pattern = step.find("pattern");
  const Node* text = pattern == nullptr ? nullptr : pattern->find("String");
  if (!is_text(text, from) || !is_text(step.find("content"), to))
    reject("Replace", fmt::format("{} replaced by {}", quoted(from), quoted(to)), "something else");
}

// [Replace U+2581 by a space, ByteFallback, Fuse, and Strip of one space where one was prepended]
void Translation::check_decoder() const {
  const Node* decoder = root_.find("decoder");
  if (decoder == nullptr || !decoder->has_type("Sequence")) reject("decoder", "a Sequence", "another one");
  const Node* step = member(*decoder, "decoders", Node::Kind::kArray).first;
  for (const std::string_view type : {"Replace", "ByteFallback", "Fuse"}) {
    if (step == nullptr || !step->has_type(type)) reject("decoder", type, "another step");
    if (type == "Replace") check_replacement(*step, kSpaceSymbol, " ");
    step = step->next;
  }
  const bool strips = step != nullptr && step->has_type("Strip") && step->next == nullptr &&
                      is_text(step->find("content"), " ") && is_number(step->find("start"), 1) &&
                      is_number(step->find("stop"), 0);
  if (step != nullptr && !strips)
    reject("decoder", "one space stripped in front, at the end", "another step");
  if (strips != model_.add_dummy_prefix)
    reject("decoder", model_.add_dummy_prefix ? "the prepended space stripped" : "no space stripped",
           strips ? "a Strip" : "none");
}

// <s> and </s>, if they are control pieces: the file itself does not say what they are for.
void Translation::find_special_ids() {
  const auto control = [&](std::string_view text) {
    const auto id = find(text);
    return id && piece(*id).kind == PieceKind::kControl ? id : std::nullopt;
  };
  model_.bos_id = control("<s>");
  model_.eos_id = control("</s>");
}

const Node& Translation::member(const Node& object, std::string_view key, Node::Kind kind) const {
  const Node* found = object.find(key);
  if (found == nullptr || found->kind != kind) {
    constexpr std::string_view kNames[] = {"a value", "a list", "an object"};
    reject(key, kNames[static_cast<std::size_t>(kind)], found == nullptr ? "none" : "something else");
  }
  return *found;
}

TokenId Translation::id_of(const Node& number, std::string_view where) const {
  const auto* id = std::get_if<std::uint64_t>(&number.value);
  if (id == nullptr || *id >= kMaxPieces)
    reject(where, fmt::format("ids below {}", kMaxPieces),
           id == nullptr ? "something else" : fmt::format("{}", *id));
  return static_cast<TokenId>(*id);
}

}  // namespace

struct TokenizerJson::Tree {
  Node& add(const std::string& name) {
    if (nodes.size() == kMaxNodes) {
      refuse({.model = name,
              .where = "the file",
              .wanted = fmt::format("at most {} values", kMaxNodes),
              .found = "more",
              .remedy = kRemedy});
    }
    Node& node = nodes.emplace_back();
    node.key = std::move(key);
    key.clear();
    if (open.empty()) return node;
    Node& parent = *open.back();
    (parent.last == nullptr ? parent.first : parent.last->next) = &node;
    parent.last = &node;
    return node;
  }

  std::deque<Node> nodes;  // never moved
  std::vector<Node*> open;
  std::string key;  // of the next value
};

TokenizerJson::TokenizerJson(std::string_view name) : name_(name), tree_(std::make_unique<Tree>()) {}
TokenizerJson::~TokenizerJson() = default;

void TokenizerJson::begin_object() {
  Node& node = tree_->add(name_);
  node.kind = Node::Kind::kObject;
  tree_->open.push_back(&node);
}

void TokenizerJson::begin_array() {
  Node& node = tree_->add(name_);
  node.kind = Node::Kind::kArray;
  tree_->open.push_back(&node);
}

void TokenizerJson::end() { tree_->open.pop_back(); }

void TokenizerJson::key(std::string name) { tree_->key = std::move(name); }

void TokenizerJson::scalar(Scalar value) { tree_->add(name_).value = std::move(value); }

std::string TokenizerJson::sentencepiece_model() const {
  if (tree_->nodes.empty()) {
    refuse(
        {.model = name_, .where = "the file", .wanted = "an object", .found = "nothing", .remedy = kRemedy});
  }
  return Translation(tree_->nodes.front(), name_).translate();
}

}  // namespace ttt::tokenizer
