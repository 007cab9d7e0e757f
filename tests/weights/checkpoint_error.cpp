// SPDX-License-Identifier: Apache-2.0
#include "weights/checkpoint_error.h"

#include <catch2/catch.hpp>

#include "tests/weights/fixtures.h"

namespace ttt::weights {
namespace {

std::string text_of(const Refusal& refusal) {
  return refusal_of([&] { refuse(refusal); });
}

TEST_CASE("refusal: a refusal says where, what was wanted, what was found, and what to do") {
  CHECK(text_of(
            {.file = "m.gguf", .where = "tensor 'x'", .wanted = "2", .found = "3", .remedy = "Try again."}) ==
        "m.gguf: tensor 'x': wanted 2, found 3. Try again.");
  CHECK(text_of({.file = "m.gguf", .found = "an empty file"}) == "m.gguf: found an empty file");
  CHECK(text_of({.file = "m.gguf", .wanted = "a file", .remedy = "Look."}) == "m.gguf: wanted a file. Look.");
  CHECK(text_of({.file = "m.gguf"}) == "m.gguf");
}

TEST_CASE("refusal: bytes from a file cannot steer the terminal or break a line of the log") {
  using namespace std::string_view_literals;
  CHECK(text_of({.file = "m", .found = "a\x1b[31m\r\nb\0c\x7f"sv}) ==
        R"(m: found a\x1b[31m\x0d\x0ab\x00c\x7f)");
  CHECK(text_of({.file = "m", .found = "\x9b\xff\xe2\x96"}) == R"(m: found \x9b\xff\xe2\x96)");
  CHECK(text_of({.file = "m", .found = "\xc2\x9b\xe2\x80\xae"}) ==
        R"(m: found \xc2\x9b\xe2\x80\xae)");  // CSI, turned text
  CHECK(text_of({.file = "m\n", .where = "w\n", .wanted = "w\n", .remedy = "r\n"}) ==
        R"(m\x0a: w\x0a: wanted w\x0a. r\x0a)");
  CHECK(text_of({.file = "m", .found = "gr\xc3\xbc\xc3\x9f\x65"}) == "m: found gr\xc3\xbc\xc3\x9f\x65");
}

TEST_CASE("refusal: a long string from a file is cut, the path is not") {
  const std::string text = text_of({.file = std::string(300, 'p'), .where = std::string(1 << 20, 'x')});
  CHECK(text == std::string(300, 'p') + ": " + std::string(120, 'x') + "...");
  // Characters are counted, not bytes: none is cut in two.
  std::string umlauts;
  for (int i = 0; i < 121; ++i) umlauts += "\xc3\xbc";
  CHECK(text_of({.file = "m", .where = umlauts}) == "m: " + umlauts.substr(0, 240) + "...");
}

}  // namespace
}  // namespace ttt::weights
