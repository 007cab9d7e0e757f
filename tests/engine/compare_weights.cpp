// SPDX-License-Identifier: Apache-2.0
#include "engine/compare_weights.h"

#include <catch2/catch.hpp>
#include <cmath>

#include "engine/convert.h"
#include "tests/engine/checkpoint_folder.h"
#include "tests/random.h"
#include "weights/checkpoint_error.h"
#include "weights/element_type.h"

using namespace ttt;
using Catch::Matchers::Contains;
using test::CheckpointFolder;
using weights::DType;

namespace {

// Rows of whole blocks.
ModelConfig wide_config() {
  ModelConfig config = test::small_config();
  config.hidden_size = 32;
  config.intermediate_size = 64;
  return config;
}

struct Converted {
  explicit Converted(DType type, DType source_type = DType::kF32)
      : folder(wide_config(), source_type), source(folder.open()), model(load_model(source)), types{type} {
    convert(model, source.metadata(), nullptr, path(), {.matrix_type = type});
  }
  std::string path() const { return folder.path("out.gguf"); }
  WeightsComparison compare() const {
    const weights::Checkpoint written = weights::Checkpoint::open(path(), weights::FileAccess::kRead);
    return compare_weights(model, load_model(written), types);
  }

  CheckpointFolder folder;
  weights::Checkpoint source;
  Model model;
  TensorTypes types;
};

}  // namespace

TEST_CASE("comparison: a file holds its source's values, or rounds them as its type does") {
  const std::size_t count = list_tensors(Converted(DType::kF32).model).size();
  CHECK(Converted(DType::kF32).compare().tensors == count);
  CHECK(Converted(DType::kF32).compare().rounded == 0);
  CHECK(Converted(DType::kF32, DType::kBF16).compare().rounded == 0);
  CHECK(Converted(DType::kBF16, DType::kBF16).compare().rounded == 0);
  for (const DType type : {DType::kF16, DType::kBF16, DType::kQ8_0, DType::kQ4_0}) {
    CAPTURE(weights::dtype_info(type).name);
    const WeightsComparison compared = Converted(type).compare();
    CHECK(compared.tensors == count);
    CHECK(compared.rounded > count / 4);
    CHECK(compared.worst_rounding > 0.5);
    CHECK(compared.worst_rounding <= 1.0);
  }
}

TEST_CASE("comparison: one wrong bit anywhere among the weights is found and named") {
  const DType type = GENERATE(DType::kF32, DType::kBF16, DType::kQ8_0);
  const Converted converted(type);
  const std::string whole = test::file_contents(converted.path());
  test::Random random(3);
  const weights::GgufFile file = weights::GgufFile::open(converted.path(), weights::FileAccess::kMap);
  for (int round = 0; round < 40; ++round) {
    const auto& tensor = file.tensors()[static_cast<std::size_t>(round) % file.tensors().size()];
    const std::size_t data =
        whole.find(std::string_view(reinterpret_cast<const char*>(tensor.bytes.data()), tensor.bytes.size()));
    std::string flipped = whole;
    flipped[data + static_cast<std::size_t>(round * 7) % tensor.bytes.size()] ^=
        static_cast<char>(1 << (round % 8));
    std::ofstream(converted.path(), std::ios::binary) << flipped;
    CAPTURE(tensor.name, round);
    CHECK_THROWS_WITH(converted.compare(), Contains(tensor.name + ": wanted byte"));
  }
  std::ofstream(converted.path(), std::ios::binary) << whole;
  CHECK_NOTHROW(converted.compare());
}

TEST_CASE("comparison: another type than the one asked for is found") {
  Converted converted(DType::kBF16);
  converted.types.matrices = DType::kF16;
  CHECK_THROWS_WITH(converted.compare(), Contains("F16") && Contains("BF16"));
}

TEST_CASE("comparison: the bound on rounding holds for random values and is nearly reached") {
  test::Random random(5);
  for (const DType type :
       {DType::kF16, DType::kBF16, DType::kQ8_0, DType::kQ4_0, DType::kQ4_K, DType::kQ6_K}) {
    CAPTURE(weights::dtype_info(type).name);
    const std::size_t count = std::max(32U, weights::dtype_info(type).block_elements);
    double worst = 0.0;
    for (int round = 0; round < 3000; ++round) {
      const double scale = std::exp(20.0 * (random.symmetric() - 0.4));
      std::vector<float> values(count);
      for (float& value : values) value = static_cast<float>(scale * random.symmetric());
      if (type == DType::kQ4_0 && round % 3 == 0) values[5] = -values[9];
      double largest = 0.0;
      for (const float value : values) largest = std::max(largest, std::abs(static_cast<double>(value)));
      std::vector<std::byte> stored(*weights::tensor_bytes(type, {count}));
      std::vector<float> after(count);
      weights::from_floats(type, values, stored);
      weights::to_floats(type, stored, after);
      for (std::size_t i = 0; i < values.size(); ++i) {
        const double error = std::abs(static_cast<double>(after[i]) - static_cast<double>(values[i]));
        if (!std::isfinite(after[i])) continue;  // beyond F16: refused when it is written
        worst = std::max(worst, error / rounding_bound(type, static_cast<double>(values[i]), largest));
      }
    }
    CHECK(worst <= 1.0);
    // A block of 256 lowers the sum of squares: one weight rarely loses more than half of a step.
    CHECK(worst > (count == 256 ? 0.4 : 0.8));
  }
}
