// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>
#include <stdexcept>

#include "tests/weights/fixtures.h"
#include "weights/gguf.h"
#include "weights/limits.h"

namespace ttt::weights {
namespace {

template <typename T>
void add_type(GgufMetadata& metadata, const std::string& name, const std::vector<T>& values) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    metadata.emplace_back(name + "." + std::to_string(i), static_cast<T>(values[i]));
  }
  metadata.emplace_back(name + ".list", GgufArray(values));
  metadata.emplace_back(name + ".empty", GgufArray(std::vector<T>()));
}

template <typename T>
std::vector<T> boundaries() {
  using Limits = std::numeric_limits<T>;
  return {Limits::lowest(), T(0), T(1), Limits::max()};
}

GgufMetadata all_types() {
  GgufMetadata metadata;
  add_type(metadata, "u8", boundaries<std::uint8_t>());
  add_type(metadata, "i8", boundaries<std::int8_t>());
  add_type(metadata, "u16", boundaries<std::uint16_t>());
  add_type(metadata, "i16", boundaries<std::int16_t>());
  add_type(metadata, "u32", boundaries<std::uint32_t>());
  add_type(metadata, "i32", boundaries<std::int32_t>());
  add_type(metadata, "u64", boundaries<std::uint64_t>());
  add_type(metadata, "i64", boundaries<std::int64_t>());
  add_type(metadata, "f32", boundaries<float>());
  add_type(metadata, "f64", boundaries<double>());
  add_type(metadata, "bool", std::vector<bool>{false, true, true});
  add_type(metadata, "string",
           std::vector<std::string>{"", "text", std::string("\0\xff\n", 3), "\xe2\x96\x81"});
  metadata.emplace_back("general.alignment", 32U);
  return metadata;
}

std::string pattern(std::size_t size) {
  std::string bytes(size, '\0');
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 31 + 7);
  return bytes;
}

TEST_CASE("GGUF writer: metadata of every type is read back as it was written, in order") {
  const TemporaryFolder folder;
  const GgufMetadata metadata = all_types();
  GgufWriter(folder / "m.gguf", metadata, {}).commit();
  CHECK((GgufFile::open(folder / "m.gguf", FileAccess::kMap).metadata() == metadata));
}

TEST_CASE("GGUF writer: tensors written in pieces of any length are read back aligned, with the same bytes") {
  const std::vector<GgufTensorInfo> tensors = {
      {"scalar", DType::kF32, {}},        {"odd", DType::kI8, {7}},
      {"halves", DType::kF16, {3, 5}},    {"four", DType::kF32, {2, 1, 3, 2}},
      {"blocks", DType::kQ4_K, {3, 512}}, {"bytes", DType::kI8, {64}},
      {"last", DType::kBF16, {1, 17}},
  };
  std::string all;
  for (const GgufTensorInfo& tensor : tensors)
    all += pattern(tensor_bytes(tensor.dtype, tensor.shape).value());
  for (const std::size_t piece :
       {std::size_t{1}, std::size_t{5}, std::size_t{32}, std::size_t{100}, all.size()}) {
    const TemporaryFolder folder;
    GgufWriter writer(folder / "m.gguf", {}, tensors);
    for (std::size_t i = 0; i < all.size(); i += piece)
      writer.write(bytes_of(std::string_view(all).substr(i, piece)));
    writer.commit();
    const std::string bytes = read_file(folder / "m.gguf");
    CHECK(bytes.size() % 32 == 0);
    const GgufFile file = parse_gguf(bytes);
    REQUIRE(file.tensors().size() == tensors.size());
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      const TensorView& view = file.tensors()[i];
      CHECK(view.name == tensors[i].name);
      CHECK(view.dtype == tensors[i].dtype);
      CHECK(view.shape == tensors[i].shape);
      CHECK((reinterpret_cast<const char*>(view.bytes.data()) - bytes.data()) % 32 == 0);
      const std::string expected = pattern(view.bytes.size());
      CHECK(std::memcmp(view.bytes.data(), expected.data(), expected.size()) == 0);
    }
  }
}

TEST_CASE("GGUF writer: a string is patched in place by one of the same length") {
  const TemporaryFolder folder;
  GgufWriter writer(folder / "m.gguf", {{"hash", std::string("????")}, {"after", 7U}},
                    {{"t", DType::kI8, {3}}});
  writer.write(bytes_of("abc"));
  writer.patch_string("hash", "1234");
  CHECK_THROWS_AS(writer.patch_string("hash", "12345"), std::logic_error);
  CHECK_THROWS_AS(writer.patch_string("after", "1234"), std::logic_error);
  CHECK_THROWS_AS(writer.patch_string("missing", "1234"), std::logic_error);
  writer.commit();
  const GgufFile file = GgufFile::open(folder / "m.gguf", FileAccess::kRead);
  CHECK((file.metadata() == GgufMetadata{{"hash", std::string("1234")}, {"after", 7U}}));
  CHECK(file.tensors()[0].bytes[2] == std::byte{'c'});
}

