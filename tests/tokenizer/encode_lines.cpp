// SPDX-License-Identifier: Apache-2.0
// Drives the tokenizer from another program, for the oracles in Python: requests on stdin, answers on stdout.
// Request: one character, uint32 size, that many bytes. 'e': text to encode, 'p': the same with control
// pieces, 'd': int32 ids to decode. Answer: uint32 size and that many bytes (ids or text). Native byte order.
#include <cstdint>
#include <cstring>
#include <exception>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"
#include "tokenizer/tokenizer_json.h"
#include "weights/strict_json.h"

namespace {

using ttt::tokenizer::SpecialTokens;
using ttt::tokenizer::TokenId;
using ttt::tokenizer::Tokenizer;

std::string from_json(const std::string& text, const std::string& path) {
  ttt::tokenizer::TokenizerJson json(path);
  ttt::weights::ForwardingListener listener(json);
  ttt::weights::parse_strict_json(text, path, listener);
  return json.sentencepiece_model();
}

std::string answer(const Tokenizer& tokenizer, char request, const std::string& payload) {
  if (request == 'd') {
    std::vector<TokenId> ids(payload.size() / sizeof(TokenId));
    std::memcpy(ids.data(), payload.data(), ids.size() * sizeof(TokenId));
    return tokenizer.decode(ids);
  }
  const auto ids = tokenizer.encode(payload, request == 'p' ? SpecialTokens::kParse : SpecialTokens::kPlain);
  return std::string(reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(TokenId));
}

void serve(const Tokenizer& tokenizer) {
  char request = 0;
  std::uint32_t size = 0;
  while (std::cin.get(request) && std::cin.read(reinterpret_cast<char*>(&size), sizeof(size))) {
    std::string payload(size, '\0');
    std::cin.read(payload.data(), static_cast<std::streamsize>(size));
    const std::string reply = answer(tokenizer, request, payload);
    const auto reply_size = static_cast<std::uint32_t>(reply.size());
    std::cout.write(reinterpret_cast<const char*>(&reply_size), sizeof(reply_size)) << reply;
  }
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 2) {
    std::cerr << "usage: encode_lines {TOKENIZER.MODEL | TOKENIZER.JSON} < requests > answers\n";
    return 2;
  }
  std::ifstream file(argv[1], std::ios::binary);
  std::string model{std::istreambuf_iterator<char>(file), {}};
  if (std::string_view(argv[1]).ends_with(".json")) model = from_json(model, argv[1]);
  std::ios::sync_with_stdio(false);
  serve(Tokenizer::from_model(model, argv[1]));
  return 0;
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
