// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <tuple>

#include "tests/weights/fixtures.h"
#include "weights/limits.h"
#include "weights/safetensors.h"

namespace ttt::weights {
namespace {

std::string safetensors_refusal(std::string_view bytes) {
  return refusal_of([&] { parse_safetensors(bytes); });
}
// Of a file with this header and `data_bytes` of data.
std::string safetensors_refusal(std::string_view json, std::size_t data_bytes) {
  return safetensors_refusal(safetensors_bytes(json, std::string(data_bytes, 'd')));
}
std::string tensor(std::string_view name, std::string_view dtype, std::string_view shape,
                   std::string_view offsets) {
  return fmt::format(R"("{}":{{"dtype":"{}","shape":{},"data_offsets":{}}})", name, dtype, shape, offsets);
}
std::string object(const std::vector<std::string>& members) {
  return fmt::format("{{{}}}", fmt::join(members, ","));
}
std::string one(std::string_view shape, std::string_view offsets) {
  return object({tensor("a", "F32", shape, offsets)});
}

TEST_CASE("safetensors: a file gives its metadata and its tensors in the order of their data") {
  const std::string bytes = sample_safetensors();
  const SafetensorsFile file = parse_safetensors(bytes);
  CHECK(file.metadata() == std::map<std::string, std::string>{{"format", "pt"}});
  CHECK(file.file_bytes() == bytes.size());
  REQUIRE(file.tensors().size() == 3);
  const auto is = [&](std::size_t i, std::string_view name, DType dtype, const Shape& shape,
                      std::size_t size) {
    const TensorView& view = file.tensors()[i];
    return std::tuple(view.name, view.dtype, view.shape, view.bytes.size()) ==
           std::tuple(std::string(name), dtype, shape, size);
  };
  CHECK(is(0, "matrix", DType::kF32, {2, 3}, 24));
  CHECK(is(1, "scalar", DType::kBF16, {}, 2));
  CHECK(is(2, "nothing", DType::kI64, {0, 5}, 0));
  CHECK(file.find_tensor("scalar") == &file.tensors()[1]);
  CHECK(file.find_tensor("__metadata__") == nullptr);
  CHECK(tensors_lie_inside(file, bytes));
}

TEST_CASE("safetensors: a file on disk opens mapped and read") {
  const TemporaryFolder folder;
  const std::string path = folder.write("model.safetensors", sample_safetensors());
  for (const FileAccess access : {FileAccess::kMap, FileAccess::kRead}) {
    const SafetensorsFile file = SafetensorsFile::open(path, access);
    const auto bytes = file.find_tensor("matrix")->bytes;
    file.release(bytes);
    CHECK(bytes[0] == std::byte{'d'});
  }
}

TEST_CASE(
    "safetensors: the reference's liberties are ours: order, padding, unknown fields, zero-size and rank-0 "
    "tensors") {
  CHECK(safetensors_refusal("{}", 0).empty());
  CHECK(safetensors_refusal("{}      ", 0).empty());
  const auto two = [](const std::string& first, const std::string& second, std::size_t data_bytes) {
    return safetensors_refusal(object({first, second}), data_bytes);
  };
  CHECK(two(tensor("b", "F32", "[1]", "[4,8]"), tensor("a", "F32", "[1]", "[0,4]"), 8).empty());
  CHECK(two(tensor("a", "F64", "[0]", "[0,0]"), tensor("b", "U8", "[0,9]", "[0,0]"), 0).empty());
  CHECK(two(tensor("z", "U8", "[1]", "[0,1]"), tensor("a", "U8", "[0]", "[0,0]"), 1).empty());
  constexpr std::string_view kUnknown =
      R"({"a":{"dtype":"U8","x":{"shape":[{}]},"shape":[1],"y":[1],"data_offsets":[0,1],"z":null}})";
  CHECK(safetensors_refusal(kUnknown, 1).empty());
  CHECK(safetensors_refusal(R"({"__metadata__":{}})", 0).empty());
}

TEST_CASE("safetensors: the header's length is checked before the header") {
  CHECK(contains(safetensors_refusal("1234567"), "8 bytes of header length, found a file of 7 bytes"));
  const auto length = [](std::uint64_t n) {
    return safetensors_refusal(ByteBuilder().value(n).raw("{}").bytes());
  };
  CHECK(contains(length(3), "wanted 3 bytes, found 2 before the end of the file"));
  CHECK(contains(length(limits::kMaxSafetensorsHeaderBytes + 1), "at most 100000000 bytes"));
  for (const std::uint64_t number : hostile_numbers(8)) CHECK_FALSE(length(number).empty());
  CHECK(length(2).empty());
}

TEST_CASE("safetensors: the header is one JSON object from its first byte on") {
  CHECK(contains(safetensors_refusal("", 0), "JSON that starts with {, found nothing"));
  CHECK(contains(safetensors_refusal(" {}", 0), "JSON that starts with {"));
  CHECK(contains(safetensors_refusal("[]", 0), "JSON that starts with {"));
  CHECK_FALSE(safetensors_refusal("{", 0).empty());
  CHECK_FALSE(safetensors_refusal("{}}", 0).empty());
  CHECK_FALSE(safetensors_refusal(std::string_view("{}\0", 3), 0).empty());
  CHECK_FALSE(safetensors_refusal("{\"\xff\":1}", 0).empty());
}

TEST_CASE("safetensors: a tensor needs dtype, shape and two offsets, each of its kind") {
  for (const char* json : {
           R"({"a":{}})",
           R"({"a":1})",
           R"({"a":[]})",
           R"({"a":null})",
           R"({"a":"x"})",
           R"({"a":{"dtype":"U8","shape":[1]}})",
           R"({"a":{"dtype":"U8","data_offsets":[0,1]}})",
           R"({"a":{"shape":[1],"data_offsets":[0,1]}})",
           R"({"a":{"dtype":1,"shape":[1],"data_offsets":[0,1]}})",
           R"({"a":{"dtype":["U8"],"shape":[1],"data_offsets":[0,1]}})",
           R"({"a":{"dtype":null,"shape":[1],"data_offsets":[0,1]}})",
           R"({"a":{"dtype":"U8","shape":1,"data_offsets":[0,1]}})",
           R"({"a":{"dtype":"U8","shape":null,"data_offsets":[0,1]}})",
           R"({"a":{"dtype":"U8","shape":{"0":1},"data_offsets":[0,1]}})",
           R"({"a":{"dtype":"U8","shape":[[1]],"data_offsets":[0,1]}})",
           R"({"a":{"dtype":"U8","shape":["1"],"data_offsets":[0,1]}})",
           R"({"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}})",
           R"({"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}})",
           R"({"a":{"dtype":"U8","shape":[-0],"data_offsets":[0,1]}})",
           R"({"a":{"dtype":"U8","shape":[1e0],"data_offsets":[0,1]}})",
           R"({"a":{"dtype":"U8","shape":[18446744073709551617],"data_offsets":[0,1]}})",
           R"({"a":{"dtype":"U8","shape":[true],"data_offsets":[0,1]}})",
           R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}})",
           R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[]}})",
           R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,1]}})",
           R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,-1]}})",
           R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0.0,1]}})",
           R"({"a":{"dtype":"U8","shape":[1],"data_offsets":{"begin":0}}})",
           R"({"a":{"dtype":"U8","shape":[1],"data_offsets":1}})",
           R"({"__metadata__":[]})",
           R"({"__metadata__":null})",
           R"({"__metadata__":{"a":1}})",
           R"({"__metadata__":{"a":["x"]}})",
           R"({"__metadata__":{"a":{"b":"x"}}})",
       }) {
    INFO(json);
    CHECK_FALSE(safetensors_refusal(json, 1).empty());
  }
}

