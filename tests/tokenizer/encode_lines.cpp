// SPDX-License-Identifier: Apache-2.0
// Drives the tokenizer from another program, for python_oracle.py: requests on stdin, answers on stdout.
// Request: one character, uint32 size, that many bytes. 'e': text to encode, 'p': the same with control
// pieces, 'd': int32 ids to decode. Answer: uint32 size and that many bytes (ids or text). Native byte order.
#include <cstdint>
#include <cstring>
#include <exception>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace {

using ttt::tokenizer::SpecialTokens;
using ttt::tokenizer::TokenId;
using ttt::tokenizer::Tokenizer;

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
    std::cerr << "usage: encode_lines TOKENIZER.MODEL < requests > answers\n";
    return 2;
  }
  std::ifstream file(argv[1], std::ios::binary);
  const std::string model{std::istreambuf_iterator<char>(file), {}};
  std::ios::sync_with_stdio(false);
  serve(Tokenizer::from_model(model, argv[1]));
  return 0;
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
