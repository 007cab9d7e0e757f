// SPDX-License-Identifier: Apache-2.0
// Server-sent events, as they come in pieces: the text of each event's data.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace ttt::cli {

class EventReader {
 public:
  static constexpr std::size_t kMaxEventBytes = std::size_t{16} << 20;

  // Calls `take` with the data of every event that `bytes` completes. False: an event is larger than
  // kMaxEventBytes, and nothing that follows is understood.
  bool feed(std::string_view bytes, const std::function<void(std::string_view)>& take);

 private:
  bool take_line(std::string_view line, const std::function<void(std::string_view)>& take);

  std::string line_;  // begun
  std::string data_;  // of the event begun
  bool has_data_ = false;
  bool after_return_ = false;  // "\r" ended a line: a "\n" that follows belongs to it
};

}  // namespace ttt::cli