TEST_CASE("safetensors: types are named as the format names them") {
  for (const char* name : {"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"}) {
    CHECK(safetensors_refusal(object({tensor("a", name, "[0]", "[0,0]")}), 0).empty());
  }
  for (const char* name : {"f32", "F8_E4M3", "U16", "U64", "Q8_0", "Q4_K", "", "FLOAT"}) {
    CHECK(contains(safetensors_refusal(object({tensor("a", name, "[0]", "[0,0]")}), 0),
                   "a, dtype: wanted F64, F32"));
  }
}

TEST_CASE("safetensors: duplicate names are refused, of tensors, fields and metadata") {
  const std::string a = tensor("a", "U8", "[1]", "[0,1]");
  CHECK(contains(safetensors_refusal(object({a, a}), 1), "it twice in one object"));
  CHECK_FALSE(safetensors_refusal(R"({"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1)
                  .empty());
  CHECK_FALSE(safetensors_refusal(R"({"__metadata__":{"a":"x","a":"y"}})", 0).empty());
  CHECK_FALSE(safetensors_refusal(R"({"__metadata__":{"a":"x"},"__metadata__":{"b":"y"}})", 0).empty());
}

TEST_CASE("safetensors: tensors tile the data without holes and overlaps to the end of the file") {
  CHECK(safetensors_refusal(one("[2]", "[0,8]"), 8).empty());
  CHECK(contains(safetensors_refusal(one("[2]", "[0,8]"), 9), "tensor data: wanted 8 bytes, found 9 bytes"));
  CHECK(contains(safetensors_refusal(one("[2]", "[0,8]"), 7),
                 "a: wanted data of 8 bytes or more, found 7 bytes"));
  CHECK(contains(safetensors_refusal(one("[2]", "[4,12]"), 12),
                 "a: wanted data_offsets from 0 on, 8 bytes long, found 4 to 12"));
  CHECK_FALSE(safetensors_refusal(one("[2]", "[0,4]"), 8).empty());
  CHECK_FALSE(safetensors_refusal(one("[2]", "[8,0]"), 8).empty());
  const auto two = [](std::string_view first, std::string_view second) {
    return safetensors_refusal(object({tensor("a", "F32", "[1]", first), tensor("b", "F32", "[1]", second)}),
                               8);
  };
  CHECK(two("[0,4]", "[4,8]").empty());
  CHECK_FALSE(two("[0,4]", "[0,4]").empty());
  CHECK_FALSE(two("[0,4]", "[2,6]").empty());
  CHECK_FALSE(two("[0,4]", "[5,9]").empty());
}

