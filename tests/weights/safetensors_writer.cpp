// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>
#include <stdexcept>

#include "tests/weights/fixtures.h"
#include "weights/safetensors.h"

namespace ttt::weights {
namespace {

TEST_CASE("safetensors writer: tensors and metadata are read back as they were written") {
  const TemporaryFolder folder;
  const std::map<std::string, std::string> metadata = {{"format", "pt"},
                                                       {"quote \"\\\n\x01", "\xe2\x96\x81\t"}};
  const std::vector<SafetensorsTensorInfo> tensors = {{"a \"quoted\\name\"", DType::kF32, {2, 2}},
                                                      {"empty", DType::kI64, {0, 3}},
                                                      {"scalar", DType::kF16, {}},
                                                      {"flags", DType::kBool, {3}}};
  SafetensorsWriter writer(folder / "m", tensors, metadata);
  writer.write(bytes_of("0123456789abcde"));
  writer.write(bytes_of("fghijk"));
  writer.commit();
  const std::string bytes = read_file(folder / "m");
  const SafetensorsFile file = parse_safetensors(bytes);
  CHECK(file.metadata() == metadata);
  std::string all;
  for (const SafetensorsTensorInfo& expected : tensors) {
    const TensorView* view = file.find_tensor(expected.name);
    REQUIRE(view != nullptr);
    CHECK(view->dtype == expected.dtype);
    CHECK(view->shape == expected.shape);
    all.append(reinterpret_cast<const char*>(view->bytes.data()), view->bytes.size());
  }
  CHECK(all == "0123456789abcdefghijk");
  const auto data_begin =
      reinterpret_cast<const char*>(file.find_tensor(tensors[0].name)->bytes.data()) - bytes.data();
  CHECK(data_begin % 8 == 0);
}

TEST_CASE("safetensors writer: a file without tensors is legal") {
  const TemporaryFolder folder;
  SafetensorsWriter(folder / "m", {}).commit();
  CHECK(SafetensorsFile::open(folder / "m", FileAccess::kRead).tensors().empty());
}

TEST_CASE("safetensors writer: too few or too many bytes never become a file") {
  const TemporaryFolder folder;
  SafetensorsWriter writer(folder / "m", {{"a", DType::kU8, {3}}});
  writer.write(bytes_of("12"));
  CHECK_THROWS_AS(writer.commit(), std::logic_error);
  CHECK_THROWS_AS(writer.write(bytes_of("34")), std::logic_error);
  CHECK_FALSE(std::filesystem::exists(folder / "m"));
}

TEST_CASE("safetensors writer: what the reader would refuse is not written") {
  const TemporaryFolder folder;
  const auto refused = [&](const std::vector<SafetensorsTensorInfo>& tensors,
                           const std::map<std::string, std::string>& metadata = {}) {
    const std::string text = refusal_of([&] { SafetensorsWriter(folder / "m", tensors, metadata); });
    CHECK(folder.names().empty());
    return contains(text, "Nothing was written");
  };
  CHECK(refused({{"", DType::kF32, {1}}}));
  CHECK(refused({{"__metadata__", DType::kF32, {1}}}));
  CHECK(refused({{"\xff", DType::kF32, {1}}}));
  CHECK(refused({{std::string(257, 'n'), DType::kF32, {1}}}));
  CHECK(refused({{"a", DType::kF32, {1}}, {"a", DType::kF32, {1}}}));
  CHECK(refused({{"a", DType::kQ8_0, {32}}}));
  CHECK(refused({{"a", DType::kF32, Shape(9, 1)}}));
  CHECK(refused({{"a", DType::kF32, {1ULL << 62}}}));
  CHECK(refused({{"a", DType::kU8, {1ULL << 63}}, {"b", DType::kU8, {1ULL << 63}}}));
  CHECK(refused({{"a", DType::kU8, {~std::uint64_t{0}}}}));
  CHECK(refused({}, {{"a", "\xff"}}));
  CHECK(refused({}, {{"\xff", "a"}}));
}

}  // namespace
}  // namespace ttt::weights
