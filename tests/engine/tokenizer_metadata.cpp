// SPDX-License-Identifier: Apache-2.0
#include "engine/tokenizer_metadata.h"

#include <catch2/catch.hpp>

#include "tests/engine/checkpoint_folder.h"
#include "weights/checkpoint_error.h"

using namespace ttt;
using Catch::Matchers::Contains;
using tokenizer::Tokenizer;

namespace {

// A GGUF file with nothing but a tokenizer, whose lists a test may spoil.
struct TokenizerFile {
  TokenizerFile()
      : folder(test::small_config()), model(test::file_contents(TTT_TEST_DATA "/tokenizer/demo.model")) {
    append_tokenizer(Tokenizer::from_model(model, "demo.model"), metadata);
  }

  template <typename T>
  std::vector<T>& list(std::string_view key) {
    for (auto& [name, value] : metadata) {
      if (name == key) return std::get<std::vector<T>>(std::get<weights::GgufArray>(value));
    }
    throw std::out_of_range(std::string(key));
  }

  weights::Checkpoint open() {
    weights::GgufWriter writer(folder.path("t.gguf"), metadata,
                               {{std::string(kTokenizerTensor), weights::DType::kI8, {model.size()}}});
    writer.write(std::as_bytes(std::span(model)));
    writer.commit();
    return weights::Checkpoint::open(folder.path("t.gguf"));
  }

  test::CheckpointFolder folder;
  std::string model;
  weights::GgufMetadata metadata;
};

}  // namespace

TEST_CASE("lists that agree with the SentencePiece model are accepted") {
  TokenizerFile file;
  const weights::Checkpoint checkpoint = file.open();
  const auto tokenizer = load_tokenizer(checkpoint, 4096);
  REQUIRE(tokenizer.has_value());
  CHECK(tokenizer->vocab_size() == 4096);
}

TEST_CASE("lists that disagree with the SentencePiece model are refused with the entry") {
  TokenizerFile file;
  SECTION("a piece") {
    file.list<std::string>("tokenizer.ggml.tokens")[300] = "evil";
    const weights::Checkpoint checkpoint = file.open();
    CHECK_THROWS_WITH(load_tokenizer(checkpoint, 4096),
                      Contains("tokenizer.ggml.tokens[300]") && Contains("evil"));
  }
  SECTION("a score") {
    file.list<float>("tokenizer.ggml.scores")[1000] += 1.0F;
    const weights::Checkpoint checkpoint = file.open();
    CHECK_THROWS_WITH(load_tokenizer(checkpoint, 4096), Contains("[1000]"));
  }
  SECTION("a type") {
    file.list<std::int32_t>("tokenizer.ggml.token_type")[2] = 1;
    const weights::Checkpoint checkpoint = file.open();
    CHECK_THROWS_WITH(load_tokenizer(checkpoint, 4096), Contains("[2]"));
  }
  SECTION("a length") {
    file.list<std::string>("tokenizer.ggml.tokens").pop_back();
    const weights::Checkpoint checkpoint = file.open();
    CHECK_THROWS_WITH(load_tokenizer(checkpoint, 4096), Contains("4096 entries") && Contains("4095"));
  }
  SECTION("a list is missing") {
    std::erase_if(file.metadata, [](const auto& entry) { return entry.first == "tokenizer.ggml.scores"; });
    const weights::Checkpoint checkpoint = file.open();
    CHECK_THROWS_WITH(load_tokenizer(checkpoint, 4096), Contains("tokenizer.ggml.scores"));
  }
}

TEST_CASE("a tokenizer larger than the model's vocabulary is refused") {
  TokenizerFile file;
  const weights::Checkpoint checkpoint = file.open();
  CHECK_THROWS_WITH(load_tokenizer(checkpoint, 4095), Contains("4095") && Contains("4096"));
}

TEST_CASE("a checkpoint without a tokenizer opens without one") {
  test::CheckpointFolder folder(test::small_config());
  const weights::Checkpoint checkpoint = folder.open();
  CHECK_FALSE(load_tokenizer(checkpoint, 40).has_value());
}

TEST_CASE("bos is added unless the file says no") {
  TokenizerFile file;
  SECTION("yes") {
    const weights::Checkpoint checkpoint = file.open();
    CHECK(adds_bos(checkpoint));
  }
  SECTION("no") {
    for (auto& [name, value] : file.metadata) {
      if (name == "tokenizer.ggml.add_bos_token") value = false;
    }
    const weights::Checkpoint checkpoint = file.open();
    CHECK_FALSE(adds_bos(checkpoint));
  }
}
