// SPDX-License-Identifier: Apache-2.0
#include "engine/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <map>
#include <type_traits>
#include <utility>
#include <variant>

#include "weights/checkpoint_error.h"
#include "weights/strict_json.h"

namespace ttt {
namespace {

using weights::GgufMetadata;
using weights::GgufValue;

// Far above any model that exists (V 32000, d 2048, K 16): a larger number is a damaged file.
constexpr std::uint64_t kMaxExtent = 1U << 24;
constexpr std::uint64_t kMaxLayers = 4096;
constexpr std::uint64_t kMaxMiniBatch = 4096;
constexpr std::uint64_t kMaxConvKernel = 64;
constexpr std::uint32_t kFormatVersion = 1;

// One reader for both formats: looks a field up by name and says what is wrong with it.
class Fields {
 public:
  explicit Fields(std::string_view file) : file_(file) {}
  virtual ~Fields() = default;

  // Empty if the field is absent. Throws if it has another type.
  virtual std::optional<std::uint64_t> find_uint(std::string_view key) const = 0;
  virtual std::optional<double> find_number(std::string_view key) const = 0;
  virtual std::optional<bool> find_bool(std::string_view key) const = 0;
  virtual std::optional<std::string> find_string(std::string_view key) const = 0;

  std::size_t extent(std::string_view key, std::uint64_t max,
                     std::optional<std::uint64_t> fallback = {}) const {
    std::optional<std::uint64_t> value = find_uint(key);
    if (!value) value = fallback;
    if (!value) refuse(key, fmt::format("an integer from 1 to {}", max), "nothing");
    if (*value < 1 || *value > max)
      refuse(key, fmt::format("an integer from 1 to {}", max), fmt::format("{}", *value));
    return static_cast<std::size_t>(*value);
  }

  // A number that is positive and normal as a float, in which GGUF keeps it.
  float positive(std::string_view key, double fallback) const {
    const double value = find_number(key).value_or(fallback);
    if (!(value >= static_cast<double>(std::numeric_limits<float>::min()) && value <= 1e9)) {
      refuse(key, "a positive number up to 1e9", fmt::format("{}", value));
    }
    return static_cast<float>(value);
  }

  [[noreturn]] void refuse(std::string_view key, std::string_view wanted, std::string_view found) const {
    weights::refuse({.file = file_,
                     .where = key,
                     .wanted = wanted,
                     .found = found,
                     .remedy = "The model's configuration is damaged or belongs to another kind of model."});
  }

 protected:
  std::string file_;
};

// The scalars of a JSON object's first level; what lies deeper is no field of ours.
class TopLevelScalars final : public weights::JsonListener {
 public:
  void begin_object() override { ++depth_; }
  void begin_array() override {
    if (depth_++ == 0) is_object_ = false;
  }
  void end() override { --depth_; }
  void key(std::string name) override {
    if (depth_ == 1) key_ = std::move(name);
  }
  void scalar(weights::JsonScalar value) override {
    if (depth_ == 1) values_[key_] = std::move(value);
    if (depth_ == 0) is_object_ = false;
  }

  bool is_object() const { return is_object_; }
  const weights::JsonScalar* find(std::string_view key) const {
    const auto entry = values_.find(key);
    return entry == values_.end() ? nullptr : &entry->second;
  }

 private:
  int depth_ = 0;
  bool is_object_ = true;
  std::string key_;
  std::map<std::string, weights::JsonScalar, std::less<>> values_;
};

class JsonFields final : public Fields {
 public:
  JsonFields(std::string_view text, std::string_view file) : Fields(file) {
    weights::parse_strict_json(text, file, scalars_);
    if (!scalars_.is_object()) {
      weights::refuse({.file = file, .wanted = "a JSON object", .found = "another JSON value"});
    }
  }

