// SPDX-License-Identifier: Apache-2.0
// A small JSON text, one scalar after another by its path.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "weights/strict_json.h"

namespace ttt::cli {

// Calls take(path, value) for every scalar of a text that parse_strict_json reads: "choices.0.text". A place
// in an array is its index.
template <typename Take>
class ScalarListener final : public weights::JsonListener {
 public:
  explicit ScalarListener(Take take) : take_(std::move(take)) {}
  void begin_object() override { open(false); }
  void begin_array() override { open(true); }
  void end() override {
    levels_.pop_back();
    path_.resize(begin_of_last());
  }
  void key(std::string name) override { path_.replace(begin_of_last(), std::string::npos, name); }
  void scalar(weights::JsonScalar value) override {
    advance();
    take_(std::string_view(path_), value);
  }

 private:
  struct Level {
    bool is_array;
    std::size_t begin;  // of its members' names in the path
    std::size_t next = 0;
  };
  std::size_t begin_of_last() const { return levels_.empty() ? 0 : levels_.back().begin; }
  void advance() {
    if (levels_.empty() || !levels_.back().is_array) return;
    path_.replace(begin_of_last(), std::string::npos, std::to_string(levels_.back().next++));
  }
  void open(bool is_array) {
    advance();
    if (!path_.empty()) path_ += '.';
    levels_.push_back({.is_array = is_array, .begin = path_.size()});
  }

  Take take_;
  std::string path_;
  std::vector<Level> levels_;
};

}  // namespace ttt::cli
