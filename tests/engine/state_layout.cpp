// SPDX-License-Identifier: Apache-2.0
#include "engine/state_layout.h"

#include <catch2/catch.hpp>
#include <vector>

#include "tests/engine/checkpoint_folder.h"

using namespace ttt;

namespace {

// Official 1.3B shape, Mamba backbone.
ModelConfig large(LayerType type) {
  ModelConfig config = test::small_config(type);
  config.hidden_size = 2048;
  config.num_attention_heads = 32;
  config.num_hidden_layers = 24;
  config.mini_batch_size = 16;
  return config;
}

}  // namespace

TEST_CASE("the committed state of the published sizes has the documented bytes") {
  // Fast weights 532,480 and 4,235,264 bytes a layer; two convolutions keep 3 rows of 2048 floats each.
  CHECK(state_bytes(large(LayerType::kTttLinear), 0) == 24 * (532'480 + 2 * 3 * 2048 * 4));
  CHECK(state_bytes(large(LayerType::kTttMlp), 32'768) == 24 * (4'235'264 + 2 * 3 * 2048 * 4));
}

TEST_CASE("an open token adds its rows, a commit drops them") {
  const ModelConfig config = large(LayerType::kTttLinear);
  // Key and gradient: 2 d floats; a row of each of two convolutions: 2 d floats.
  CHECK(state_bytes(config, 5) - state_bytes(config, 4) == 24 * 4 * 2048 * 4);
  CHECK(state_bytes(config, 16) == state_bytes(config, 0));
  CHECK(max_state_bytes(config) == state_bytes(config, 15));
}

TEST_CASE("the listed tensors tile the whole state without overlap") {
  ModelConfig config = test::small_config(GENERATE(LayerType::kTttLinear, LayerType::kTttMlp));
  config.pre_conv = GENERATE(false, true);
  config.share_qk = GENERATE(false, true);
  const std::int64_t position = GENERATE(0, 1, 3, 4, 7);
  std::vector<int> owners(state_bytes(config, position) / sizeof(float), 0);
  for (const StateTensor& tensor : list_state(config, position)) {
    std::size_t row = 1;
    for (std::size_t axis = 1; axis < tensor.shape.size(); ++axis) row *= tensor.shape[axis];
    REQUIRE(tensor.row_stride >= row);
    for (std::size_t i = 0; i < tensor.shape[0]; ++i) {
      for (std::size_t j = 0; j < row; ++j) ++owners.at(tensor.offset + i * tensor.row_stride + j);
    }
  }
  CHECK(std::ranges::all_of(owners, [](int count) { return count == 1; }));
}