TEST_CASE("safetensors: sizes that do not fit 64 bits are refused") {
  CHECK(contains(safetensors_refusal(one("[4294967296,4294967296]", "[0,0]"), 0), "a size below 2^64 bytes"));
  CHECK(contains(safetensors_refusal(one("[4611686018427387904]", "[0,0]"), 0), "a size below 2^64 bytes"));
  CHECK_FALSE(safetensors_refusal(one("[4611686018427387903]", "[0,18446744073709551612]"), 8).empty());
  const std::string last = tensor("b", "U8", "[18446744073709551615]", "[1,0]");
  CHECK_FALSE(
      safetensors_refusal(object({tensor("a", "U8", "[1]", "[0,1]"), last}), 1).empty());  // the sum wraps
}

TEST_CASE("safetensors: rank, names, tensors and metadata have limits") {
  CHECK(safetensors_refusal(one("[1,1,1,1,1,1,1,1]", "[0,4]"), 4).empty());
  CHECK(contains(safetensors_refusal(one("[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4), "at most 8 extents"));
  CHECK(contains(safetensors_refusal(object({tensor(std::string(257, 'n'), "U8", "[0]", "[0,0]")}), 0),
                 "a tensor name of 1 to 256 bytes"));
  CHECK_FALSE(safetensors_refusal(object({tensor("", "U8", "[0]", "[0,0]")}), 0).empty());
  std::string many = "{";
  for (std::uint64_t i = 0; i <= limits::kMaxTensors; ++i)
    many += tensor(std::to_string(i), "U8", "[0]", "[0,0]") + ",";
  many.back() = '}';
  CHECK(contains(safetensors_refusal(many, 0), "at most 65536 tensors"));
  std::string metadata = R"({"__metadata__":{)";
  for (std::uint64_t i = 0; i <= limits::kMaxMetadataEntries; ++i) metadata += fmt::format(R"("{}":"",)", i);
  metadata.back() = '}';
  CHECK(contains(safetensors_refusal(metadata + "}", 0), "at most 16384 entries"));
}

TEST_CASE("safetensors: a file cut at any byte is refused") {
  const std::string bytes = sample_safetensors();
  REQUIRE(safetensors_refusal(bytes).empty());
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const std::string cut = bytes.substr(0, size);
    INFO(size << " bytes");
    CHECK_FALSE(safetensors_refusal(cut).empty());
  }
}

TEST_CASE("safetensors: no single bit of a header makes a tensor leave the file") {
  const std::string bytes = sample_safetensors();
  int accepted = 0;
  int refused = 0;
  for (std::size_t bit = 0; bit < (bytes.size() - 26) * 8; ++bit) {
    std::string copy = bytes;
    copy[bit / 8] = static_cast<char>(copy[bit / 8] ^ (1 << (bit % 8)));
    if (safetensors_refusal(copy).empty()) {
      ++accepted;
      CHECK(tensors_lie_inside(parse_safetensors(copy), copy));
    } else {
      ++refused;
    }
  }
  CHECK(accepted > 0);
  CHECK(refused > 1000);
}

TEST_CASE("safetensors: boundary values in every extent and offset are refused or harmless") {
  for (const std::uint64_t number : hostile_numbers(8)) {
    for (const auto& [shape, offsets] : std::vector<std::pair<std::string, std::string>>{
             {fmt::format("[{}]", number), "[0,8]"},
             {fmt::format("[2,{}]", number), "[0,8]"},
             {"[2]", fmt::format("[{},8]", number)},
             {"[2]", fmt::format("[0,{}]", number)},
             {fmt::format("[{}]", number), fmt::format("[{0},{0}]", number)},
         }) {
      const std::string json = one(shape, offsets);
      const std::string bytes = safetensors_bytes(json, std::string(8, 'd'));
      INFO(json);
      const bool refused = !safetensors_refusal(bytes).empty();
      CHECK((refused || number < kAbsurd));
      if (!refused) CHECK(tensors_lie_inside(parse_safetensors(bytes), bytes));
    }
  }
}

}  // namespace
}  // namespace ttt::weights
