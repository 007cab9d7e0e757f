// SPDX-License-Identifier: Apache-2.0
// model.safetensors.index.json: which file of a sharded checkpoint holds which tensor.
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace ttt::weights {

using ShardIndex = std::map<std::string, std::string, std::less<>>;  // tensor name -> file name

// Every file name is one plain name inside the checkpoint's folder. Throws CheckpointError naming `file`.
ShardIndex parse_shard_index(std::string_view text, std::string_view file);

}  // namespace ttt::weights
