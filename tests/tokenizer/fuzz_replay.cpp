// SPDX-License-Identifier: Apache-2.0
// Runs the fuzz targets over their committed corpus, and checks that each model is judged as its name says:
// "valid-..." or "refused-...".
#include <catch2/catch.hpp>
#include <cstdint>
#include <filesystem>
#include <string>

#include "tests/tokenizer/small_model.h"

extern "C" int fuzz_tokenizer(const std::uint8_t* data, std::size_t size);
extern "C" int fuzz_tokenizer_model(const std::uint8_t* data, std::size_t size);

namespace ttt::tokenizer {
namespace {

bool is_refused(const std::string& model) {
  try {
    Tokenizer::from_model(model, "test.model");
    return false;
  } catch (const TokenizerError&) {
    return true;
  }
}

TEST_CASE("fuzz replay: the corpus of tokenizer models is judged as its names say") {
  int valid = 0, refused = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(TTT_TEST_DATA "/fuzz/corpus/tokenizer_model")) {
    const std::string name = entry.path().filename();
    const std::string bytes = read_file("../fuzz/corpus/tokenizer_model/" + name);
    INFO(name);
    CHECK(bytes.size() < 2048);
    const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
    CHECK(fuzz_tokenizer_model(data, bytes.size()) == 0);  // aborts on a finding
    CHECK(fuzz_tokenizer(data, bytes.size()) == 0);
    const bool refuse = is_refused(bytes);
    CHECK(refuse == name.starts_with("refused-"));
    CHECK(refuse != name.starts_with("valid-"));
    ++(refuse ? refused : valid);
  }
  CHECK(valid >= 10);
  CHECK(refused >= 40);
}

}  // namespace
}  // namespace ttt::tokenizer
