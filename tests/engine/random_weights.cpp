// SPDX-License-Identifier: Apache-2.0
#include "engine/random_weights.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "engine/convert.h"
#include "tests/weights/fixtures.h"
#include "weights/element_type.h"

using namespace ttt;
using weights::DType;

namespace {

std::uint64_t num_parameters(const ModelConfig& config) {
  std::uint64_t count = 0;
  for (const NamedTensor& tensor : list_tensors(RandomWeights::without_bytes(config, DType::kF32))) {
    count += *weights::num_elements(tensor.view.shape);
  }
  return count;
}

ModelConfig tiny_config() {
  ModelConfig config = official_config("125m-mlp");
  config.vocab_size = 100;
  config.hidden_size = 24;
  config.intermediate_size = 40;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 3;
  return config;
}

std::vector<float> values_of(const weights::TensorView& tensor) {
  std::vector<float> values(*weights::num_elements(tensor.shape));
  weights::to_floats(tensor.dtype, tensor.bytes, values);
  return values;
}

}  // namespace

TEST_CASE("official sizes have the published numbers of parameters") {
  const std::map<std::string, std::uint64_t> published = {
      {"125m", 110'424'144}, {"125m-mlp", 114'589'776}, {"350m", 337'684'224},   {"350m-mlp", 348'792'576},
      {"760m", 733'608'192}, {"760m-mlp", 758'528'256}, {"1.3b", 1'285'639'296}, {"1.3b-mlp", 1'307'856'000}};
  CHECK(official_sizes().size() == published.size());
  for (const std::string& size : official_sizes()) {
    INFO(size);
    CHECK(num_parameters(official_config(size)) == published.at(size));
  }
}

TEST_CASE("a size that does not exist is refused with those that do") {
  for (const char* size : {"", "7b", "-mlp", "125m-linear", "125M"}) {
    INFO(size);
    CHECK_THROWS_WITH(official_config(size),
                      Catch::Contains("125m, 125m-mlp") && Catch::Contains("1.3b-mlp"));
  }
}

TEST_CASE("random weights are the same for a seed, finite, and in the type asked for") {
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16}) {
    const RandomWeights a(tiny_config(), type, 7);
    const RandomWeights b(tiny_config(), type, 7);
    const RandomWeights other(tiny_config(), type, 8);
    const auto list_a = list_tensors(a.model());
    const auto list_b = list_tensors(b.model());
    const auto list_other = list_tensors(other.model());
    bool any_differs = false;
    for (std::size_t i = 0; i < list_a.size(); ++i) {
      INFO(list_a[i].view.name);
      CHECK(list_a[i].view.dtype == (list_a[i].is_matrix ? type : DType::kF32));
      CHECK(std::ranges::equal(list_a[i].view.bytes, list_b[i].view.bytes));
      any_differs |= !std::ranges::equal(list_a[i].view.bytes, list_other[i].view.bytes);
      for (const float value : values_of(list_a[i].view)) REQUIRE(std::abs(value) <= 1.0F);
    }
    CHECK(any_differs);
    const std::vector<float> embedding = values_of(a.model().token_embd);
    double square = 0.0;
    for (const float value : embedding) square += static_cast<double>(value) * static_cast<double>(value);
    CHECK(std::sqrt(square / static_cast<double>(embedding.size())) == Approx(0.02).epsilon(0.05));
  }
}

TEST_CASE("a random model goes into a file like any other") {
  const weights::TemporaryFolder folder;
  const RandomWeights random(tiny_config(), DType::kBF16, 3);
  const std::string path = folder / "random.gguf";
  REQUIRE(
      convert(random.model(), {}, nullptr, path, {.matrix_type = DType::kBF16, .progress = {}}).completed);
  const weights::Checkpoint checkpoint = weights::Checkpoint::open(path);
  const Model model = load_model(checkpoint);
  CHECK(model.config.hidden_size == 24);
  CHECK(model.config.is_mlp());
  CHECK(model.layers.size() == 2);
}
