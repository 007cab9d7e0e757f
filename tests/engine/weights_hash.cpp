// SPDX-License-Identifier: Apache-2.0
#include "engine/weights_hash.h"

#include <catch2/catch.hpp>

#include "engine/convert.h"
#include "engine/tensor_pieces.h"
#include "tests/engine/checkpoint_folder.h"

using namespace ttt;
using test::CheckpointFolder;
using weights::DType;

namespace {

std::string hash_of(const weights::Checkpoint& checkpoint) { return weights_hash(load_model(checkpoint)); }

}  // namespace

TEST_CASE("a folder and the file made from it have the same hash") {
  const DType type = GENERATE(DType::kF32, DType::kBF16, DType::kF16);
  CheckpointFolder folder(test::small_config(), type);
  const weights::Checkpoint source = folder.open();
  const Model model = load_model(source);
  convert(model, source.metadata(), nullptr, folder.path("out.gguf"), {.matrix_type = type, .progress = {}});
  CHECK(hash_of(source) == hash_of(weights::Checkpoint::open(folder.path("out.gguf"))));
}

TEST_CASE("weights that are read in parts have the bytes and the hash of mapped ones") {
  CheckpointFolder folder(test::small_config());
  const weights::Checkpoint mapped = folder.open();
  const auto read = weights::Checkpoint::open(mapped.path(), weights::FileAccess::kReadParts);
  const Model model = load_model(read), same = load_model(mapped);
  CHECK(model.fetch);
  CHECK_FALSE(same.fetch);
  const std::vector<NamedTensor> found = list_tensors(model), wanted = list_tensors(same);
  std::vector<std::byte> buffer;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const weights::TensorView whole = with_bytes(model, found[i].view, buffer);
    CHECK(whole.bytes.data() == buffer.data());
    CHECK(std::ranges::equal(whole.bytes, wanted[i].view.bytes));
  }
  CHECK(weights_hash(model) == weights_hash(same));
}

TEST_CASE("one changed bit of one weight changes the hash") {
  CheckpointFolder folder(test::small_config());
  const std::string before = hash_of(folder.open());
  CHECK(before.size() == 32);
  CHECK(before == hash_of(folder.open()));
  float& value = folder.tensors["model.layers.1.seq_modeling_block.b1"][0];
  value = std::nextafter(value, 2.0F);
  CHECK(hash_of(folder.open()) != before);
}

TEST_CASE("progress counts every byte of the source once") {
  CheckpointFolder folder(test::small_config());
  const weights::Checkpoint checkpoint = folder.open();
  std::uint64_t total = 0;
  for (const weights::TensorView& tensor : checkpoint.tensors()) total += tensor.bytes.size();
  std::uint64_t last = 0;
  weights_hash(load_model(checkpoint), [&](std::uint64_t done) {
    CHECK(done > last);
    last = done;
  });
  CHECK(last == total);
}
