// SPDX-License-Identifier: Apache-2.0
// The self-attention baseline as a file for llama.cpp, computed in float64 as llama.cpp defines it.
#include "engine/attention_import.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>

#include "tests/golden.h"
#include "tests/weights/fixtures.h"
#include "weights/import_source.h"

using namespace ttt;
using Catch::Matchers::Contains;
using weights::TemporaryFolder;

namespace {

const std::string kAttentionFolder = TTT_TEST_DATA "/golden/import/jax-transformer-trainstate-bf16";

using Rows = std::vector<std::vector<double>>;  // [tokens, channels]

// A Llama from nothing but a GGUF file's keys and tensors.
class LlamaOracle {
 public:
  explicit LlamaOracle(const std::string& path)
      : file_(weights::GgufFile::open(path, weights::FileAccess::kRead)) {}

  Rows logits(const std::vector<double>& ids) const {
    const Rows embedding = matrix("token_embd.weight");
    Rows x;
    for (const double id : ids) x.push_back(embedding[static_cast<std::size_t>(id)]);
    for (std::size_t layer = 0; layer < number<std::uint32_t>("llama.block_count"); ++layer) {
      const std::string block = "blk." + std::to_string(layer) + ".";
      const Rows h = normed(x, block + "attn_norm.weight");
      add(x, product(
                 attention(rotated(product(h, block + "attn_q.weight")),
                           rotated(product(h, block + "attn_k.weight")), product(h, block + "attn_v.weight")),
                 block + "attn_output.weight"));
      const Rows u = normed(x, block + "ffn_norm.weight");
      Rows gate = product(u, block + "ffn_gate.weight");
      const Rows up = product(u, block + "ffn_up.weight");
      for (std::size_t t = 0; t < gate.size(); ++t) {
        for (std::size_t i = 0; i < gate[t].size(); ++i)
          gate[t][i] *= up[t][i] / (1.0 + std::exp(-gate[t][i]));
      }
      add(x, product(gate, block + "ffn_down.weight"));
    }
    return product(normed(x, "output_norm.weight"), "token_embd.weight");  // tied
  }

 private:
  template <typename T>
  T number(std::string_view key) const {
    return std::get<T>(*weights::find(file_.metadata(), key));
  }

  Rows matrix(const std::string& name) const {
    const weights::TensorView* tensor = file_.find_tensor(name);
    if (tensor == nullptr) throw std::runtime_error(name + " is not in the file");
    const std::size_t columns = tensor->shape.back();
    const std::vector<double> values = test::read_doubles(*tensor);
    Rows rows;
    for (std::size_t i = 0; i < values.size(); i += columns) {
      rows.emplace_back(values.begin() + static_cast<std::ptrdiff_t>(i),
                        values.begin() + static_cast<std::ptrdiff_t>(i + columns));
    }
    return rows;
  }

  // A matrix is [out, in].
  Rows product(const Rows& x, const std::string& name) const {
    const Rows weight = matrix(name);
    Rows y(x.size(), std::vector<double>(weight.size()));
    for (std::size_t t = 0; t < x.size(); ++t) {
      for (std::size_t o = 0; o < weight.size(); ++o) {
        for (std::size_t i = 0; i < x[t].size(); ++i) y[t][o] += x[t][i] * weight[o][i];
      }
    }
    return y;
  }

  static void add(Rows& x, const Rows& y) {
    for (std::size_t t = 0; t < x.size(); ++t) {
      for (std::size_t i = 0; i < x[t].size(); ++i) x[t][i] += y[t][i];
    }
  }

  Rows normed(Rows x, const std::string& gain_name) const {
    const std::vector<double> gain = matrix(gain_name).front();
    for (auto& row : x) {
      double squares = 0.0;
      for (const double value : row) squares += value * value;
      const auto eps = static_cast<double>(number<float>("llama.attention.layer_norm_rms_epsilon"));
      const double scale = 1.0 / std::sqrt(squares / static_cast<double>(row.size()) + eps);
      for (std::size_t i = 0; i < row.size(); ++i) row[i] *= scale * gain[i];
    }
    return x;
  }

  // Neighbouring channels of a head turn together: llama.cpp's rope type of this architecture.
  Rows rotated(Rows x) const {
    const std::size_t head = number<std::uint32_t>("llama.rope.dimension_count");
    const auto base = static_cast<double>(number<float>("llama.rope.freq_base"));
    for (std::size_t t = 0; t < x.size(); ++t) {
      for (std::size_t i = 0; i < x[t].size(); i += 2) {
        const double exponent = static_cast<double>(i % head) / static_cast<double>(head);
        const double angle = static_cast<double>(t) / std::pow(base, exponent);
        const double even = x[t][i], odd = x[t][i + 1];
        x[t][i] = even * std::cos(angle) - odd * std::sin(angle);
        x[t][i + 1] = even * std::sin(angle) + odd * std::cos(angle);
      }
    }
    return x;
  }

