// SPDX-License-Identifier: Apache-2.0
// Runs the fuzz targets over their committed corpus, and checks that the readers judge each file as its name
// says: "valid-..." or "refused-...".
#include <catch2/catch.hpp>

#include "tests/weights/fixtures.h"
#include "weights/jax_checkpoint.h"
#include "weights/pickle.h"
#include "weights/shard_index.h"
#include "weights/torch_checkpoint.h"

extern "C" int fuzz_gguf(const std::uint8_t* data, std::size_t size);
extern "C" int fuzz_pickle(const std::uint8_t* data, std::size_t size);
extern "C" int fuzz_jax(const std::uint8_t* data, std::size_t size);
extern "C" int fuzz_safetensors(const std::uint8_t* data, std::size_t size);
extern "C" int fuzz_shard_index(const std::uint8_t* data, std::size_t size);
extern "C" int fuzz_torch(const std::uint8_t* data, std::size_t size);

namespace ttt::weights {
namespace {

struct Counts {
  int valid = 0;
  int refused = 0;
};

template <typename Parse>
Counts replay(const std::string& name, int (*target)(const std::uint8_t*, std::size_t), Parse parse) {
  Counts counts;
  for (const auto& entry : std::filesystem::directory_iterator(TTT_TEST_DATA "/fuzz/corpus/" + name)) {
    const std::string bytes = read_file(entry.path());
    const std::string file_name = entry.path().filename();
    INFO(file_name);
    CHECK(bytes.size() < 2048);
    CHECK(target(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()) ==
          0);  // aborts on a finding
    const std::string refusal = refusal_of([&] { parse(bytes); });
    CHECK(refusal.empty() == file_name.starts_with("valid-"));
    CHECK(refusal.empty() != file_name.starts_with("refused-"));
    ++(refusal.empty() ? counts.valid : counts.refused);
  }
  return counts;
}

TEST_CASE("fuzz replay: the corpus of GGUF files is judged as its names say") {
  const Counts counts = replay("gguf", fuzz_gguf, parse_gguf);
  CHECK(counts.valid >= 15);
  CHECK(counts.refused >= 80);
}

TEST_CASE("fuzz replay: the corpus of safetensors files is judged as its names say") {
  const Counts counts = replay("safetensors", fuzz_safetensors, parse_safetensors);
  CHECK(counts.valid >= 15);
  CHECK(counts.refused >= 80);
}

TEST_CASE("fuzz replay: the corpus of pickles is judged as its names say") {
  const Counts counts =
      replay("pickle", fuzz_pickle, [](const std::string& bytes) { read_pickle(bytes, "test.bin"); });
  CHECK(counts.valid >= 8);
  CHECK(counts.refused >= 40);
}

TEST_CASE("fuzz replay: the corpus of PyTorch files is judged as its names say") {
  const Counts counts = replay("torch", fuzz_torch, [](const std::string& bytes) {
    const auto checkpoint = TorchCheckpoint::parse(bytes_of(bytes), "test.bin");
    for (std::size_t i = 0; i < checkpoint->tensors().size(); ++i) {
      const ArchivedTensor& tensor = checkpoint->tensors()[i];
      std::vector<std::byte> values(*tensor_bytes(tensor.dtype, tensor.shape));
      checkpoint->read(i, values);
    }
  });
  CHECK(counts.valid >= 8);
  CHECK(counts.refused >= 20);
}

TEST_CASE("fuzz replay: the corpus of JAX streams is judged as its names say") {
  const Counts counts = replay(
      "jax", fuzz_jax, [](const std::string& bytes) { JaxCheckpoint::parse(bytes_of(bytes), "test"); });
  CHECK(counts.valid >= 15);
  CHECK(counts.refused >= 50);
}

TEST_CASE("fuzz replay: the corpus of shard indexes is judged as its names say") {
  const Counts counts = replay("shard_index", fuzz_shard_index,
                               [](const std::string& bytes) { parse_shard_index(bytes, "index.json"); });
  CHECK(counts.valid >= 8);
  CHECK(counts.refused >= 25);
}

}  // namespace
}  // namespace ttt::weights
