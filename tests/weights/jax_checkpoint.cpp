// SPDX-License-Identifier: Apache-2.0
#include "weights/jax_checkpoint.h"

#include <catch2/catch.hpp>

#include "tests/jax_bytes.h"
#include "tests/weights/fixtures.h"
#include "weights/limits.h"

namespace ttt::weights {
namespace {

using test::jax_array;
using test::jax_record;
using test::msgpack_array;
using test::msgpack_binary;
using test::msgpack_extension;
using test::msgpack_map;
using test::msgpack_string;

JaxCheckpoint parse_jax(std::string_view bytes) { return JaxCheckpoint::parse(bytes_of(bytes), "state"); }

std::string jax_refusal(std::string_view bytes) {
  return refusal_of([&] { parse_jax(bytes); });
}

// Of a stream whose one parameter "w" has this payload.
std::string payload_refusal(std::string_view payload) { return jax_refusal(jax_record({"w"}, payload)); }

std::string values_of(const JaxCheckpoint& checkpoint, std::size_t index) {
  const ArchivedTensor& tensor = checkpoint.tensors()[index];
  std::string values(tensor_bytes(tensor.dtype, tensor.shape).value(), '\0');
  checkpoint.read(index, std::as_writable_bytes(std::span(values)));
  return values;
}

TEST_CASE("JAX: the parameters of a train state are found, the rest is stepped over") {
  const std::string bytes = test::sample_jax_stream();
  const JaxCheckpoint checkpoint = parse_jax(bytes);
  CHECK(checkpoint.is_train_state());
  CHECK(checkpoint.file_bytes() == bytes.size());
  REQUIRE(checkpoint.tensors().size() == 3);
  CHECK(checkpoint.tensors()[0].name == "model/h/0/norm/scale");  // one component held the last slash
  CHECK(checkpoint.tensors()[0].dtype == DType::kBF16);
  CHECK(checkpoint.tensors()[0].shape == Shape{2, 3});
  CHECK(values_of(checkpoint, 0) == "0123456789ab");
  CHECK(checkpoint.tensors()[1].name == "model/wte");
  CHECK(checkpoint.tensors()[1].shape == Shape{2, 3});
  CHECK(values_of(checkpoint, 1) == std::string(16, 'a') + std::string(8, 'b'));  // chunks in number order
  CHECK(checkpoint.tensors()[2].shape == Shape{0, 5});
  CHECK(values_of(checkpoint, 2).empty());
}

TEST_CASE("JAX: a file and the same bytes in memory are the same checkpoint") {
  const TemporaryFolder folder;
  const std::string bytes = test::sample_jax_stream();
  const JaxCheckpoint checkpoint = JaxCheckpoint::open(folder.write("streaming_train_state", bytes));
  REQUIRE(checkpoint.tensors().size() == 3);
  CHECK(values_of(checkpoint, 0) == "0123456789ab");
  CHECK(values_of(checkpoint, 1) == values_of(parse_jax(bytes), 1));
}

TEST_CASE("JAX: the forms that the official code has written are all read") {
  const std::string array = jax_array({1}, "float32", "abcd");
  const auto names = [](const std::string& bytes) {
    std::vector<std::string> list;
    const JaxCheckpoint checkpoint = parse_jax(bytes);
    for (const ArchivedTensor& tensor : checkpoint.tensors()) list.push_back(tensor.name);
    return list;
  };
  using Names = std::vector<std::string>;
  CHECK(names(jax_record({"model", "w"}, array)) == Names{"model/w"});            // streaming_params
  CHECK(names(jax_record({"params", "model", "w"}, array)) == Names{"model/w"});  // with Flax's collection
  CHECK_FALSE(parse_jax(jax_record({"model", "w"}, array)).is_train_state());
  // A bare integer for the step; the payload as a string, as msgpack-python wrote it before 1.0.
  const std::string string_payload =
      msgpack_array({msgpack_array({msgpack_string("w")}), msgpack_string(array)});
  CHECK(names(jax_record({"step"}, "\x01") + string_payload) == Names{"w"});
  // A NumPy scalar; every type.
  const std::string scalar =
      msgpack_extension(3, msgpack_array({"\x90", msgpack_string("float64"), msgpack_binary("12345678")}));
  CHECK(parse_jax(jax_record({"w"}, scalar)).tensors()[0].shape.empty());
  for (const auto& [name, size] : {std::pair{"bfloat16", 2},
                                   {"float16", 2},
                                   {"float32", 4},
                                   {"float64", 8},
                                   {"int64", 8},
                                   {"int32", 4},
                                   {"int16", 2},
                                   {"int8", 1},
                                   {"uint8", 1}}) {
    INFO(name);
    CHECK(
        payload_refusal(jax_array({3}, name, std::string(3 * static_cast<std::size_t>(size), 'v'))).empty());
  }
}

TEST_CASE("JAX: a file cut at any byte is refused, but where a record ends") {
  const std::string bytes = test::sample_jax_stream();
  int accepted = 0;
  for (std::size_t size = 1; size < bytes.size(); ++size) {
    const std::string part = bytes.substr(0, size);
    const std::string text = jax_refusal(part);
    if (text.empty()) {
      ++accepted;
      CHECK(parse_jax(part).tensors().size() <= 3);
    } else {
      CHECK(contains(text, "state: "));
    }
  }
  CHECK(accepted == 3);  // behind each parameter; before the first there is none
}

TEST_CASE("JAX: any byte may be anything: refused, or tensors that lie inside the file") {
  const std::string bytes = test::sample_jax_stream();
  int refused = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    for (const int value : {0x00, 0x01, 0x7f, 0x80, 0x92, 0xc1, 0xc4, 0xc6, 0xc9, 0xdd, 0xdf, 0xff}) {
      std::string changed = bytes;
      changed[i] = static_cast<char>(value);
      const std::string text = refusal_of([&] {
        const JaxCheckpoint checkpoint = parse_jax(changed);
        for (std::size_t t = 0; t < checkpoint.tensors().size(); ++t) {
          CHECK(values_of(checkpoint, t).size() <= changed.size());
        }
      });
      if (!text.empty()) ++refused;
    }
  }
  CHECK(refused > 1000);
}

TEST_CASE("JAX: an array whose size is not that of its shape is refused") {
  CHECK(contains(payload_refusal(jax_array({2, 2}, "float32", "abcd")), "w: wanted as many bytes as [2, 2]"));
  CHECK(contains(payload_refusal(jax_array({}, "float32", "abcde")), "as many bytes"));
  CHECK(contains(payload_refusal(jax_array({1ULL << 62, 4}, "float32", "")), "as many bytes"));
  CHECK(contains(payload_refusal(jax_array({1ULL << 32, 1ULL << 32}, "float32", "abcd")), "as many bytes"));
  CHECK(contains(payload_refusal(jax_array({1, 1, 1, 1, 1, 1, 1, 1, 1}, "int8", "a")), "at most 8 extents"));
  CHECK(contains(payload_refusal(jax_array({1}, "float32", "abcd") + "x"), "bytes behind it"));
}

TEST_CASE("JAX: what is no array of real numbers is refused by name") {
  CHECK(contains(payload_refusal("\x01"),
                 "w: wanted an array (MessagePack extension 1), found a non-negative"));
  CHECK(contains(payload_refusal(msgpack_extension(2, "\x92\x01\x01")), "found extension 2"));  // complex
  CHECK(contains(payload_refusal(jax_array({1}, "object", "abcdefgh")), "'object'"));
  CHECK(contains(payload_refusal(jax_array({1}, "complex64", "abcdefgh")), "'complex64'"));
  CHECK(contains(payload_refusal("\x80"), "another map"));
  CHECK(contains(jax_refusal(msgpack_array({msgpack_array({msgpack_string("w")}), "\xc0"})), "found nil"));
}

TEST_CASE("JAX: chunks that do not make up their array are refused") {
  const auto chunked = [](const std::string& marker, const std::string& shape, const std::string& chunks) {
    return payload_refusal(
        msgpack_map({{"__msgpack_chunked_array__", marker}, {"shape", shape}, {"chunks", chunks}}));
  };
  const std::string shape = msgpack_map({{"0", "\x02"}});
  const std::string half = jax_array({1}, "float32", "abcd");
  CHECK(chunked("\xc3", shape, msgpack_map({{"0", half}, {"1", half}})).empty());
  CHECK(contains(chunked("\xc3", shape, msgpack_map({{"0", half}})), "chunks that make up [2]"));
  CHECK(contains(chunked("\xc3", shape, msgpack_map({{"0", half}, {"2", half}})), "chunks 0, 1"));
  CHECK(contains(chunked("\xc3", shape, msgpack_map({{"0", half}, {"0", half}})), "chunks 0, 1"));
  CHECK(contains(chunked("\xc3", shape, msgpack_map({{"0", half}, {"01", half}})), "chunks 0, 1"));
  CHECK(contains(chunked("\xc3", shape, "\x80"), "1 to"));
  CHECK(contains(chunked("\xc2", shape, msgpack_map({{"0", half}, {"1", half}})), "one of them missing"));
  CHECK(contains(chunked("\xc3", msgpack_map({{"1", "\x02"}}), msgpack_map({{"0", half}})), "axes 0, 1"));
  const std::string other = jax_array({4}, "int8", "abcd");
  CHECK(contains(chunked("\xc3", shape, msgpack_map({{"0", half}, {"1", other}})), "chunks of one type"));
}

TEST_CASE("JAX: a path is 1 to 64 names in UTF-8, and no parameter comes twice") {
  const std::string array = jax_array({1}, "int8", "a");
  const std::string record = jax_record({"w"}, array);
  CHECK(contains(jax_refusal(record + record), "w: wanted each parameter once"));
  // A slash inside a component and nesting are the same name.
  CHECK(
      contains(jax_refusal(jax_record({"a", "b"}, array) + jax_record({"a/b"}, array)), "a/b: wanted each"));
  CHECK(contains(jax_refusal(jax_record({}, array)), "a path of 1 to 64 components"));
  CHECK(contains(jax_refusal(jax_record({""}, array)), "names in UTF-8"));
  CHECK(contains(jax_refusal(jax_record({"\xff"}, array)), "names in UTF-8"));
  CHECK(contains(jax_refusal(jax_record({std::string(limits::kMaxTensorNameBytes + 1, 'n')}, array)),
                 "at most 256"));
  const std::string long_path = "\xdc" + std::string("\0\x41", 2) + std::string(65 * 2, '\xa0');
  CHECK(contains(jax_refusal("\x92" + long_path), "a path of 1 to 64 components"));
}

TEST_CASE("JAX: a stream of anything else is refused") {
  CHECK(contains(jax_refusal("\x93\x91\xa1w\xc0\xc0"), "a pair of a path and an array"));
  CHECK(contains(jax_refusal("\x81\xa1w\xc0"), "wanted an array, found a map"));
  CHECK(contains(jax_refusal(jax_record({"step"}, "\x01")), "wanted parameters, found none"));
  CHECK(contains(jax_refusal(jax_record({"w"}, jax_array({1}, "int8", "a")) + "\n"), "wanted an array"));
  CHECK(contains(jax_refusal(std::string(100'000, '\x91')), "a pair"));
  CHECK(contains(jax_refusal("\x92\x91\xa4step\xc6\xff\xff\xff\xff"), "bytes of contents"));
  std::string many = jax_record({"w"}, jax_array({1}, "int8", "a"));
  for (int i = 0; i < 4 * (1 << 16); ++i) many += "\x92\x91\xa4step\xc0";
  CHECK(contains(jax_refusal(many), "records"));
}

TEST_CASE("JAX: names and headers that fill more than a window are refused, not read on and on") {
  std::string path = "\xdc" + std::string("\0\x40", 2);
  for (int i = 0; i < 64; ++i) path += msgpack_string(std::string(100, 'n'));
  CHECK(contains(jax_refusal("\x92" + path + "\xc4\x01x"), "headers of at most 4096 bytes"));
}

TEST_CASE("JAX: a file that shrinks after it was opened is refused when it is read") {
  const TemporaryFolder folder;
  const std::string path = folder.write("state", test::sample_jax_stream());
  const JaxCheckpoint checkpoint = JaxCheckpoint::open(path);
  std::filesystem::resize_file(path, 60);
  CHECK(contains(refusal_of([&] { values_of(checkpoint, 1); }), "the file shrank while it was read"));
}

TEST_CASE("JAX: a stream is known by its first bytes") {
  CHECK(is_jax_stream("\x92\x91\xa4step"));
  CHECK(is_jax_stream("\x92\xdc"));
  CHECK_FALSE(is_jax_stream("\x92"));
  CHECK_FALSE(is_jax_stream("\x92\xa1w"));
  CHECK_FALSE(is_jax_stream("\x81\xa6params"));
  CHECK_FALSE(is_jax_stream("GGUF"));
}

}  // namespace
}  // namespace ttt::weights
