// SPDX-License-Identifier: Apache-2.0
#include "cli/parse_value.h"

#include <catch2/catch.hpp>

#include "cli/exit_code.h"

namespace ttt::cli {
namespace {

std::string usage_error_of(std::string_view list) {
  try {
    parse_id_list(list, 320, "--tokens");
  } catch (const UsageError& error) {
    return error.what();
  }
  return {};
}

TEST_CASE("a suffix multiplies by powers of 1000 in lower case and of 1024 in upper case") {
  CHECK(parse_integer("512") == 512);
  CHECK(parse_integer("-1") == -1);
  CHECK(parse_integer("2k") == 2'000);
  CHECK(parse_integer("32K") == 32'768);
  CHECK(parse_integer("1m") == 1'000'000);
  CHECK(parse_integer("1M") == 1'048'576);
  CHECK(parse_integer("3g") == 3'000'000'000);
  CHECK(parse_integer("1G") == 1'073'741'824);
}

TEST_CASE("what is no integer, or does not fit, is no integer") {
  for (const char* text : {"", "k", "2kk", "2 k", "1.5", "0x10", "2t", "-", "9223372036854775808",
                           "9223372036854775807k", "10000000000G"}) {
    CAPTURE(text);
    CHECK(parse_integer(text) == std::nullopt);
  }
}

TEST_CASE("numbers are finite and whole words") {
  CHECK(parse_number("0.8") == 0.8);
  CHECK(parse_number("1e-3") == 0.001);
  for (const char* text : {"", "nan", "inf", "0.8x", "0,8", "1e999"}) {
    CAPTURE(text);
    CHECK(parse_number(text) == std::nullopt);
  }
}

TEST_CASE("id lists may be separated by commas, spaces and newlines, in brackets or not") {
  const std::vector<std::int32_t> expected = {1, 22, 319};
  CHECK(parse_id_list("1,22,319", 320, "--tokens") == expected);
  CHECK(parse_id_list("[1, 22, 319]\n", 320, "--tokens") == expected);
  CHECK(parse_id_list("1\n22\n319\n", 320, "--tokens") == expected);
}

TEST_CASE("an id that is none, or out of range, is refused with its value, its place and the range") {
  CHECK(usage_error_of("1,2,320") ==
        "--tokens: id 320 (number 3 in the list) is outside the vocabulary, which has ids 0 to 319");
  CHECK(usage_error_of("-1") ==
        "--tokens: id -1 (number 1 in the list) is outside the vocabulary, which has ids 0 to 319");
  CHECK(usage_error_of("1,99999999999999999999") ==
        "--tokens: id 99999999999999999999 (number 2 in the list) is outside the vocabulary, which has ids 0 "
        "to 319");
  CHECK(usage_error_of("1,x2") == "--tokens: wanted token ids such as 1,2,3; number 2 in the list is 'x2'");
  CHECK(usage_error_of("1.5") == "--tokens: wanted token ids such as 1,2,3; number 1 in the list is '1.5'");
}

TEST_CASE("an empty id list is refused") {
  CHECK(usage_error_of("") == "--tokens: the list of token ids is empty; give at least one");
  CHECK(usage_error_of("[ ]") == "--tokens: the list of token ids is empty; give at least one");
}

TEST_CASE("the nearest name is a slip or a beginning away, and nothing is near another word") {
  const std::vector<std::string> names = {"--temperature", "--temp", "--tokens", "--seed"};
  CHECK(nearest("--tempp", names) == "--temp");
  CHECK(nearest("--sed", names) == "--seed");
  CHECK(nearest("--tempera", names) == "--temperature");
  CHECK(nearest("--token", names) == "--tokens");
  CHECK(nearest("--frobnicate", names) == std::nullopt);
  CHECK(nearest("--temp", {}) == std::nullopt);
}

}  // namespace
}  // namespace ttt::cli
