// SPDX-License-Identifier: Apache-2.0
// model.safetensors.index.json and pytorch_model.bin.index.json: which file of a sharded checkpoint holds
// which tensor, and whether the files agree.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>

namespace ttt::weights {

using ShardIndex = std::map<std::string, std::string, std::less<>>;  // tensor name -> file name

// Every file name is one plain name inside the checkpoint's folder. Throws CheckpointError naming `file`.
ShardIndex parse_shard_index(std::string_view text, std::string_view file);

// Checks that every tensor lies in the file that the index names, and that the files hold nothing else. Each
// member throws CheckpointError.
class ShardCheck {
 public:
  // Reads the index at `index_path`; its files are in `folder`.
  ShardCheck(std::string index_path, std::string folder);

  const std::set<std::string>& file_names() const { return file_names_; }  // at most limits::kMaxShards
  std::string path_of(const std::string& file_name) const;                 // refuses one that is missing
  void found(std::string_view tensor, const std::string& file_name);       // for each tensor of each file
  void finish() const;                                                     // after the last

 private:
  std::string folder_;
  ShardIndex index_;
  std::set<std::string> file_names_;
  std::set<std::string, std::less<>> seen_;
};

}  // namespace ttt::weights
