// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: any bytes as the index of a sharded checkpoint.
#include "weights/shard_index.h"

#include "tests/fuzz/tensor_check.h"
#include "weights/checkpoint_error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ttt::weights;
  try {
    const ShardIndex index = parse_shard_index({reinterpret_cast<const char*>(data), size}, "fuzz");
    require(!index.empty());
    for (const auto& [tensor, file] : index) {  // a file of this folder and no other
      require(!file.empty() && file != "." && file.find("..") == std::string::npos);
      for (const char character : {'/', '\\', '\0'}) require(file.find(character) == std::string::npos);
      require(tensor.size() + file.size() <= size);
    }
  } catch (const CheckpointError&) {  // a refusal; anything else is a finding
  }
  return 0;
}
