// SPDX-License-Identifier: Apache-2.0
#include "weights/shard_index.h"

#include <fmt/format.h>

#include <filesystem>
#include <system_error>
#include <utility>

#include "weights/checkpoint_error.h"
#include "weights/foreign_file.h"
#include "weights/limits.h"
#include "weights/mapped_file.h"
#include "weights/strict_json.h"

namespace ttt::weights {
namespace {

constexpr std::string_view kIndexRemedy =
    "The index is damaged or hostile: download it again from a source you trust.";
constexpr std::string_view kVersionsDiffer =
    "Shards and index are of different versions: download all of them again.";

bool is_plain_file_name(std::string_view name) {
  if (name.empty() || name.size() > limits::kMaxFileNameBytes || name == ".") return false;
  constexpr std::string_view kSeparators("/\\\0", 3);
  return name.find_first_of(kSeparators) == std::string_view::npos &&
         name.find("..") == std::string_view::npos;
}

// Keeps {"weight_map": {tensor: file}} and skips everything else.
class IndexListener : public JsonListener {
 public:
  explicit IndexListener(std::string_view file) : file_(file) {}

  void begin_object() override { open(true); }
  void begin_array() override { open(false); }
  void end() override { --depth_; }

  void key(std::string name) override {
    if (depth_ == 1) in_map_ = name == "weight_map";
    if (depth_ == 2) tensor_ = std::move(name);
  }

  void scalar(JsonScalar value) override {
    if (depth_ == 0) fail("index", "an object", "another value");
    if (!in_map_) return;
    const auto* name = std::get_if<std::string>(&value);
    if (depth_ != 2 || name == nullptr) fail("weight_map", "an object of file names", "another value");
    if (!is_plain_file_name(*name)) fail(tensor_, "a file name without folders", *name);
    if (index_.size() == limits::kMaxTensors)
      fail("weight_map", fmt::format("at most {} tensors", limits::kMaxTensors), "more");
    index_.emplace(std::move(tensor_), *name);
  }

  ShardIndex take() {
    if (index_.empty()) fail("weight_map", "at least one tensor", "none");
    return std::move(index_);
  }

 private:
  void open(bool is_object) {
    ++depth_;
    if (depth_ == 1 && !is_object) fail("index", "an object", "a list");
    if (in_map_ && (depth_ > 2 || !is_object)) fail("weight_map", "an object of file names", "another value");
  }
  [[noreturn]] void fail(std::string_view where, std::string_view wanted, std::string_view found) const {
    refuse({.file = file_, .where = where, .wanted = wanted, .found = found, .remedy = kIndexRemedy});
  }

  std::string_view file_;
  ShardIndex index_;
  std::string tensor_;
  int depth_ = 0;  // 1: the index, 2: inside weight_map or another value
  bool in_map_ = false;
};

}  // namespace

ShardIndex parse_shard_index(std::string_view text, std::string_view file) {
  IndexListener listener(file);
  parse_strict_json(text, file, listener);
  return listener.take();
}

ShardCheck::ShardCheck(std::string index_path, std::string folder) : folder_(std::move(folder)) {
  const std::string text = read_small_file(index_path, static_cast<std::size_t>(limits::kMaxIndexBytes));
  refuse_stand_in(index_path, text);
  index_ = parse_shard_index(text, index_path);
  for (const auto& [tensor, file_name] : index_) file_names_.insert(file_name);
  if (file_names_.size() > limits::kMaxShards) {
    refuse({.file = index_path,
            .wanted = fmt::format("at most {} shards", limits::kMaxShards),
            .found = fmt::format("{}", file_names_.size()),
            .remedy = kIndexRemedy});
  }
}

std::string ShardCheck::path_of(const std::string& file_name) const {
  std::string path = (std::filesystem::path(folder_) / file_name).string();
  std::error_code error;
  if (std::filesystem::exists(path, error)) return path;
  refuse({.file = path,
          .wanted = "the shard that the index names",
          .found = "no such file",
          .remedy = "Download the missing shard."});
}

void ShardCheck::found(std::string_view tensor, const std::string& file_name) {
  const auto entry = index_.find(tensor);
  if (entry == index_.end() || entry->second != file_name) {
    refuse({.file = path_of(file_name),
            .where = tensor,
            .wanted = entry == index_.end() ? "only tensors that the index names" : "it in " + entry->second,
            .found = "it here",
            .remedy = kVersionsDiffer});
  }
  seen_.emplace(tensor);
}

void ShardCheck::finish() const {
  for (const auto& [tensor, file_name] : index_) {
    if (seen_.contains(tensor)) continue;
    refuse({.file = path_of(file_name),
            .where = tensor,
            .wanted = "the tensor that the index names",
            .found = "none of this name",
            .remedy = kVersionsDiffer});
  }
}

}  // namespace ttt::weights
