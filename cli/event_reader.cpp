// SPDX-License-Identifier: Apache-2.0
#include "cli/event_reader.h"

namespace ttt::cli {

bool EventReader::feed(std::string_view bytes, const std::function<void(std::string_view)>& take) {
  while (!bytes.empty()) {
    if (after_return_ && bytes.front() == '\n') bytes.remove_prefix(1);
    after_return_ = false;
    const std::size_t end = bytes.find_first_of("\r\n");
    if (end == std::string_view::npos) {
      line_ += bytes;
      return line_.size() <= kMaxEventBytes;
    }
    after_return_ = bytes[end] == '\r';
    line_ += bytes.substr(0, end);
    bytes.remove_prefix(end + 1);
    if (!take_line(line_, take)) return false;
    line_.clear();
  }
  return true;
}

bool EventReader::take_line(std::string_view line, const std::function<void(std::string_view)>& take) {
  if (line.empty()) {
    if (has_data_) take(data_);
    data_.clear();
    has_data_ = false;
    return true;
  }
  constexpr std::string_view kField = "data:";
  if (!line.starts_with(kField)) return true;  // a comment, or a field that means nothing here
  line.remove_prefix(kField.size());
  if (line.starts_with(' ')) line.remove_prefix(1);
  if (has_data_) data_ += '\n';
  has_data_ = true;
  data_ += line;
  return data_.size() <= kMaxEventBytes;
}

}  // namespace ttt::cli
