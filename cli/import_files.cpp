// SPDX-License-Identifier: Apache-2.0
#include "cli/import_files.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "engine/tokenizer_metadata.h"
#include "weights/foreign_file.h"
#include "weights/gguf.h"
#include "weights/gguf_format.h"
#include "weights/limits.h"
#include "weights/mapped_file.h"

namespace ttt::cli {
namespace {

Model import_from(const weights::ImportSource& source, ImportOptions options) {
  options.config_json = source.config_json;
  options.config_path = source.config_path;
  return import_model(*source.archive, options);
}

}  // namespace

ImportFiles::ImportFiles(weights::ImportSource from, ImportOptions options, const std::string& tokenizer_file)
    : source(std::move(from)),
      model(import_from(source, std::move(options))),
      tokenizer(tokenizer_of(source, tokenizer_file, model.config.vocab_size)),
      text(text_settings(source.tokenizer_files)) {
  add_warnings(tokenizer, model);
}

std::optional<tokenizer::Tokenizer> tokenizer_of(const weights::ImportSource& source, const std::string& file,
                                                 std::size_t vocab_size) {
  if (!file.empty()) return read_tokenizer(file, vocab_size);
  if (source.tokenizer_files.tokenizer.bytes.empty()) return std::nullopt;
  return make_tokenizer(source.tokenizer_files.tokenizer.bytes, source.tokenizer_files.tokenizer.path,
                        vocab_size);
}

void add_warnings(const std::optional<tokenizer::Tokenizer>& tokenizer, Model& model) {
  if (!tokenizer) return;
  std::ranges::move(tokenizer_warnings(*tokenizer, model.config.vocab_size),
                    std::back_inserter(model.warnings));
}

tokenizer::Tokenizer read_tokenizer(const std::string& path, std::size_t vocab_size) {
  if (weights::read_prefix(path, weights::kGgufMagic.size()) == weights::kGgufMagic) {
    return take_tokenizer(weights::GgufFile::open(path, weights::FileAccess::kMap), vocab_size);
  }
  const std::string bytes = weights::read_small_file(path, weights::limits::kMaxTokenizerBytes);
  weights::refuse_stand_in(path, bytes);
  return make_tokenizer(bytes, path, vocab_size);
}

}  // namespace ttt::cli
