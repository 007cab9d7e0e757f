// SPDX-License-Identifier: Apache-2.0
#include "tests/cli/test_models.h"

#include <fmt/format.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <vector>

#include "tests/cli/child.h"
#include "tests/weights/fixtures.h"
#include "weights/safetensors.h"

namespace ttt::cli::test {
namespace {

namespace fs = std::filesystem;

// Rows of `small` over and over, each repetition scaled differently so that no two rows are equal.
std::vector<float> enlarged(const weights::TensorView& small, std::size_t count) {
  const std::size_t width = small.shape[1];
  std::vector<float> rows(small.bytes.size() / sizeof(float));
  std::memcpy(rows.data(), small.bytes.data(), small.bytes.size());
  std::vector<float> result(count * width);
  for (std::size_t i = 0; i < result.size(); ++i) {
    const auto repetition = static_cast<float>(i / rows.size());
    result[i] = rows[i % rows.size()] * (1.0F - 0.05F * repetition);
  }
  return result;
}

}  // namespace

std::string id_model() { return TTT_TEST_DATA "/golden/linear-mamba"; }

std::string make_text_model(const std::string& folder, std::size_t vocab_size) {
  fs::create_directory(folder);
  fs::copy_file(id_model() + "/config.json", folder + "/config.json");
  edit_file(folder + "/config.json", "\"vocab_size\": 320", fmt::format("\"vocab_size\": {}", vocab_size));
  fs::copy_file(TTT_TEST_DATA "/tokenizer/demo.model", folder + "/tokenizer.model");

  const auto source =
      weights::SafetensorsFile::open(id_model() + "/model.safetensors", weights::FileAccess::kRead);
  std::vector<weights::SafetensorsTensorInfo> infos;
  for (const weights::TensorView& tensor : source.tensors()) {
    const bool is_embedding = tensor.name == "model.embed_tokens.weight";
    infos.push_back({tensor.name, tensor.dtype,
                     is_embedding ? weights::Shape{vocab_size, tensor.shape[1]} : tensor.shape});
  }
  weights::SafetensorsWriter writer(folder + "/model.safetensors", infos);
  for (const weights::TensorView& tensor : source.tensors()) {
    if (tensor.name == "model.embed_tokens.weight") {
      const std::vector<float> embedding = enlarged(tensor, vocab_size);
      writer.write(std::as_bytes(std::span(embedding)));
    } else {
      writer.write(tensor.bytes);
    }
  }
  writer.commit();
  return folder;
}

const std::string& text_model() {
  static const weights::TemporaryFolder folder;
  static const std::string path = make_text_model(folder / "model");
  return path;
}

void edit_file(const std::string& path, std::string_view from, std::string_view to) {
  std::string text = weights::read_file(path);
  const std::size_t place = text.find(from);
  if (place == std::string::npos) throw std::runtime_error(path + " does not contain " + std::string(from));
  text.replace(place, from.size(), to);
  std::ofstream(path, std::ios::binary) << text;
}

std::string make_gguf(const std::string& folder) {
  const std::string output = folder + "/model.gguf";
  const Outcome made =
      run_program({"convert", make_text_model(folder + "/source"), output, "--type", "bf16"});
  if (made.code != 0) throw std::runtime_error("cannot convert: " + made.err);
  return output;
}

}  // namespace ttt::cli::test
