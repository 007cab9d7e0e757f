// SPDX-License-Identifier: Apache-2.0
#include "engine/tokenizer_metadata.h"

#include <catch2/catch.hpp>

#include "engine/text_settings.h"
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

TEST_CASE("a tokenizer that leaves more ids without a piece than padding does is warned of") {
  const auto tokenizer = Tokenizer::from_model(TokenizerFile().model, "demo.model");
  CHECK(tokenizer_warnings(tokenizer, 4096).empty());
  CHECK(tokenizer_warnings(tokenizer, 4096 + 127).empty());
  const std::vector<std::string> warnings = tokenizer_warnings(tokenizer, 32'000);
  REQUIRE(warnings.size() == 1);
  CHECK_THAT(warnings[0],
             Contains("4096 pieces") && Contains("32000 ids") && Contains("27904 of them stand for no text"));
  CHECK(tokenizer_warnings(tokenizer, 4096 + 128).size() == 1);
}

TEST_CASE("a checkpoint without a tokenizer opens without one") {
  test::CheckpointFolder folder(test::small_config());
  const weights::Checkpoint checkpoint = folder.open();
  CHECK_FALSE(load_tokenizer(checkpoint, 40).has_value());
}

TEST_CASE(
    "a tokenizer is taken from another model's file, with its SentencePiece model or with lists alone") {
  TokenizerFile file;
  file.open();
  {
    weights::GgufWriter writer(file.folder.path("lists.gguf"), file.metadata, {});
    writer.commit();
  }
  const Tokenizer original = Tokenizer::from_model(file.model, "demo.model");
  const std::string text = "Once upon a time, 3 caf\u00e9s  opened\n";
  for (const char* name : {"t.gguf", "lists.gguf"}) {
    const auto gguf = weights::GgufFile::open(file.folder.path(name), weights::FileAccess::kRead);
    const Tokenizer taken = take_tokenizer(gguf, 4096);
    CHECK(taken.vocab_size() == 4096);
    CHECK(taken.encode(text) == original.encode(text));
    CHECK((taken.bos_id() == original.bos_id() && taken.eos_id() == original.eos_id()));
    CHECK_THROWS_WITH(take_tokenizer(gguf, 4095), Contains("at most 4095 pieces"));
  }
}

TEST_CASE("lists that are not of Llama's kind, or not of one length, give no tokenizer") {
  TokenizerFile file;
  const auto refused = [&](std::string_view part) {
    {
      weights::GgufWriter writer(file.folder.path("lists.gguf"), file.metadata, {});
      writer.commit();
    }
    const auto gguf = weights::GgufFile::open(file.folder.path("lists.gguf"), weights::FileAccess::kRead);
    CHECK_THROWS_WITH(take_tokenizer(gguf, 4096), Contains(std::string(part)));
  };
  SECTION("another kind") {
    for (auto& [key, value] : file.metadata) {
      if (key == "tokenizer.ggml.model") value = std::string("gpt2");
    }
    refused("wanted \"llama\", found gpt2");
  }
  SECTION("another length") {
    file.list<float>("tokenizer.ggml.scores").pop_back();
    refused("of one length");
  }
  SECTION("an unknown type") {
    file.list<std::int32_t>("tokenizer.ggml.token_type")[7] = 9;
    refused("token_type[7]: wanted 1 to 6, found 9");
  }
  SECTION("pieces that no model may have") {
    file.list<std::string>("tokenizer.ggml.tokens")[300] = "";
    refused("piece 300");
  }
  SECTION("none at all") {
    file.metadata.clear();
    refused("found nothing");
  }
}

TEST_CASE("a folder's tokenizer.json is translated, and refused under its name where it cannot be") {
  test::CheckpointFolder folder(test::small_config());
  folder.config_json["vocab_size"] = 420;
  folder.shapes["model.embed_tokens.weight"] = {420, 16};
  folder.tensors["model.embed_tokens.weight"].resize(420 * 16);
  const std::string json = test::file_contents(TTT_TEST_DATA "/tokenizer/llama.json");
  std::ofstream(folder.path("tokenizer.json")) << json;
  const auto tokenizer = load_tokenizer(folder.open(), 420);
  REQUIRE(tokenizer.has_value());
  CHECK(tokenizer->vocab_size() == 420);
  CHECK(tokenizer->decode(tokenizer->encode("two words")) == "two words");
  std::string other = json;
  other.replace(other.find("\"byte_fallback\":true"), 20, "\"byte_fallback\":false");
  std::ofstream(folder.path("tokenizer.json")) << other;
  CHECK_THROWS_WITH(load_tokenizer(folder.open(), 420),
                    Contains("tokenizer.json: model.byte_fallback: wanted true"));
}

TEST_CASE("bos is added unless the file says no") {
  TokenizerFile file;
  SECTION("yes") {
    const weights::Checkpoint checkpoint = file.open();
    CHECK(text_settings(checkpoint).adds_bos);
  }
  SECTION("no") {
    for (auto& [name, value] : file.metadata) {
      if (name == "tokenizer.ggml.add_bos_token") value = false;
    }
    const weights::Checkpoint checkpoint = file.open();
    CHECK_FALSE(text_settings(checkpoint).adds_bos);
  }
}
