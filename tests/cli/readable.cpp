// SPDX-License-Identifier: Apache-2.0
#include "cli/readable.h"

#include <catch2/catch.hpp>

#include "cli/progress.h"

namespace ttt::cli {
namespace {

TEST_CASE("bytes and counts have three significant digits in their largest unit") {
  CHECK(readable_bytes(999) == "999 bytes");
  CHECK(readable_bytes(1'000) == "1.00 kB");
  CHECK(readable_bytes(12'812'345) == "12.8 MB");
  CHECK(readable_bytes(999'600) == "1.00 MB");
  CHECK(readable_memory(1023) == "1023 bytes");
  CHECK(readable_memory(204'800) == "200 KiB");
  CHECK(readable_memory(std::uint64_t{2} << 30U) == "2.00 GiB");
  CHECK(readable_count(2'626'560) == "2.63M");
  CHECK(readable_count(0) == "0");
}

TEST_CASE("times change their unit with their length") {
  CHECK(readable_seconds(0.423) == "0.42 s");
  CHECK(readable_seconds(20.44) == "20.4 s");
  CHECK(readable_seconds(200.0) == "3 min 20 s");
  CHECK(readable_seconds(7265.0) == "2 h 1 min");
}

TEST_CASE("control characters are escaped, other bytes stay") {
  CHECK(escaped("a\nb\t\x01\\") == "a\\nb\\t\\x01\\\\");
  CHECK(escaped("\xe2\x96\x81the") == "\xe2\x96\x81the");
}

TEST_CASE("progress tells percentage, rate and time left") {
  CHECK(progress_line("reading", Progress::Unit::kTokens, 2'000, 10'000, 4.0) ==
        "reading: 20%, 2.00k of 10.0k tokens, 500 tokens/s, 16.0 s left");
  CHECK(progress_line("converting", Progress::Unit::kBytes, 0, 1'000'000, 0.0) ==
        "converting: 0%, 0 bytes of 1.00 MB, 0 bytes/s, 0.00 s left");
}

}  // namespace
}  // namespace ttt::cli