  std::optional<std::uint64_t> find_uint(std::string_view key) const override {
    return find_as<std::uint64_t>(key, "a non-negative integer");
  }
  std::optional<double> find_number(std::string_view key) const override {
    const weights::JsonScalar* value = find(key);
    if (value == nullptr) return std::nullopt;
    if (const auto* integer = std::get_if<std::uint64_t>(value)) return static_cast<double>(*integer);
    if (const auto* integer = std::get_if<std::int64_t>(value)) return static_cast<double>(*integer);
    return find_as<double>(key, "a number");
  }
  std::optional<bool> find_bool(std::string_view key) const override {
    return find_as<bool>(key, "true or false");
  }
  std::optional<std::string> find_string(std::string_view key) const override {
    return find_as<std::string>(key, "a string");
  }

 private:
  // null counts as absent: Hugging Face writes "pad_token_id": null.
  const weights::JsonScalar* find(std::string_view key) const {
    const weights::JsonScalar* value = scalars_.find(key);
    return value == nullptr || std::holds_alternative<std::nullptr_t>(*value) ? nullptr : value;
  }
  template <typename T>
  std::optional<T> find_as(std::string_view key, std::string_view wanted) const {
    const weights::JsonScalar* value = find(key);
    if (value == nullptr) return std::nullopt;
    if (const T* typed = std::get_if<T>(value)) return *typed;
    refuse(key, wanted, describe(*value));
  }
  static std::string describe(const weights::JsonScalar& scalar) {
    return std::visit(
        [](const auto& value) -> std::string {
          using V = std::decay_t<decltype(value)>;
          if constexpr (std::is_same_v<V, std::nullptr_t>)
            return "null";
          else if constexpr (std::is_same_v<V, std::string>)
            return fmt::format("\"{}\"", value);
          else
            return fmt::format("{}", value);
        },
        scalar);
  }

  TopLevelScalars scalars_;
};

class GgufFields final : public Fields {
 public:
  GgufFields(const GgufMetadata& metadata, std::string_view file) : Fields(file), metadata_(metadata) {}

  // Any integer type of GGUF, as long as the value is not negative.
  std::optional<std::uint64_t> find_uint(std::string_view key) const override {
    const GgufValue* value = weights::find(metadata_, key);
    if (value == nullptr) return std::nullopt;
    return std::visit(
        [&](const auto& v) -> std::optional<std::uint64_t> {
          using V = std::decay_t<decltype(v)>;
          if constexpr (std::is_integral_v<V> && !std::is_same_v<V, bool>) {
            if (std::cmp_less(v, 0)) refuse(key, "a non-negative integer", fmt::format("{}", v));
            return static_cast<std::uint64_t>(v);
          } else {
            refuse(key, "an integer", "a value of another type");
          }
        },
        *value);
  }
  std::optional<double> find_number(std::string_view key) const override {
    const GgufValue* value = weights::find(metadata_, key);
    if (value == nullptr) return std::nullopt;
    if (const auto* single = std::get_if<float>(value)) return static_cast<double>(*single);
    if (const auto* wide = std::get_if<double>(value)) return *wide;
    refuse(key, "a floating-point number", "a value of another type");
  }
  std::optional<bool> find_bool(std::string_view key) const override { return find_as<bool>(key, "a bool"); }
  std::optional<std::string> find_string(std::string_view key) const override {
    return find_as<std::string>(key, "a string");
  }

