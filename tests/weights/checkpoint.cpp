// SPDX-License-Identifier: Apache-2.0
#include "weights/checkpoint.h"

#include <sys/stat.h>

#include <catch2/catch.hpp>

#include "tests/weights/fixtures.h"

namespace ttt::weights {
namespace {

std::string checkpoint_refusal(const std::string& path) {
  return refusal_of([&] { Checkpoint::open(path); });
}

constexpr std::string_view kLfsPointer =
    "version https://git-lfs.github.com/spec/v1\noid "
    "sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";

// One tensor of one byte.
std::string shard(std::string_view tensor) {
  return safetensors_bytes(
      "{\"" + std::string(tensor) + R"(":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
      std::string(tensor.substr(0, 1)));
}

// A folder with two shards, tensors "a" and "b".
void write_shards(const TemporaryFolder& folder, std::string_view index) {
  folder.write("config.json", "{}");
  folder.write("1.safetensors", shard("a"));
  folder.write("2.safetensors", shard("b"));
  folder.write("model.safetensors.index.json", index);
}
constexpr std::string_view kIndex =
    R"({"metadata":{"total_size":2},"weight_map":{"a":"1.safetensors","b":"2.safetensors"}})";

TEST_CASE("checkpoint: a GGUF file opens with metadata and tensors") {
  const TemporaryFolder folder;
  const std::string path = folder.write("m.gguf", sample_gguf().bytes());
  for (const FileAccess access : {FileAccess::kMap, FileAccess::kRead, FileAccess::kReadParts}) {
    const Checkpoint checkpoint = Checkpoint::open(path, access);
    CHECK(checkpoint.access() == access);
    CHECK(checkpoint.format() == CheckpointFormat::kGguf);
    CHECK(checkpoint.path() == path);
    CHECK(checkpoint.metadata().size() == 5);
    CHECK(checkpoint.config_json().empty());
    CHECK(checkpoint.tokenizer_files().tokenizer.bytes.empty());
    REQUIRE(checkpoint.tensors().size() == 2);
    const TensorView* blocks = checkpoint.find_tensor("blocks");
    REQUIRE(blocks == &checkpoint.tensors()[1]);
    CHECK(checkpoint.find_tensor("x") == nullptr);
    CHECK(checkpoint.file_of(*blocks) == path);
    CHECK(checkpoint.file_bytes() == std::filesystem::file_size(path));
    checkpoint.release(blocks->bytes);
    CHECK(blocks->bytes[0] == std::byte{'q'});
  }
}

TEST_CASE("checkpoint: a folder with one safetensors file opens with its companions") {
  const TemporaryFolder folder;
  folder.write("config.json", R"({"hidden_size":8})");
  folder.write("tokenizer.model", "raw bytes");
  folder.write("model.safetensors", sample_safetensors());
  Checkpoint opened = Checkpoint::open(folder.path());
  const Checkpoint checkpoint = std::move(opened);
  CHECK(checkpoint.format() == CheckpointFormat::kHuggingFace);
  CHECK(checkpoint.config_json() == R"({"hidden_size":8})");
  CHECK(checkpoint.tokenizer_files().tokenizer.bytes == "raw bytes");
  CHECK(checkpoint.metadata().empty());
  CHECK(checkpoint.tensors().size() == 3);
  CHECK(checkpoint.find_tensor("matrix")->bytes[0] == std::byte{'d'});
  CHECK(checkpoint.file_of(*checkpoint.find_tensor("matrix")) == folder / "model.safetensors");
  CHECK(checkpoint.file_bytes() == sample_safetensors().size());
}

TEST_CASE("checkpoint: tokenizer.json counts where there is no tokenizer.model") {
  const TemporaryFolder folder;
  folder.write("config.json", "{}");
  folder.write("model.safetensors", sample_safetensors());
  folder.write("tokenizer.json", "{\"version\":1}");
  const Checkpoint json = Checkpoint::open(folder.path());
  CHECK(json.tokenizer_files().tokenizer.bytes == "{\"version\":1}");
  CHECK(json.tokenizer_files().tokenizer.path == folder / "tokenizer.json");
  folder.write("tokenizer.model", "raw bytes");
  CHECK(Checkpoint::open(folder.path()).tokenizer_files().tokenizer.bytes == "raw bytes");
}

TEST_CASE("checkpoint: a sharded folder opens, also through links, and each tensor knows its file") {
  const TemporaryFolder folder;
  write_shards(folder, kIndex);
  std::filesystem::rename(folder / "2.safetensors", folder / "blob");
  std::filesystem::create_symlink("blob", folder / "2.safetensors");  // as in the Hugging Face cache
  const Checkpoint checkpoint = Checkpoint::open(folder.path());
  CHECK(checkpoint.tensors().size() == 2);
  const TensorView* b = checkpoint.find_tensor("b");
  REQUIRE(b != nullptr);
  CHECK(b->bytes[0] == std::byte{'b'});
  CHECK(checkpoint.file_of(*b) == folder / "2.safetensors");
  CHECK(checkpoint.file_of(*checkpoint.find_tensor("a")) == folder / "1.safetensors");
  CHECK(checkpoint.file_bytes() == shard("a").size() + shard("b").size());
  checkpoint.release(b->bytes);
  CHECK(b->bytes[0] == std::byte{'b'});
}

TEST_CASE("checkpoint: a tensor is read from the file that it lies in") {
  const TemporaryFolder folder;
  write_shards(folder, kIndex);
  const Checkpoint shards = Checkpoint::open(folder.path(), FileAccess::kReadParts);
  const Checkpoint file =
      Checkpoint::open(folder.write("m.gguf", sample_gguf().bytes()), FileAccess::kReadParts);
  for (const Checkpoint* checkpoint : {&shards, &file}) {
    for (const TensorView& tensor : checkpoint->tensors()) {
      std::vector<std::byte> found(tensor.bytes.size());
      checkpoint->read(tensor.bytes, found);
      CHECK(std::ranges::equal(found, tensor.bytes));
    }
  }
  std::vector<std::byte> other(1);
  CHECK_THROWS_AS(shards.read(file.tensors()[0].bytes.first(1), other), std::logic_error);
  CHECK_THROWS_AS(file.read(shards.tensors()[0].bytes.first(1), other), std::logic_error);
}

TEST_CASE("checkpoint: shards and index must agree on every tensor") {
  const TemporaryFolder folder;
  write_shards(folder, R"({"weight_map":{"a":"1.safetensors","b":"1.safetensors"}})");
  CHECK(contains(checkpoint_refusal(folder.path()),
                 "1.safetensors: b: wanted the tensor that the index names, found none of this name"));
  write_shards(folder, R"({"weight_map":{"a":"2.safetensors","b":"2.safetensors"}})");
  CHECK(contains(checkpoint_refusal(folder.path()), "a: wanted the tensor that the index names"));
  write_shards(folder, R"({"weight_map":{"a":"2.safetensors","b":"1.safetensors"}})");
  CHECK(contains(checkpoint_refusal(folder.path()),
                 "1.safetensors: a: wanted it in 2.safetensors, found it here"));
  write_shards(folder, R"({"weight_map":{"a":"1.safetensors","c":"2.safetensors"}})");
  CHECK(contains(checkpoint_refusal(folder.path()), "b: wanted only tensors that the index names"));
  write_shards(folder, R"({"weight_map":{"a":"1.safetensors","b":"3.safetensors"}})");
  CHECK(contains(checkpoint_refusal(folder.path()),
                 "3.safetensors: wanted the shard that the index names, found no such file"));
  write_shards(folder, kIndex);
  folder.write("2.safetensors", shard("a"));
  CHECK(contains(checkpoint_refusal(folder.path()), "2.safetensors: a: wanted it in 1.safetensors"));
}

TEST_CASE("checkpoint: an index cannot lead out of the folder") {
  const TemporaryFolder outside;
  outside.write("1.safetensors", shard("a"));
  const TemporaryFolder folder;
  const std::string name =
      "../" + std::filesystem::path(outside.path()).filename().string() + "/1.safetensors";
  write_shards(folder, R"({"weight_map":{"a":")" + name + R"(","b":"2.safetensors"}})");
  CHECK(contains(checkpoint_refusal(folder.path()), "a file name without folders"));
}

TEST_CASE("checkpoint: what is no checkpoint is refused with the way to one") {
  const TemporaryFolder folder;
  CHECK(contains(checkpoint_refusal(folder / "missing"), "no such file. Check the spelling of the path."));
  CHECK(
      contains(checkpoint_refusal(folder.path()), "a config.json beside the tensors, found an empty folder"));
  CHECK(contains(checkpoint_refusal(folder.write("empty.gguf", "")), "an empty file"));
  CHECK(contains(checkpoint_refusal(folder.write("lfs.gguf", kLfsPointer)), "git lfs pull"));
  CHECK(contains(checkpoint_refusal(folder.write("model.bin", "PK\x03\x04....")), "a PyTorch file"));
  CHECK(contains(checkpoint_refusal(folder.write("train_state", "\x92\x91\xa4step\xc4")), "a JAX file"));
  CHECK(contains(checkpoint_refusal(folder.write("m.safetensors", sample_safetensors())),
                 "Give the folder that holds it"));
  CHECK(contains(checkpoint_refusal(folder.write("page.gguf", "<!DOCTYPE html><html>")), "a web page"));
  CHECK(contains(checkpoint_refusal(folder.write("text.gguf", "hello")), "a file of another kind"));
  REQUIRE(::mkfifo((folder / "fifo").c_str(), 0600) == 0);
  CHECK(contains(checkpoint_refusal(folder / "fifo"), "a pipe, socket or device"));
}

TEST_CASE("checkpoint: a folder without the files of a checkpoint names what is missing or what to give") {
  const auto with = [](const std::vector<std::pair<std::string, std::string>>& files) {
    const TemporaryFolder folder;
    for (const auto& [name, content] : files) folder.write(name, content);
    return checkpoint_refusal(folder.path());
  };
  CHECK(contains(with({{"model.safetensors", sample_safetensors()}}),
                 "a config.json beside the tensors, found none"));
  CHECK(contains(with({{"m.gguf", sample_gguf().bytes()}}), "/m.gguf instead."));
  CHECK(contains(with({{"streaming_train_state", "\x92\x91\xa4step\xc4"}}), "a JAX file"));
  CHECK(contains(with({{"config.json", "{}"}}), "found a folder without tensors"));
  CHECK(contains(with({{"config.json", "{}"}, {"pytorch_model.bin", "PK\x03\x04"}}),
                 "pytorch_model.bin: wanted a GGUF file"));
  CHECK(contains(with({{"config.json", "{}"}, {"m.gguf", sample_gguf().bytes()}}), "/m.gguf instead."));
  CHECK(contains(with({{"config.json", "{}"}, {"other.safetensors", shard("a")}}),
                 "found other.safetensors. Rename"));
  CHECK(contains(with({{"config.json", "{}"}, {"model.safetensors", std::string(kLfsPointer)}}),
                 "git lfs pull"));
  CHECK(contains(with({{"config.json", "{}"}, {"model.safetensors", ""}}),
                 "model.safetensors: found an empty file"));
  CHECK(
      contains(with({{"config.json", "{}"}, {"model.safetensors", safetensors_bytes("{}", "")}}), "tensors"));
  CHECK(
      contains(with({{"config.json", std::string(kLfsPointer)}, {"model.safetensors", sample_safetensors()}}),
               "git lfs pull"));
  CHECK(contains(with({{"config.json", "{}"},
                       {"model.safetensors", sample_safetensors()},
                       {"tokenizer.model", std::string(kLfsPointer)}}),
                 "tokenizer.model: found a Git LFS pointer"));
  CHECK(contains(
      with({{"config.json", std::string((1 << 20) + 1, ' ')}, {"model.safetensors", sample_safetensors()}}),
      "at most 1048576 bytes"));
}

}  // namespace
}  // namespace ttt::weights
