// SPDX-License-Identifier: Apache-2.0
#include "cli/event_reader.h"

#include <catch2/catch.hpp>
#include <vector>

namespace ttt::cli {

namespace {

std::vector<std::string> read(std::string_view text, std::size_t piece) {
  EventReader reader;
  std::vector<std::string> data;
  for (std::size_t i = 0; i < text.size(); i += piece) {
    REQUIRE(reader.feed(text.substr(i, piece), [&](std::string_view event) { data.emplace_back(event); }));
  }
  return data;
}

}  // namespace

TEST_CASE("events are read whatever pieces they come in") {
  const std::string_view text =
      ": ping\n\n"
      "data: {\"a\":1}\n\n"
      "data:no space\r\n\r\n"
      "event: x\ndata: two\ndata: lines\n\n"
      "id: 7\n\n"
      "data:\n\n"
      "data: returns\r\r"
      "data: unfinished\n";
  const std::vector<std::string> expected = {"{\"a\":1}", "no space", "two\nlines", "", "returns"};
  for (std::size_t piece = 1; piece <= text.size(); ++piece) CHECK(read(text, piece) == expected);
}

TEST_CASE("an event without end is given up") {
  EventReader reader;
  const std::string part(EventReader::kMaxEventBytes / 4, 'x');
  const auto nothing = [](std::string_view) { FAIL("no event has ended"); };
  CHECK(reader.feed("data: ", nothing));
  bool goes_on = true;
  for (int i = 0; i < 5; ++i) goes_on = goes_on && reader.feed(part, nothing);
  CHECK_FALSE(goes_on);
  EventReader lines;
  goes_on = true;
  for (int i = 0; i < 5; ++i) goes_on = goes_on && lines.feed("data: " + part + "\n", nothing);
  CHECK_FALSE(goes_on);
}

}  // namespace ttt::cli
