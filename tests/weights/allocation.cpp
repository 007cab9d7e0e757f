// SPDX-License-Identifier: Apache-2.0
// No header makes a reader take memory for what the file only claims to hold. Counts the memory that operator
// new is asked for in this whole test program.
#include <fmt/format.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <new>

#include "tests/jax_bytes.h"
#include "tests/weights/fixtures.h"
#include "weights/jax_checkpoint.h"
#include "weights/limits.h"
#include "weights/shard_index.h"

namespace {

std::atomic<std::size_t> largest_request = 0;

void* allocate_or_null(std::size_t size) noexcept {
  std::size_t seen = largest_request;
  while (size > seen && !largest_request.compare_exchange_weak(seen, size)) {
  }
  return std::malloc(size == 0 ? 1 : size);
}

void* allocate(std::size_t size) {
  if (void* memory = allocate_or_null(size)) return memory;
  throw std::bad_alloc();
}

}  // namespace

void* operator new(std::size_t size) { return allocate(size); }
void* operator new[](std::size_t size) { return allocate(size); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return allocate_or_null(size); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept { return allocate_or_null(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

namespace ttt::weights {
namespace {

constexpr std::size_t kAllowance = 1 << 20;  // beside the size of the file

// The largest single request while `call` runs.
template <typename Call>
std::size_t largest_request_of(Call call) {
  largest_request = 0;
  refusal_of(call);
  return largest_request;
}
std::size_t gguf_request(std::string_view bytes) {
  return largest_request_of([&] { parse_gguf(bytes); });
}
std::size_t safetensors_request(std::string_view bytes) {
  return largest_request_of([&] { parse_safetensors(bytes); });
}

TEST_CASE("memory: the counter sees a large request") {
  CHECK(largest_request_of([] { std::vector<char>(5'000'000)[0] = 'x'; }) >= 5'000'000);
}

TEST_CASE("memory: no boundary value in a GGUF header asks for more than the file and a mebibyte") {
  const ByteBuilder sample = sample_gguf();
  for (const ByteBuilder::Field& field : sample.fields()) {
    std::vector<std::uint64_t> numbers = hostile_numbers(field.width);
    numbers.insert(numbers.end(), {limits::kMaxTensors, limits::kMaxMetadataEntries,
                                   limits::kMaxMetadataStringBytes, limits::kMaxMetadataArrayLength});
    for (const std::uint64_t number : numbers) {
      const std::string bytes = sample.with(field, number);
      INFO(field.name << " = " << number);
      CHECK(gguf_request(bytes) <= bytes.size() + kAllowance);
    }
  }
}

TEST_CASE("memory: the largest array that a limit allows is not believed before it is seen") {
  for (std::uint32_t type = 0; type <= 12; ++type) {
    const ByteBuilder b = ByteBuilder().raw("GGUF").value(3U).value(std::uint64_t{0}).value(std::uint64_t{1});
    const std::string bytes = ByteBuilder(b)
                                  .text("", "k")
                                  .value(9U)
                                  .value(type)
                                  .value(limits::kMaxMetadataArrayLength)
                                  .raw(std::string(1000, '\0'))
                                  .bytes();
    INFO("type " << type);
    CHECK(gguf_request(bytes) <= bytes.size() + kAllowance);
  }
}

TEST_CASE("memory: a list of strings that are there costs at most four times their bytes") {
  constexpr std::uint64_t kCount = 500'000;
  ByteBuilder b = ByteBuilder().raw("GGUF").value(3U).value(std::uint64_t{0}).value(std::uint64_t{1});
  b.text("", "k").value(9U).value(8U).value(kCount).raw(std::string(kCount * 8, '\0'));  // empty strings
  CHECK(gguf_request(b.bytes()) <= 4 * b.bytes().size());
  const std::string cut = b.bytes().substr(0, b.bytes().size() - 1);
  CHECK(gguf_request(cut) <= cut.size() + kAllowance);
}

TEST_CASE("memory: no safetensors header asks for more than the file and a mebibyte") {
  std::vector<std::string> files;
  for (const std::uint64_t number : hostile_numbers(8)) {
    files.push_back(ByteBuilder().value(number).raw("{}").bytes());
    const std::string json =
        fmt::format(R"({{"a":{{"dtype":"F32","shape":[{0}],"data_offsets":[0,{0}]}}}})", number);
    files.push_back(safetensors_bytes(json, "data"));
  }
  files.push_back(safetensors_bytes(R"({"a":)" + std::string(1'000'000, '['), ""));
  files.push_back(safetensors_bytes(R"({"a":")" + std::string(3'000'000, 'x'), ""));
  files.push_back(safetensors_bytes(R"({"a":")" + std::string(limits::kMaxJsonStringBytes - 1, 'x'), ""));
  std::string keys = "{";
  for (int i = 0; i < 200'000; ++i) keys += fmt::format(R"("{}":{{}},)", i);
  files.push_back(safetensors_bytes(keys, ""));
  std::string extents = R"({"a":{"dtype":"F32","shape":[)";
  for (int i = 0; i < 500'000; ++i) extents += "1,";
  files.push_back(safetensors_bytes(extents, ""));
  std::string unknown = R"({"a":{"x":[)";
  for (int i = 0; i < 500'000; ++i) unknown += "{},";
  files.push_back(safetensors_bytes(unknown, ""));
  for (const std::string& bytes : files) {
    INFO("file of " << bytes.size() << " bytes: " << bytes.substr(8, 40));
    CHECK(safetensors_request(bytes) <= bytes.size() + kAllowance);
  }
}

TEST_CASE("memory: no length in a JAX stream asks for more than the file and a mebibyte") {
  const std::string sample = test::sample_jax_stream();
  std::vector<std::string> files = {"\x92\x91\xa4step\xc6\xff\xff\xff\xff",
                                    "\x92\xdd\xff\xff\xff\xff\xa1w\xc4\x01x", std::string(1'000'000, '\x91')};
  for (std::size_t i = 0; i + 5 < sample.size(); ++i) {  // the largest length and count at any place
    for (const char lead : {'\xc6', '\xc9', '\xdb', '\xdd', '\xdf'}) {
      std::string changed = sample;
      changed.replace(i, 5, std::string(1, lead) + "\xff\xff\xff\xff");
      files.push_back(std::move(changed));
    }
  }
  for (const std::string& bytes : files) {
    CHECK(largest_request_of([&] { JaxCheckpoint::parse(bytes_of(bytes), "test"); }) <=
          bytes.size() + kAllowance);
  }
}

TEST_CASE("memory: a shard index of many unknown values is not kept") {
  std::string text = R"({"x":[)";
  for (int i = 0; i < 1'000'000; ++i) text += "0,";
  text += R"(0],"weight_map":{"a":"1"}})";
  CHECK(largest_request_of([&] { parse_shard_index(text, "index.json"); }) <= text.size() + kAllowance);
}

}  // namespace
}  // namespace ttt::weights
