// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: any bytes as a tokenizer.model that SentencePiece loads and that texts are divided with.
#include "tokenizer/tokenizer.h"

#include "tests/fuzz/tensor_check.h"
#include "tokenizer/text_stream.h"

namespace {

// Spaces in front and in a row, words of the corpus, its special pieces, characters of four bytes, bad UTF-8.
constexpr std::string_view kTexts[] = {
    "ab aab  <sep>USERS caf\xC3\xA9 </s>\xF0\x9F\x98\x80\xF0\x9F\x98\x80 \xFF\xE2\x82",
    "  the<s>\n\xE2\x96\x81  "};

void use(const ttt::tokenizer::Tokenizer& tokenizer) {
  using namespace ttt::tokenizer;
  for (const std::string_view text : kTexts) {
    for (const SpecialTokens special : {SpecialTokens::kPlain, SpecialTokens::kParse}) {
      const std::vector<TokenId> ids = tokenizer.encode(text, special);
      TextStream stream(tokenizer, {}, {"ab", "\xEF\xBF\xBD"});
      for (const TokenId id : ids) {
        ttt::weights::require(id >= 0 && id < tokenizer.vocab_size());
        stream.push(id);
      }
      tokenizer.decode(ids);
    }
  }
  for (TokenId id = 0; id < tokenizer.vocab_size(); ++id) tokenizer.decode({{id}});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ttt::tokenizer;
  try {
    use(Tokenizer::from_model({reinterpret_cast<const char*>(data), size}, "fuzz"));
  } catch (const TokenizerError&) {  // a refusal of the model, or of a text that it cannot divide
  }
  return 0;
}