 private:
  template <typename T>
  std::optional<T> find_as(std::string_view key, std::string_view wanted) const {
    const GgufValue* value = weights::find(metadata_, key);
    if (value == nullptr) return std::nullopt;
    if (const T* typed = std::get_if<T>(value)) return *typed;
    refuse(key, wanted, "a value of another type");
  }
  const GgufMetadata& metadata_;
};

LayerType parse_layer_type(const Fields& fields, std::string_view key) {
  const std::string text = fields.find_string(key).value_or("linear");
  if (text == "linear") return LayerType::kTttLinear;
  if (text == "mlp") return LayerType::kTttMlp;
  fields.refuse(key, "\"linear\" or \"mlp\"", text);
}

std::optional<std::int32_t> parse_token_id(const Fields& fields, std::string_view key,
                                           std::size_t vocab_size) {
  const auto id = fields.find_uint(key);
  if (!id) return std::nullopt;
  if (*id >= vocab_size)
    fields.refuse(key, fmt::format("an id below vocab_size {}", vocab_size), fmt::format("{}", *id));
  return static_cast<std::int32_t>(*id);
}

// Relations between fields, the same for both formats.
void check_head_size(const ModelConfig& config, const Fields& fields, std::string_view heads_key) {
  if (config.hidden_size % config.num_attention_heads != 0 || config.head_size() % 2 != 0) {
    fields.refuse(
        heads_key,
        fmt::format("a number of heads that cuts hidden_size {} into even parts", config.hidden_size),
        fmt::format("{}", config.num_attention_heads));
  }
}

}  // namespace

std::string_view to_string(LayerType type) { return type == LayerType::kTttMlp ? "mlp" : "linear"; }

ModelConfig config_from_json(std::string_view text, std::string_view file,
                             std::span<const std::string_view> model_types) {
  const JsonFields fields(text, file);
  const auto type = fields.find_string("model_type");
  if (type && std::ranges::find(model_types, *type) == model_types.end()) {
    fields.refuse("model_type", fmt::format("\"{}\"", fmt::join(model_types, "\" or \"")), *type);
  }
  if (const auto act = fields.find_string("hidden_act"); act && *act != "silu") {
    fields.refuse("hidden_act", "\"silu\"", *act);
  }
  ModelConfig config;
  config.name = fields.find_string("_name_or_path").value_or("");
  // Defaults are those of the reference's configuration class: Hugging Face leaves out what equals them.
  config.vocab_size = fields.extent("vocab_size", kMaxExtent, 32000);
  config.hidden_size = fields.extent("hidden_size", kMaxExtent, 2048);
  config.intermediate_size = fields.extent("intermediate_size", kMaxExtent, 5504);
  config.num_hidden_layers = fields.extent("num_hidden_layers", kMaxLayers, 24);
  config.num_attention_heads = fields.extent("num_attention_heads", config.hidden_size, 32);
  config.ttt_layer_type = parse_layer_type(fields, "ttt_layer_type");
  config.mini_batch_size = fields.extent("mini_batch_size", kMaxMiniBatch, 16);
  config.ttt_base_lr = fields.positive("ttt_base_lr", 1.0);
  config.rms_norm_eps = fields.positive("rms_norm_eps", 1e-6);
  config.rope_theta = fields.positive("rope_theta", 10000.0);
  config.pre_conv = fields.find_bool("pre_conv").value_or(false);
  config.share_qk = fields.find_bool("share_qk").value_or(false);
  config.use_gate = fields.find_bool("use_gate").value_or(false);
  config.conv_kernel = fields.extent("conv_kernel", kMaxConvKernel, 4);
  config.tie_word_embeddings = fields.find_bool("tie_word_embeddings").value_or(true);
  config.context_length =
      fields.extent("max_position_embeddings", std::numeric_limits<std::uint32_t>::max(), 2048);
  config.bos_token_id = parse_token_id(fields, "bos_token_id", config.vocab_size);
  config.eos_token_id = parse_token_id(fields, "eos_token_id", config.vocab_size);
  check_head_size(config, fields, "num_attention_heads");
  return config;
}

ModelConfig config_from_gguf(const GgufMetadata& metadata, std::string_view file) {
  const GgufFields fields(metadata, file);
  const std::string architecture = fields.find_string("general.architecture").value_or("nothing");
  if (architecture != "ttt") {
    weights::refuse({.file = file,
                     .where = "general.architecture",
                     .wanted = "\"ttt\"",
                     .found = architecture,
                     .remedy = "This engine runs TTT models only; convert one with `ttt convert`."});
  }
  if (const auto version = fields.find_uint("ttt.format_version"); version && *version > kFormatVersion) {
    weights::refuse({.file = file,
                     .where = "ttt.format_version",
                     .wanted = fmt::format("at most {}", kFormatVersion),
                     .found = fmt::format("{}", *version),
                     .remedy = "The file was made by a newer ttt; update this one."});
  }
  const auto required_bool = [&](std::string_view key) {
    const auto value = fields.find_bool(key);
    if (!value) fields.refuse(key, "true or false", "nothing");
    return *value;
  };
  ModelConfig config;
  config.name = fields.find_string("general.name").value_or("");
  config.vocab_size = fields.extent("ttt.vocab_size", kMaxExtent);
  config.hidden_size = fields.extent("ttt.embedding_length", kMaxExtent);
  config.intermediate_size = fields.extent("ttt.feed_forward_length", kMaxExtent);
  config.num_hidden_layers = fields.extent("ttt.block_count", kMaxLayers);
  config.num_attention_heads = fields.extent("ttt.attention.head_count", config.hidden_size);
  config.ttt_layer_type = parse_layer_type(fields, "ttt.layer_type");
  config.mini_batch_size = fields.extent("ttt.mini_batch_size", kMaxMiniBatch);
  config.ttt_base_lr = fields.positive("ttt.base_lr", 1.0);
  config.rms_norm_eps = fields.positive("ttt.attention.layer_norm_rms_epsilon", 1e-6);
  config.rope_theta = fields.positive("ttt.rope.freq_base", 10000.0);
  config.pre_conv = required_bool("ttt.pre_conv");
  config.share_qk = required_bool("ttt.share_qk");
  config.use_gate = required_bool("ttt.use_gate");
  config.conv_kernel = fields.extent("ttt.conv_kernel", kMaxConvKernel);
  config.tie_word_embeddings = required_bool("ttt.tie_embeddings");
  config.context_length =
      fields.extent("ttt.context_length", std::numeric_limits<std::uint32_t>::max(), 2048);
  config.bos_token_id = parse_token_id(fields, "tokenizer.ggml.bos_token_id", config.vocab_size);
  config.eos_token_id = parse_token_id(fields, "tokenizer.ggml.eos_token_id", config.vocab_size);
  check_head_size(config, fields, "ttt.attention.head_count");
  return config;
}

void append_config(const ModelConfig& config, GgufMetadata& metadata) {
  const auto add = [&](std::string key, GgufValue value) {
    metadata.emplace_back(std::move(key), std::move(value));
  };
  const auto u32 = [](std::size_t value) { return static_cast<std::uint32_t>(value); };
  add("general.architecture", std::string("ttt"));
  if (!config.name.empty()) add("general.name", config.name);
  add("ttt.format_version", kFormatVersion);
  add("ttt.vocab_size", u32(config.vocab_size));
  add("ttt.block_count", u32(config.num_hidden_layers));
  add("ttt.embedding_length", u32(config.hidden_size));
  add("ttt.feed_forward_length", u32(config.intermediate_size));
  add("ttt.attention.head_count", u32(config.num_attention_heads));
  add("ttt.attention.layer_norm_rms_epsilon", config.rms_norm_eps);
  add("ttt.rope.freq_base", config.rope_theta);
  add("ttt.context_length", u32(config.context_length));
  add("ttt.layer_type", std::string(to_string(config.ttt_layer_type)));
  add("ttt.mini_batch_size", u32(config.mini_batch_size));
  add("ttt.base_lr", config.ttt_base_lr);
  add("ttt.conv_kernel", u32(config.conv_kernel));
  add("ttt.pre_conv", config.pre_conv);
  add("ttt.share_qk", config.share_qk);
  add("ttt.use_gate", config.use_gate);
  add("ttt.tie_embeddings", config.tie_word_embeddings);
  if (config.bos_token_id)
    add("tokenizer.ggml.bos_token_id", static_cast<std::uint32_t>(*config.bos_token_id));
  if (config.eos_token_id)
    add("tokenizer.ggml.eos_token_id", static_cast<std::uint32_t>(*config.eos_token_id));
}

}  // namespace ttt
