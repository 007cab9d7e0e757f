// SPDX-License-Identifier: Apache-2.0
#include "cli/tokenize.h"

#include <fmt/format.h>

#include <limits>

#include "cli/exit_code.h"
#include "cli/import_files.h"
#include "cli/json_output.h"
#include "cli/log.h"
#include "cli/open_model.h"
#include "cli/parse_value.h"
#include "cli/readable.h"
#include "cli/standard_streams.h"
#include "engine/config.h"

namespace ttt::cli {
namespace {

using tokenizer::TokenId;
using tokenizer::Tokenizer;

struct OpenTokenizer {
  Tokenizer tokenizer;
  std::optional<TokenId> bos;  // where a text begins with one
};

OpenTokenizer open_tokenizer(const std::string& path) {
  require_model(path);
  if (path.ends_with(".model") || path.ends_with(".json")) {
    Tokenizer tokenizer = read_tokenizer(path, std::numeric_limits<std::size_t>::max());
    const std::optional<TokenId> bos = tokenizer.bos_id();
    log_info(fmt::format("opened {}: {} pieces", path, tokenizer.vocab_size()));
    return {std::move(tokenizer), bos};
  }
  ModelFiles files(path);
  files.need_tokenizer();
  const bool bos = files.bos_id() && files.text.adds_bos;
  return {std::move(*files.tokenizer), bos ? files.bos_id() : std::nullopt};
}

std::string input_text(const std::string& text, const std::optional<std::string>& file,
                       std::string_view what) {
  if (!text.empty() && file) throw UsageError(fmt::format("give {} or -f FILE, not both", what));
  if (file) return read_input(*file);
  if (!text.empty() && text != "-") return text;
  if (text.empty() && stdin_is_terminal()) {
    throw UsageError(fmt::format("no input; give {} after the model, or through a pipe", what));
  }
  return read_input("-");
}

std::string as_text(const TokenizeOptions& options, const TokenizeResult& result) {
  if (options.count) return fmt::format("{}\n", result.ids.size());
  if (options.ids) return fmt::format("{}\n", fmt::join(result.ids, ","));
  std::string text;
  for (std::size_t i = 0; i < result.ids.size(); ++i) {
    if (!options.pieces) text += fmt::format("{}\t", result.ids[i]);
    text += escaped(result.pieces[i]) + "\n";
  }
  return text;
}

}  // namespace

int tokenize(const TokenizeOptions& options) {
  const OpenTokenizer open = open_tokenizer(options.model);
  const std::string text = input_text(options.text, options.file, "a text");
  const auto special =
      options.parse_special ? tokenizer::SpecialTokens::kParse : tokenizer::SpecialTokens::kPlain;
  TokenizeResult result;
  result.ids = open.tokenizer.encode(text, special);
  if (open.bos && !options.no_bos) result.ids.insert(result.ids.begin(), *open.bos);
  for (const TokenId id : result.ids) result.pieces.push_back(open.tokenizer.piece(id).text);
  write_stdout(options.json ? to_json(result) : as_text(options, result));
  return kOk;
}

int detokenize(const DetokenizeOptions& options) {
  const OpenTokenizer open = open_tokenizer(options.model);
  const std::string list = input_text(options.ids, std::nullopt, "token ids such as 1,2,3");
  const std::string text =
      open.tokenizer.decode(parse_id_list(list, open.tokenizer.vocab_size(), "detokenize"));
  write_stdout(text);
  end_text_on_terminal(text);
  return kOk;
}

}  // namespace ttt::cli
