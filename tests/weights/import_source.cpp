// SPDX-License-Identifier: Apache-2.0
#include "weights/import_source.h"

#include <catch2/catch.hpp>

#include "tests/jax_bytes.h"
#include "tests/weights/fixtures.h"

namespace ttt::weights {
namespace {

TEST_CASE("import source: a JAX checkpoint is found as a file and in a folder with what belongs to it") {
  const TemporaryFolder folder;
  const std::string bytes = test::sample_jax_stream();
  const std::string path = folder.write("streaming_train_state_4800", bytes);
  folder.write("config.json", "{}");
  folder.write("tokenizer.model", "pieces");

  const auto alone = open_import_source(path);
  REQUIRE(alone);
  CHECK(alone->format == "JAX train state");
  CHECK(alone->file_bytes == bytes.size());
  CHECK(alone->archive->tensors().size() == 3);
  CHECK(alone->config_json.empty());  // only what was named
  CHECK(alone->tokenizer_files.tokenizer.bytes.empty());

  const auto with_companions = open_import_source(folder.path());
  REQUIRE(with_companions);
  CHECK(with_companions->archive->path() == path);
  CHECK(with_companions->config_json == "{}");
  CHECK(with_companions->config_path == folder / "config.json");
  CHECK(with_companions->tokenizer_files.tokenizer.bytes == "pieces");
}

TEST_CASE("import source: parameters without an optimizer are named so") {
  const TemporaryFolder folder;
  const auto source = open_import_source(
      folder.write("any name", test::jax_record({"w"}, test::jax_array({1}, "int8", "a"))));
  REQUIRE(source);
  CHECK(source->format == "JAX parameters");
}

TEST_CASE("import source: what opens directly, and what is something else, is left to others") {
  const TemporaryFolder folder;
  CHECK_FALSE(open_import_source(folder.path()));
  CHECK_FALSE(open_import_source(folder.write("a.gguf", sample_gguf().bytes())));
  CHECK_FALSE(open_import_source(folder.write("page", "<html>")));
  folder.write("streaming_params", "version https://git-lfs.github.com/spec/v1\n");
  CHECK_FALSE(open_import_source(folder.path()));
  folder.write("streaming_params", test::sample_jax_stream());
  folder.write("other.safetensors", sample_safetensors());
  CHECK(open_import_source(folder.path()));
  folder.write("model.safetensors", sample_safetensors());
  CHECK_FALSE(open_import_source(folder.path()));
}

TEST_CASE("import source: a folder with two checkpoints, or with a damaged one, is refused") {
  const TemporaryFolder folder;
  folder.write("streaming_params", test::sample_jax_stream().substr(0, 90));
  CHECK(contains(refusal_of([&] { open_import_source(folder.path()); }), "streaming_params"));
  folder.write("streaming_train_state", test::sample_jax_stream());
  CHECK(contains(refusal_of([&] { open_import_source(folder.path()); }),
                 "wanted one checkpoint, found streaming_params and streaming_train_state"));
}

TEST_CASE("import source: a companion that is a stand-in is refused") {
  const TemporaryFolder folder;
  folder.write("streaming_params", test::sample_jax_stream());
  folder.write("tokenizer.model", "version https://git-lfs.github.com/spec/v1\n");
  CHECK(contains(refusal_of([&] { open_import_source(folder.path()); }), "git lfs pull"));
}

}  // namespace
}  // namespace ttt::weights