  Rows attention(const Rows& q, const Rows& k, const Rows& v) const {
    const std::size_t heads = number<std::uint32_t>("llama.attention.head_count");
    const std::size_t head = q[0].size() / heads;
    Rows mixed(q.size(), std::vector<double>(q[0].size()));
    for (std::size_t t = 0; t < q.size(); ++t) {
      for (std::size_t h = 0; h < q[0].size(); h += head) {
        double sum = 0.0;
        for (std::size_t s = 0; s <= t; ++s) {
          double score = 0.0;
          for (std::size_t i = h; i < h + head; ++i) score += q[t][i] * k[s][i];
          const double weight = std::exp(score / std::sqrt(static_cast<double>(head)));
          sum += weight;
          for (std::size_t i = h; i < h + head; ++i) mixed[t][i] += weight * v[s][i];
        }
        for (std::size_t i = h; i < h + head; ++i) mixed[t][i] /= sum;
      }
    }
    return mixed;
  }

  weights::GgufFile file_;
};

ImportOptions companions(const weights::ImportSource& source) {
  return {.config_json = source.config_json, .config_path = source.config_path};
}

}  // namespace

TEST_CASE("the baseline's file gives the official code's logits, computed as llama.cpp defines them") {
  const TemporaryFolder folder;
  const auto source = weights::open_import_source(kAttentionFolder);
  REQUIRE(source.has_value());
  REQUIRE(is_attention_baseline(*source->archive));
  const AttentionModel model = import_attention(*source->archive, companions(*source));
  CHECK(model.warnings.empty());
  const std::string path = folder / "model.gguf";
  const weights::DType type = GENERATE(weights::DType::kF32, weights::DType::kBF16);
  REQUIRE(convert_attention(model, nullptr, path, {.matrix_type = type}).completed);

  const auto golden =
      weights::SafetensorsFile::open(kAttentionFolder + "/golden.safetensors", weights::FileAccess::kRead);
  const std::vector<double> wanted = test::read_doubles(*golden.find_tensor("logits"));
  const Rows logits = LlamaOracle(path).logits(test::read_doubles(*golden.find_tensor("token_ids")));
  double largest = 0.0, squares = 0.0;
  std::size_t at = 0;
  for (const auto& row : logits) {
    for (const double logit : row) {
      largest = std::max(largest, std::abs(logit - wanted[at]));
      squares += wanted[at] * wanted[at];
      ++at;
    }
  }
  REQUIRE(at == wanted.size());
  CHECK(largest <= 2e-5 * std::sqrt(squares / static_cast<double>(at)));
}

TEST_CASE("the baseline's file says what llama.cpp asks for, and holds nothing that it does not know") {
  const TemporaryFolder folder;
  const auto source = weights::open_import_source(kAttentionFolder);
  const AttentionModel model = import_attention(*source->archive, companions(*source));
  const std::string path = folder / "model.gguf";
  REQUIRE(convert_attention(model, nullptr, path, {}).completed);
  const auto file = weights::GgufFile::open(path, weights::FileAccess::kRead);
  const auto text = [&](std::string_view key) {
    return std::get<std::string>(*weights::find(file.metadata(), key));
  };
  CHECK(text("general.architecture") == "llama");
  CHECK(text("tokenizer.ggml.model") == "no_vocab");
  CHECK(file.tensors().size() == 2 + 2 * 9);
  CHECK(file.find_tensor("blk.1.attn_output.weight")->shape == weights::Shape{64, 64});
  CHECK(file.find_tensor("blk.0.ffn_down.weight")->shape == weights::Shape{64, 176});
  CHECK_THROWS_WITH(load_model(weights::Checkpoint::open(path)), Contains("general.architecture"));
}

TEST_CASE("the baseline's number of heads is told by config.json or by a published width, else asked for") {
  const auto source = weights::open_import_source(kAttentionFolder);
  CHECK(import_attention(*source->archive, companions(*source)).config.num_attention_heads == 4);
  CHECK_THROWS_WITH(import_attention(*source->archive, {}),
                    Contains("a width of 64") && Contains("config.json"));
  ImportOptions other = companions(*source);
  other.config_json.replace(other.config_json.find("\"num_hidden_layers\": 2"), 22,
                            "\"num_hidden_layers\": 3");
  CHECK_THROWS_WITH(import_attention(*source->archive, other), Contains("num_hidden_layers: wanted 2"));
}

TEST_CASE("TTT checkpoints are no attention baseline") {
  for (const char* name : {"jax-ttt-mlp-trainstate-bf16", "jax-ttt-linear-12-layers-trainstate-bf16"}) {
    const auto source = weights::open_import_source(std::string(TTT_TEST_DATA "/golden/import/") + name +
                                                    "/streaming_train_state");
    CHECK_FALSE(is_attention_baseline(*source->archive));
  }
}