TEST_CASE("GGUF writer: too few or too many bytes never become a file") {
  const TemporaryFolder folder;
  GgufWriter writer(folder / "m.gguf", {}, {{"t", DType::kI8, {3}}});
  CHECK_THROWS_WITH(writer.commit(), Catch::Contains("tensor t is not complete"));
  writer.write(bytes_of("ab"));
  CHECK_THROWS_AS(writer.commit(), std::logic_error);
  CHECK_THROWS_AS(writer.write(bytes_of("cd")), std::logic_error);
  CHECK_FALSE(std::filesystem::exists(folder / "m.gguf"));
}

TEST_CASE("GGUF writer: what the reader would refuse is not written") {
  const TemporaryFolder folder;
  const std::string path = folder / "m.gguf";
  const auto refused = [&](const GgufMetadata& metadata, std::vector<GgufTensorInfo> tensors) {
    const std::string text = refusal_of([&] { GgufWriter(path, metadata, std::move(tensors)); });
    CHECK(folder.names().empty());
    return contains(text, "Nothing was written");
  };
  CHECK(refused({{"", 1U}}, {}));
  CHECK(refused({{"\xff", 1U}}, {}));
  CHECK(refused({{std::string(limits::kMaxMetadataKeyBytes + 1, 'k'), 1U}}, {}));
  CHECK(refused({{"a", 1U}, {"a", 2U}}, {}));
  CHECK(refused({{"general.alignment", 64U}}, {}));
  CHECK(refused({{"general.alignment", std::uint64_t{32}}}, {}));
  CHECK(refused({{"a", std::string(limits::kMaxMetadataStringBytes + 1, 's')}}, {}));
  CHECK(refused({{"a", GgufArray(std::vector<std::uint8_t>(limits::kMaxMetadataArrayLength + 1))}}, {}));
  CHECK(refused(GgufMetadata(limits::kMaxMetadataEntries + 1, {"a", 1U}), {}));
  CHECK(refused({}, {{"", DType::kF32, {1}}}));
  CHECK(refused({}, {{std::string(257, 'n'), DType::kF32, {1}}}));
  CHECK(refused({}, {{"a", DType::kF32, {1}}, {"a", DType::kF32, {1}}}));
  CHECK(refused({}, {{"a", DType::kF32, {0}}}));
  CHECK(refused({}, {{"a", DType::kF32, {1, 1, 1, 1, 1}}}));
  CHECK(refused({}, {{"a", DType::kQ8_0, {33}}}));
  CHECK(refused({}, {{"a", DType::kU8, {1}}}));
  CHECK(refused({}, {{"a", DType::kBool, {1}}}));
  CHECK(refused({}, {{"a", DType::kF32, {1ULL << 32, 1ULL << 32}}}));
  CHECK(refused({}, {{"a", DType::kI8, {1ULL << 63}}, {"b", DType::kI8, {1ULL << 63}}}));  // the sum wraps
  CHECK(refused({}, {{"a", DType::kI8, {~std::uint64_t{0}}}}));  // the padding wraps
}

TEST_CASE("GGUF writer: the writer makes every tensor type that the reader knows") {
  const TemporaryFolder folder;
  std::vector<GgufTensorInfo> tensors;
  for (int i = 0; i <= static_cast<int>(DType::kQ8_K); ++i) {
    const auto dtype = static_cast<DType>(i);
    if (dtype == DType::kU8 || dtype == DType::kBool) continue;
    tensors.push_back({std::string(dtype_info(dtype).name), dtype, {2, 256}});
  }
  GgufWriter writer(folder / "m.gguf", {}, tensors);
  for (const auto& tensor : tensors)
    writer.write(bytes_of(pattern(tensor_bytes(tensor.dtype, tensor.shape).value())));
  writer.commit();
  const GgufFile file = GgufFile::open(folder / "m.gguf", FileAccess::kMap);
  REQUIRE(file.tensors().size() == 20);
  for (const TensorView& tensor : file.tensors()) CHECK(tensor.name == dtype_info(tensor.dtype).name);
}

}  // namespace
}  // namespace ttt::weights
