// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>
#include <tuple>

#include "tests/weights/fixtures.h"
#include "weights/gguf.h"
#include "weights/limits.h"

namespace ttt::weights {
namespace {

std::string gguf_refusal(std::string_view bytes) {
  return refusal_of([&] { parse_gguf(bytes); });
}

ByteBuilder header(std::uint64_t num_tensors, std::uint64_t num_entries) {
  return ByteBuilder().raw("GGUF").value(3U).value(num_tensors).value(num_entries);
}

// A file with one metadata entry; `type_and_value` are the bytes behind the key.
std::string with_entry(const ByteBuilder& type_and_value, std::string_view key = "key") {
  return header(0, 1).text("", key).raw(type_and_value.bytes()).bytes();
}

// A file with one tensor of 32 bytes of data, or with more.
struct TensorCase {
  std::string name = "t";
  std::vector<std::uint64_t> extents = {8};  // innermost first, as in the file
  std::uint32_t type = 0;                    // F32
  std::uint64_t offset = 0;
};
std::string with_tensors(const std::vector<TensorCase>& tensors, std::size_t data_bytes,
                         std::size_t alignment = 32) {
  ByteBuilder b = header(tensors.size(), alignment == 32 ? 0 : 1);
  if (alignment != 32) b.text("", "general.alignment").value(4U).value(static_cast<std::uint32_t>(alignment));
  for (const TensorCase& tensor : tensors) {
    b.text("", tensor.name).value(static_cast<std::uint32_t>(tensor.extents.size()));
    for (const std::uint64_t extent : tensor.extents) b.value(extent);
    b.value(tensor.type).value(tensor.offset);
  }
  return b.align(alignment).raw(std::string(data_bytes, 'd')).bytes();
}

TEST_CASE("GGUF: a file gives its metadata in order and its tensors with the outermost extent first") {
  const std::string bytes = sample_gguf().bytes();
  const GgufFile file = parse_gguf(bytes);
  CHECK(file.path() == "test.gguf");
  CHECK(file.file_bytes() == bytes.size());
  const GgufMetadata expected = {
      {"general.alignment", 32U},
      {"name", std::string("a model")},
      {"list", GgufArray(std::vector<std::int32_t>{-1, 0, 1})},
      {"words", GgufArray(std::vector<std::string>{"", "\xe2\x96\x81the"})},
      {"flag", true},
  };
  CHECK((file.metadata() == expected));
  CHECK(find(file.metadata(), "missing") == nullptr);
  REQUIRE(file.tensors().size() == 2);
  const TensorView& matrix = file.tensors()[0];
  CHECK(std::tuple(matrix.name, matrix.dtype, matrix.shape) ==
        std::tuple("matrix", DType::kF32, Shape{2, 3}));
  std::vector<float> values(6);
  std::memcpy(values.data(), matrix.bytes.data(), matrix.bytes.size());
  CHECK(values == std::vector<float>{0, 1, 2, 3, 4, 5});
  const TensorView& blocks = file.tensors()[1];
  CHECK(std::tuple(blocks.name, blocks.dtype, blocks.shape) ==
        std::tuple("blocks", DType::kQ8_0, Shape{2, 32}));
  CHECK(blocks.bytes.size() == 68U);
  CHECK(file.find_tensor("blocks") == &blocks);
  CHECK(file.find_tensor("block") == nullptr);
  CHECK(tensors_lie_inside(file, bytes));
}

TEST_CASE("GGUF: a file on disk opens mapped and read") {
  const TemporaryFolder folder;
  const std::string path = folder.write("m.gguf", sample_gguf().bytes());
  for (const FileAccess access : {FileAccess::kMap, FileAccess::kRead}) {
    const GgufFile file = GgufFile::open(path, access);
    CHECK(file.path() == path);
    const auto bytes = file.find_tensor("blocks")->bytes;
    file.release(bytes);
    CHECK(bytes[0] == std::byte{'q'});
  }
  CHECK(contains(refusal_of([&] { GgufFile::open(folder / "missing", FileAccess::kMap); }), "no such file"));
}

TEST_CASE("GGUF: another magic, version or byte order is refused with advice") {
  CHECK(contains(gguf_refusal(""),
                 "test.gguf: header (byte 0): wanted the four bytes \"GGUF\", found a file of 0 bytes"));
  CHECK(contains(gguf_refusal("GGML\1\0\0\0"), "found \"GGML\""));
  CHECK(contains(gguf_refusal("GGUF"), "a version of 4 bytes"));
  const auto version = [](std::uint32_t number) {
    return gguf_refusal(ByteBuilder().raw("GGUF").value(number).bytes());
  };
  CHECK(contains(version(1), "found version 1. Convert the original checkpoint again"));
  CHECK(contains(version(2), "found version 2. Convert the original checkpoint again"));
  CHECK(contains(version(4), "found version 4. The file is newer than this program"));
  CHECK(contains(version(0x03000000), "a big-endian file. Convert it with gguf_convert_endian.py"));
}

TEST_CASE("GGUF: each value of the limits is checked before the file's bytes are") {
  CHECK(contains(gguf_refusal(header(limits::kMaxTensors + 1, 0).bytes()),
                 "a tensor count of at most 65536, found 65537"));
  CHECK(contains(gguf_refusal(header(0, limits::kMaxMetadataEntries + 1).bytes()),
                 "a metadata count of at most 16384"));
  CHECK(contains(gguf_refusal(header(limits::kMaxTensors, 0).bytes()),
                 "65536 tensors, found 0 bytes before the end"));
  CHECK(contains(gguf_refusal(header(0, limits::kMaxMetadataEntries).bytes()),
                 "16384 metadata entries, found 0 bytes"));
  CHECK(contains(gguf_refusal(with_entry({}, std::string(limits::kMaxMetadataKeyBytes + 1, 'k'))),
                 "a key of at most 4096 bytes"));
  CHECK(contains(gguf_refusal(with_tensors({{.name = std::string(257, 'n')}}, 32)),
                 "a tensor name of at most 256 bytes"));
  CHECK(contains(gguf_refusal(with_entry(ByteBuilder().value(8U).value(limits::kMaxMetadataStringBytes + 1))),
                 "a string of at most 16777216 bytes"));
  CHECK(contains(
      gguf_refusal(with_entry(ByteBuilder().value(9U).value(0U).value(limits::kMaxMetadataArrayLength + 1))),
      "an array of at most 4194304 values"));
}

TEST_CASE("GGUF: a string or an array that the file does not hold is refused at its offset") {
  const std::string text =
      gguf_refusal(with_entry(ByteBuilder().value(8U).value(std::uint64_t{5}).raw("1234")));
  CHECK(contains(
      text,
      "metadata 'key' (byte 47): wanted a string of 5 bytes, found 4 bytes before the end of the file"));
  for (std::uint32_t type = 0; type <= 12; ++type) {
    if (type == 9) continue;
    INFO("array of type " << type);
    CHECK_FALSE(
        gguf_refusal(with_entry(ByteBuilder().value(9U).value(type).value(std::uint64_t{1}))).empty());
    CHECK_FALSE(
        gguf_refusal(with_entry(ByteBuilder().value(9U).value(type).value(limits::kMaxMetadataArrayLength)))
            .empty());
    CHECK(gguf_refusal(with_entry(ByteBuilder().value(9U).value(type).value(std::uint64_t{0}))).empty());
    CHECK_FALSE(gguf_refusal(with_entry(ByteBuilder().value(type))).empty());
  }
}

TEST_CASE("GGUF: unknown types, nested arrays and booleans that are neither are refused") {
  CHECK(contains(gguf_refusal(with_entry(ByteBuilder().value(13U).value(0U))),
                 "a value type from 0 to 12, found 13"));
  CHECK(contains(gguf_refusal(with_entry(ByteBuilder().value(9U).value(13U).value(std::uint64_t{0}))),
                 "found 13"));
  CHECK(contains(gguf_refusal(with_entry(ByteBuilder().value(9U).value(9U).value(std::uint64_t{0}))),
                 "an array of arrays"));
  CHECK(contains(gguf_refusal(with_entry(ByteBuilder().value(7U).value(std::uint8_t{2}))),
                 "a boolean, 0 or 1, found 2"));
  CHECK(contains(
      gguf_refusal(with_entry(ByteBuilder().value(9U).value(7U).value(std::uint64_t{2}).raw("\1\2"))),
      "found 2"));
}

TEST_CASE("GGUF: keys and tensor names are unique, not empty and UTF-8") {
  const ByteBuilder flag = ByteBuilder().value(0U).value(std::uint8_t{1});
  const std::string twice =
      header(0, 2).text("", "key").raw(flag.bytes()).text("", "key").raw(flag.bytes()).bytes();
  CHECK(contains(gguf_refusal(twice), "metadata 'key' (byte 51): wanted each key once, found it twice"));
  const ByteBuilder number = ByteBuilder().value(4U).value(7U);
  CHECK(contains(gguf_refusal(with_entry(number, "")), "a key in UTF-8, found an empty one"));
  CHECK(contains(gguf_refusal(with_entry(flag, "\xff")), R"(found \xff)"));
  CHECK(contains(gguf_refusal(with_tensors({{}, {.offset = 32}}, 64)), "tensor 't' (byte"));
  CHECK(contains(gguf_refusal(with_tensors({{}, {.offset = 32}}, 64)), "wanted each tensor once"));
  CHECK(contains(gguf_refusal(with_tensors({{.name = ""}}, 32)), "a tensor name in UTF-8"));
  CHECK(contains(gguf_refusal(with_tensors({{.name = "a\xc3"}}, 32)), "a tensor name in UTF-8"));
}

TEST_CASE("GGUF: the alignment is a power of two of 32 bits") {
  const auto with_alignment = [](auto value, std::uint32_t type) {
    return gguf_refusal(with_entry(ByteBuilder().value(type).value(value), "general.alignment"));
  };
  for (const std::uint32_t bad : {0U, 3U, 24U, 33U, 1U << 17, 1U << 31, 0xffffffffU}) {
    CHECK(contains(with_alignment(bad, 4), "a power of two, at most 65536"));
  }
  CHECK(contains(with_alignment(std::uint64_t{32}, 10), "a 32-bit unsigned integer"));
  CHECK(contains(with_alignment(32, 5), "a 32-bit unsigned integer"));
  for (const std::size_t good : {1U, 8U, 64U, 4096U}) {
    const std::size_t second = good < 32 ? 32 : good;
    const std::string bytes = with_tensors({{.name = "a"}, {.name = "b", .offset = second}},
                                           second + std::max<std::size_t>(good, 32), good);
    CHECK(gguf_refusal(bytes).empty());
    CHECK(tensors_lie_inside(parse_gguf(bytes), bytes));
  }
}

TEST_CASE("GGUF: a shape has at most four extents, none of them zero, and a size that fits") {
  CHECK(
      contains(gguf_refusal(with_tensors({{.extents = {1, 1, 1, 1, 1}}}, 32)), "at most 4 extents, found 5"));
  CHECK(contains(gguf_refusal(with_tensors({{.extents = {8, 0}}}, 32)), "extents of at least 1, found 0"));
  CHECK(contains(gguf_refusal(with_tensors({{.extents = {1ULL << 32, 1ULL << 32}}}, 32)),
                 "[4294967296, 4294967296]"));
  CHECK(contains(gguf_refusal(with_tensors({{.extents = {1ULL << 62}}}, 32)), "a size below 2^64 bytes"));
  CHECK(
      contains(gguf_refusal(with_tensors({{.extents = {1ULL << 40}}}, 32)), "found 32 bytes of tensor data"));
  CHECK(gguf_refusal(with_tensors({{.extents = {2, 1, 2, 2}}}, 32)).empty());
  CHECK(gguf_refusal(with_tensors({{.extents = {}}}, 32)).empty());  // a scalar
}

TEST_CASE("GGUF: a block type divides the innermost extent") {
  CHECK(contains(gguf_refusal(with_tensors({{.extents = {33}, .type = 8}}, 64)),
                 "rows of whole Q8_0 blocks, found [33]"));
  CHECK(contains(gguf_refusal(with_tensors({{.extents = {1, 32}, .type = 8}}, 64)),
                 "rows of whole Q8_0 blocks"));
  CHECK(contains(gguf_refusal(with_tensors({{.extents = {128, 2}, .type = 12}}, 256)),
                 "rows of whole Q4_K blocks"));
  CHECK(contains(gguf_refusal(with_tensors({{.extents = {255}, .type = 12}}, 160)),
                 "rows of whole Q4_K blocks, found [255]"));
  CHECK(contains(gguf_refusal(with_tensors({{.extents = {288, 2}, .type = 14}}, 480)),
                 "rows of whole Q6_K blocks, found [2, 288]"));
  CHECK(gguf_refusal(with_tensors({{.extents = {32, 1}, .type = 8}}, 64)).empty());
}

TEST_CASE("GGUF: blocks of 256 weights that the file cuts short are refused") {
  CHECK(gguf_refusal(with_tensors({{.extents = {256, 2}, .type = 12}}, 288)).empty());
  CHECK(gguf_refusal(with_tensors({{.extents = {256, 2}, .type = 14}}, 448)).empty());
  CHECK(contains(gguf_refusal(with_tensors({{.extents = {256, 2}, .type = 12}}, 256)),
                 "found 256 bytes of tensor data"));
  CHECK(contains(gguf_refusal(with_tensors({{.extents = {256, 2}, .type = 14}}, 416)),
                 "found 416 bytes of tensor data"));
}

TEST_CASE("GGUF: a tensor type that we do not know is refused with its code") {
  for (const std::uint32_t code : {4U, 5U, 16U, 23U, 29U, 31U, 33U, 39U, 1000U, 0xffffffffU}) {
    CHECK(contains(gguf_refusal(with_tensors({{.type = code}}, 32)),
                   "found type code " + std::to_string(code)));
  }
}

TEST_CASE("GGUF: tensors lie aligned, apart and inside the file, in any order") {
  CHECK(contains(gguf_refusal(with_tensors({{.offset = 4}}, 64)), "an offset divisible by 32, found 4"));
  CHECK(contains(gguf_refusal(with_tensors({{.offset = 32}}, 32)),
                 "32 bytes (padded to 32) from offset 32 on"));
  CHECK(contains(gguf_refusal(with_tensors({{.offset = ~std::uint64_t{31}}}, 32)),
                 "found 32 bytes of tensor data"));
  CHECK(contains(gguf_refusal(with_tensors({{.name = "a"}, {.name = "b"}}, 64)), "an offset of 32 or more"));
  const TensorCase large = {.name = "large", .extents = {9}};  // 36 bytes: its padding reaches to 64
  CHECK(contains(gguf_refusal(with_tensors({large, {.name = "b", .offset = 32}}, 96)), "tensor 'b'"));
  const std::string reversed = with_tensors({{.name = "b", .offset = 64}, large}, 96);
  const GgufFile file = parse_gguf(reversed);
  CHECK(file.tensors()[0].name == "b");
  CHECK(file.tensors()[0].bytes.data() - file.tensors()[1].bytes.data() == 64);
  CHECK(tensors_lie_inside(file, reversed));
}

TEST_CASE("GGUF: the file ends where its last tensor's padding does") {
  const std::string bytes = with_tensors({{.extents = {9}}}, 64);
  CHECK(gguf_refusal(bytes).empty());
  CHECK(contains(gguf_refusal(bytes + "x"), "tensor data (byte"));
  CHECK(contains(gguf_refusal(bytes + std::string(32, '\0')), "wanted 64 bytes, found 96"));
  CHECK(gguf_refusal(header(0, 0).bytes()).empty());
  CHECK(gguf_refusal(header(0, 0).align(32).bytes()).empty());
  CHECK_FALSE(gguf_refusal(header(0, 0).align(64).bytes()).empty());
  CHECK_FALSE(gguf_refusal(header(0, 0).raw("x").bytes()).empty());
}

TEST_CASE("GGUF: a file cut at any byte is refused") {
  const std::string bytes = sample_gguf().bytes();
  REQUIRE(gguf_refusal(bytes).empty());
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const std::string cut = bytes.substr(0, size);  // a copy of its own, so that a sanitizer sees the end
    INFO(size << " bytes");
    CHECK_FALSE(gguf_refusal(cut).empty());
  }
}

TEST_CASE("GGUF: no single bit of a header makes a tensor leave the file") {
  const std::string bytes = sample_gguf().bytes();
  int accepted = 0;
  int refused = 0;
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string copy = bytes;
    copy[bit / 8] = static_cast<char>(copy[bit / 8] ^ (1 << (bit % 8)));
    if (gguf_refusal(copy).empty()) {
      ++accepted;
      CHECK(tensors_lie_inside(parse_gguf(copy), copy));
    } else {
      ++refused;
    }
  }
  CHECK(accepted > 0);
  CHECK(refused > 1000);
}

TEST_CASE("GGUF: boundary values in every count, length, extent, type and offset are refused or harmless") {
  const ByteBuilder sample = sample_gguf();
  REQUIRE(sample.fields().size() == 33);
  for (const ByteBuilder::Field& field : sample.fields()) {
    for (const std::uint64_t number : hostile_numbers(field.width)) {
      const std::string bytes = sample.with(field, number);
      INFO(field.name << " = " << number);
      const bool refused = !gguf_refusal(bytes).empty();
      CHECK((refused || number < kAbsurd));
      if (!refused) CHECK(tensors_lie_inside(parse_gguf(bytes), bytes));
    }
  }
}

}  // namespace
}  // namespace ttt::weights
