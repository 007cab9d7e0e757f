// SPDX-License-Identifier: Apache-2.0
// Faults that readers of model files elsewhere had, by the names under which they became known. Each case
// builds the file that set the fault off, or its nearest relative in our formats. None may be removed because
// a reader takes too long or too much memory over it: that is the fault.
#include <catch2/catch.hpp>

#include "tests/weights/fixtures.h"
#include "weights/limits.h"

namespace ttt::weights {
namespace {

std::string gguf_refusal(std::string_view bytes) {
  return refusal_of([&] { parse_gguf(bytes); });
}
std::string safetensors_refusal(std::string_view json, std::string_view data) {
  const std::string bytes = safetensors_bytes(json, data);
  return refusal_of([&] { parse_safetensors(bytes); });
}

ByteBuilder header(std::uint64_t num_tensors, std::uint64_t num_entries) {
  return ByteBuilder().raw("GGUF").value(3U).value(num_tensors).value(num_entries);
}

ByteBuilder& add_tensor(ByteBuilder& b, std::string_view name, const std::vector<std::uint64_t>& extents,
                        std::uint64_t offset, std::uint32_t type = 0) {
  b.text("", name).value(static_cast<std::uint32_t>(extents.size()));
  for (const std::uint64_t extent : extents) b.value(extent);
  return b.value(type).value(offset);
}

TEST_CASE("CVE-2024-21802: a rank above four is refused before its extents are read") {
  for (const std::uint32_t rank : {5U, 8U, 0x7fffffffU, 0xffffffffU}) {
    ByteBuilder b = header(1, 0).text("", "t").value(rank);
    for (int i = 0; i < 64; ++i) b.value(std::uint64_t{1});
    CHECK(contains(gguf_refusal(b.bytes()), "at most 4 extents"));
  }
}

TEST_CASE("CVE-2024-21836: a tensor count times the size of an entry does not wrap") {
  for (const std::uint64_t count : {0x0aaaaaaaaaaaaaabULL, 0x1745d1745d1745d2ULL, ~0ULL, 1ULL << 63}) {
    CHECK(contains(gguf_refusal(header(count, 0).raw(std::string(256, '\0')).bytes()),
                   "a tensor count of at most"));
  }
}

TEST_CASE("CVE-2024-23605: a metadata count times the size of an entry does not wrap") {
  for (const std::uint64_t count : {0x0555555555555556ULL, 0x2000000000000001ULL, ~0ULL, 1ULL << 63}) {
    CHECK(contains(gguf_refusal(header(0, count).raw(std::string(256, '\0')).bytes()),
                   "a metadata count of at most"));
  }
}

TEST_CASE("CVE-2024-21825: an array's length times the size of its elements does not wrap") {
  for (const std::uint32_t type : {0U, 4U, 8U, 10U, 12U}) {
    for (const std::uint64_t count : {1ULL << 60, 1ULL << 61, (1ULL << 61) + 1, ~0ULL}) {
      const ByteBuilder b =
          header(0, 1).text("", "k").value(9U).value(type).value(count).raw(std::string(256, '\0'));
      CHECK(contains(gguf_refusal(b.bytes()), "an array of at most"));
    }
  }
}

TEST_CASE("CVE-2024-23496: a string's length plus one does not wrap") {
  CHECK(contains(gguf_refusal(header(0, 1).value(~0ULL).raw(std::string(64, 'k')).bytes()),
                 "a key of at most"));
  CHECK(contains(gguf_refusal(header(0, 1).text("", "k").value(8U).value(~0ULL).raw("text").bytes()),
                 "a string of at most"));
  CHECK(contains(gguf_refusal(header(1, 0).value(~0ULL).raw(std::string(64, 't')).bytes()),
                 "a tensor name of at most"));
}

TEST_CASE("CVE-2024-32878, CVE-2024-41130: a list that breaks off leaves nothing half made") {
  ByteBuilder b = header(0, 1).text("", "k").value(9U).value(8U).value(std::uint64_t{50});
  for (int i = 0; i < 50; ++i) b.text("", std::string(40, 's'));
  REQUIRE(gguf_refusal(b.bytes()).empty());
  for (std::size_t size = 0; size < b.bytes().size(); ++size)
    CHECK_FALSE(gguf_refusal(b.bytes().substr(0, size)).empty());
}

TEST_CASE("CVE-2025-49847: a length of 2^31 + 1 is not taken for a negative number") {
  for (const std::uint64_t length : {0x80000001ULL, 0xffffffffULL, 0x100000001ULL}) {
    CHECK_FALSE(gguf_refusal(header(0, 1).value(length).raw("k").bytes()).empty());
    CHECK_FALSE(gguf_refusal(header(0, 1).text("", "k").value(8U).value(length).raw("text").bytes()).empty());
    CHECK_FALSE(
        gguf_refusal(
            header(0, 1).text("", "k").value(9U).value(8U).value(std::uint64_t{1}).value(length).bytes())
            .empty());
    CHECK_FALSE(
        safetensors_refusal(
            R"({"a":{"dtype":"U8","shape":[)" + std::to_string(length) + R"(],"data_offsets":[0,1]}})", "d")
            .empty());
  }
}

TEST_CASE("CVE-2025-53630, CVE-2026-27940: the sum of all sizes does not wrap") {
  for (const std::uint64_t size : {1ULL << 63, (1ULL << 63) - 32, ~0ULL - 31}) {
    ByteBuilder b = header(2, 0);
    add_tensor(b, "a", {size}, 0, 24);
    add_tensor(b, "b", {size}, size, 24);  // I8
    CHECK_FALSE(gguf_refusal(b.align(32).raw(std::string(64, 'd')).bytes()).empty());
  }
  const std::string half = "9223372036854775808";
  CHECK_FALSE(safetensors_refusal(R"({"a":{"dtype":"U8","shape":[)" + half + R"(],"data_offsets":[0,)" +
                                      half + R"(]},"b":{"dtype":"U8","shape":[)" + half +
                                      R"(],"data_offsets":[)" + half + ",0]}}",
                                  "")
                  .empty());
}

TEST_CASE("CVE-2026-33298: the bytes of one tensor do not wrap") {
  // Elements fit 64 bits, bytes do not; with the wrapped size the tensor would lie inside the file.
  for (const std::vector<std::uint64_t>& extents : {std::vector<std::uint64_t>{(1ULL << 62) + 8},
                                                    {1ULL << 31, 1ULL << 31, 1},
                                                    {1ULL << 32, 1ULL << 32},
                                                    {1ULL << 16, 1ULL << 16, 1ULL << 16, 1ULL << 16}}) {
    ByteBuilder b = header(1, 0);
    add_tensor(b, "a", extents, 0);
    CHECK(contains(gguf_refusal(b.align(32).raw(std::string(32, 'd')).bytes()), "a size below 2^64 bytes"));
  }
  CHECK_FALSE(safetensors_refusal(
                  R"({"a":{"dtype":"F32","shape":[4611686018427387905],"data_offsets":[0,4]}})", "dddd")
                  .empty());
}

TEST_CASE("llama.cpp #19856: rounding a size up to the alignment does not wrap to zero") {
  for (const std::uint64_t size : {~0ULL, ~0ULL - 1, ~0ULL - 30}) {
    ByteBuilder b = header(1, 0);
    add_tensor(b, "a", {size}, 0, 24);
    CHECK(contains(gguf_refusal(b.align(32).raw(std::string(32, 'd')).bytes()),
                   "from offset 0 on, found 32 bytes"));
  }
  for (const std::uint32_t alignment : {0U, 1U << 31, 0x80000001U, 0xffffffffU}) {
    CHECK_FALSE(
        gguf_refusal(header(0, 1).text("", "general.alignment").value(4U).value(alignment).bytes()).empty());
  }
}

TEST_CASE("CVE-2026-7482: a tensor that reaches behind the file is refused, by one byte and by many") {
  for (const std::uint64_t size : {33ULL, 64ULL, 1ULL << 20, 1ULL << 40}) {
    ByteBuilder b = header(1, 0);
    add_tensor(b, "a", {size}, 0, 24);
    CHECK(contains(gguf_refusal(b.align(32).raw(std::string(32, 'd')).bytes()),
                   "found 32 bytes of tensor data"));
  }
  for (const std::uint64_t offset : {32ULL, 64ULL, 1ULL << 40, ~0ULL - 31, ~0ULL - 63}) {
    ByteBuilder b = header(1, 0);
    add_tensor(b, "a", {32}, offset, 24);
    CHECK(contains(gguf_refusal(b.align(32).raw(std::string(32, 'd')).bytes()),
                   "found 32 bytes of tensor data"));
  }
  CHECK_FALSE(safetensors_refusal(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", "d").empty());
}

TEST_CASE("CVE-2025-62608: a header is not read beyond a file of a few bytes") {
  for (std::size_t size = 0; size <= 32; ++size) {
    CHECK_FALSE(gguf_refusal(std::string(size, '\xff')).empty());
    CHECK_FALSE(gguf_refusal(sample_gguf().bytes().substr(0, size)).empty());
    const std::string short_file = std::string(size, '\0');
    CHECK_FALSE(refusal_of([&] { parse_safetensors(short_file); }).empty());
  }
}

TEST_CASE("a value size of more than a terabyte is refused without asking for memory") {
  ByteBuilder b = header(0, 1).text("", "k").value(9U).value(10U).value(1ULL << 40);
  CHECK(contains(gguf_refusal(b.bytes()), "an array of at most 4194304 values"));
}

TEST_CASE("nesting of 10^2 to 10^6 levels does not use up the stack") {
  for (std::size_t depth = 100; depth <= 1'000'000; depth *= 10) {
    std::string lists = R"({"__metadata__":)";
    std::string objects = R"({"a":)";
    for (std::size_t i = 0; i < depth; ++i) {
      lists += '[';
      objects += R"({"x":)";
    }
    CHECK_FALSE(safetensors_refusal(lists, "").empty());
    CHECK_FALSE(safetensors_refusal(objects, "").empty());
    ByteBuilder b = header(0, 1).text("", "k");
    for (std::size_t i = 0; i < depth; ++i) b.value(9U).value(9U).value(std::uint64_t{1});
    CHECK(contains(gguf_refusal(b.bytes()), "an array of arrays"));
  }
}

}  // namespace
}  // namespace ttt::weights
