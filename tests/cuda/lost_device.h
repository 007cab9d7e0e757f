// SPDX-License-Identifier: Apache-2.0
// How requests end whose device is lost.
#pragma once

#include <catch2/catch.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "engine/token_stream.h"

namespace ttt::test {

inline void check_lost(const std::vector<std::shared_ptr<TokenStream>>& streams) {
  for (const auto& stream : streams) {
    std::optional<Finish> finish;
    while (!stream->exhausted()) {
      if (auto event = stream->pop_until(std::chrono::steady_clock::now() + std::chrono::seconds(60))) {
        finish = std::move(event->finish);
      }
    }
    REQUIRE(finish.has_value());
    CHECK(finish->reason == FinishReason::kFailed);
    CHECK(finish->device_lost);
    CHECK_THAT(finish->error, Catch::Contains("cuda:0 failed") && Catch::Contains("restart the program"));
  }
}

}  // namespace ttt::test
