// SPDX-License-Identifier: Apache-2.0
#include "cli/batch_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "cli/exit_code.h"
#include "cli/parse_value.h"
#include "cli/readable.h"
#include "cli/sampling_options.h"
#include "engine/request_error.h"
#include "weights/checkpoint_error.h"
#include "weights/strict_json.h"

namespace ttt::cli {
namespace {

using weights::JsonScalar;

constexpr std::int64_t kMaxInt64 = std::numeric_limits<std::int64_t>::max();

// What a line may say, before the text is made ids.
struct LineFields {
  BatchRequest result;
  bool has_prompt = false;
  std::optional<std::string> text;  // else result.request.prompt
  std::optional<std::uint64_t> seed;
  bool ignore_eos = false;
};

struct Field {
  enum class Kind : std::uint8_t { kId, kPrompt, kInteger, kNumber, kBool, kIds, kTexts, kBiases };
  const char* name;
  Kind kind;
  const char* wanted;
  // Where the value goes, by kind.
  void (*set_integer)(LineFields& fields, std::int64_t value) = nullptr;
  float* (*number)(LineFields& fields) = nullptr;
  bool* (*flag)(LineFields& fields) = nullptr;
  std::vector<TokenId>* (*ids)(LineFields& fields) = nullptr;
};

GenerationRequest& request_of(LineFields& fields) { return fields.result.request; }
SamplingParams& sampling_of(LineFields& fields) { return fields.result.request.sampling; }

// Integers beyond 32 bits are out of every range, and stay so.
std::int32_t narrowed(std::int64_t value) {
  return static_cast<std::int32_t>(std::clamp<std::int64_t>(value, std::numeric_limits<std::int32_t>::min(),
                                                            std::numeric_limits<std::int32_t>::max()));
}

using Kind = Field::Kind;
using F = LineFields&;
constexpr const char* kInteger = "an integer";
constexpr const char* kNumber = "a number";
constexpr const char* kBool = "true or false";
constexpr const char* kIds = "an array of token ids";

const Field kFields[] = {
    {"id", Kind::kId, "a string or an integer"},
    {"prompt", Kind::kPrompt, "a string or an array of token ids"},
    {.name = "max_tokens",
     .kind = Kind::kInteger,
     .wanted = kInteger,
     .set_integer = [](F f, std::int64_t value) { request_of(f).max_tokens = value; }},
    {.name = "min_tokens",
     .kind = Kind::kInteger,
     .wanted = kInteger,
     .set_integer = [](F f, std::int64_t value) { request_of(f).min_tokens = value; }},
    {.name = "temperature",
     .kind = Kind::kNumber,
     .wanted = kNumber,
     .number = [](F f) { return &sampling_of(f).temperature; }},
    {.name = "top_k",
     .kind = Kind::kInteger,
     .wanted = kInteger,
     .set_integer = [](F f, std::int64_t value) { sampling_of(f).top_k = narrowed(value); }},
    {.name = "top_p",
     .kind = Kind::kNumber,
     .wanted = kNumber,
     .number = [](F f) { return &sampling_of(f).top_p; }},
    {.name = "min_p",
     .kind = Kind::kNumber,
     .wanted = kNumber,
     .number = [](F f) { return &sampling_of(f).min_p; }},
    {.name = "typical_p",
     .kind = Kind::kNumber,
     .wanted = kNumber,
     .number = [](F f) { return &sampling_of(f).typical_p; }},
    {.name = "repetition_penalty",
     .kind = Kind::kNumber,
     .wanted = kNumber,
     .number = [](F f) { return &sampling_of(f).repetition_penalty; }},
    {.name = "repeat_last_n",
     .kind = Kind::kInteger,
     .wanted = kInteger,
     .set_integer = [](F f, std::int64_t value) { sampling_of(f).repeat_last_n = narrowed(value); }},
    {.name = "presence_penalty",
     .kind = Kind::kNumber,
     .wanted = kNumber,
     .number = [](F f) { return &sampling_of(f).presence_penalty; }},
    {.name = "frequency_penalty",
     .kind = Kind::kNumber,
     .wanted = kNumber,
     .number = [](F f) { return &sampling_of(f).frequency_penalty; }},
    {"logit_bias", Kind::kBiases, "an object of token ids and numbers, such as {\"42\": -1.5}"},
    {.name = "banned_tokens",
     .kind = Kind::kIds,
     .wanted = kIds,
     .ids = [](F f) { return &sampling_of(f).banned; }},
    {.name = "allowed_tokens",
     .kind = Kind::kIds,
     .wanted = kIds,
     .ids = [](F f) { return &sampling_of(f).allowed; }},
    {.name = "seed",
     .kind = Kind::kInteger,
     .wanted = kInteger,
     .set_integer =
         [](F f, std::int64_t value) {
           if (value < 0) {
             throw RequestError("seed",
                                fmt::format("seed: wanted an integer of at least 0, found {}", value));
           }
           f.seed = static_cast<std::uint64_t>(value);
         }},
    {"stop", Kind::kTexts, "a string or an array of strings"},
    {.name = "stop_token_ids",
     .kind = Kind::kIds,
     .wanted = kIds,
     .ids = [](F f) { return &request_of(f).stop_ids; }},
    {.name = "ignore_eos", .kind = Kind::kBool, .wanted = kBool, .flag = [](F f) { return &f.ignore_eos; }},
    {.name = "n",
     .kind = Kind::kInteger,
     .wanted = kInteger,
     .set_integer = [](F f, std::int64_t value) { request_of(f).num_choices = value; }},
    {.name = "best_of",
     .kind = Kind::kInteger,
     .wanted = kInteger,
     .set_integer = [](F f, std::int64_t value) { request_of(f).best_of = value; }},
    {.name = "logprobs",
     .kind = Kind::kInteger,
     .wanted = kInteger,
     .set_integer = [](F f, std::int64_t value) { request_of(f).top_log_probs = value; }},
    {.name = "echo", .kind = Kind::kBool, .wanted = kBool, .flag = [](F f) { return &f.result.echo; }},
};

std::optional<std::int64_t> integer_of(const JsonScalar& value) {
  if (const auto* negative = std::get_if<std::int64_t>(&value)) return *negative;
  const auto* positive = std::get_if<std::uint64_t>(&value);
  if (positive == nullptr || *positive > static_cast<std::uint64_t>(kMaxInt64)) return std::nullopt;
  return static_cast<std::int64_t>(*positive);
}

// "42" alone; no sign, zero in front or suffix, so that one id has one spelling.
std::optional<std::int64_t> id_of_key(const std::string& key) {
  const bool is_decimal = key.find_first_not_of("0123456789") == std::string::npos;
  if (!is_decimal || (key.size() > 1 && key.front() == '0')) return std::nullopt;
  return parse_integer(key);
}

// Beyond every range, yet within float.
std::optional<float> number_of(const JsonScalar& value) {
  double number = 0.0;
  if (const auto* real = std::get_if<double>(&value)) {
    number = *real;
  } else if (const auto* positive = std::get_if<std::uint64_t>(&value)) {
    number = static_cast<double>(*positive);
  } else if (const auto* negative = std::get_if<std::int64_t>(&value)) {
    number = static_cast<double>(*negative);
  } else {
    return std::nullopt;
  }
  return static_cast<float>(std::clamp(number, -1e30, 1e30));
}

std::string described(const JsonScalar& value) {
  struct Describe {
    std::string operator()(std::nullptr_t) const { return "null"; }
    std::string operator()(bool value) const { return value ? "true" : "false"; }
    std::string operator()(std::int64_t value) const { return fmt::format("{}", value); }
    std::string operator()(std::uint64_t value) const { return fmt::format("{}", value); }
    std::string operator()(double value) const { return fmt::format("{}", value); }
    std::string operator()(const std::string& value) const {
      constexpr std::size_t kShown = 40;
      if (value.size() > kShown) return fmt::format("a string of {} bytes", value.size());
      return fmt::format("\"{}\"", escaped(value));
    }
  };
  return std::visit(Describe(), value);
}

// Fills LineFields. A fault in one field does not keep it from reading the others, so that the id is known.
class FieldListener : public weights::JsonListener {
 public:
  FieldListener(LineFields& fields, std::size_t vocab_size) : fields_(fields), vocab_size_(vocab_size) {}

  void begin_object() override { open(Kind::kBiases, "an object"); }
  void begin_array() override {
    if (depth_ == 0) note("", "wanted a JSON object, found an array");
    const bool takes_array =
        field_ != nullptr &&
        (field_->kind == Kind::kIds || field_->kind == Kind::kTexts || field_->kind == Kind::kPrompt);
    open(takes_array ? field_->kind : Kind::kIds, "an array");
  }
  void end() override {
    if (--depth_ == 1) container_ = false;
  }
  void key(std::string name) override {
    if (depth_ == 2) bias_id_ = std::move(name);
    if (depth_ != 1) return;
    field_ = std::ranges::find(kFields, name, [](const Field& field) { return std::string(field.name); });
    if (field_ != std::end(kFields)) return;
    field_ = nullptr;
    note(name, fmt::format("there is no such field{}", hint(name)));
  }
  void scalar(JsonScalar value) override {
    try {
      if (depth_ == 0) throw RequestError("", "wanted a JSON object, found " + described(value));
      if (depth_ == 1 && field_ != nullptr) take(std::move(value));
      if (depth_ == 2 && container_) take_element(std::move(value));
    } catch (RequestError& error) {
      container_ = false;  // one fault is enough of an array
      if (!fault_) fault_ = std::move(error);
    }
  }

  const std::optional<RequestError>& fault() const { return fault_; }

 private:
  void open(Kind kind, const char* found) {
    const bool is_element = depth_ == 2 && container_;
    if (++depth_ < 2 || field_ == nullptr || (depth_ > 2 && !is_element)) return;
    container_ = !is_element && field_->kind == kind;
    if (!container_)
      return note(field_->name,
                  fmt::format("wanted {}, found {}{}", field_->wanted, found, is_element ? " in it" : ""));
    if (kind == Kind::kBiases) sampling_of(fields_).logit_bias.clear();
    if (kind == Kind::kTexts) request_of(fields_).stop_strings.clear();
    if (kind == Kind::kIds) field_->ids(fields_)->clear();
    if (kind == Kind::kPrompt) fields_.has_prompt = true;
  }

  void note(const std::string& field, const std::string& sentence) {
    if (!fault_) fault_ = RequestError(field, field.empty() ? sentence : field + ": " + sentence);
  }

  static std::string hint(const std::string& name) {
    std::vector<std::string> names;
    for (const Field& field : kFields) names.emplace_back(field.name);
    const auto meant = nearest(name, names);
    return meant ? fmt::format("; did you mean {}?", *meant)
                 : fmt::format("; there are {}", fmt::join(names, ", "));
  }

  [[noreturn]] void refuse(const JsonScalar& value) const {
    throw RequestError(
        field_->name, fmt::format("{}: wanted {}, found {}", field_->name, field_->wanted, described(value)));
  }

  // null says nothing, as in requests that clients make from records.
  void take(JsonScalar value) {
    if (std::holds_alternative<std::nullptr_t>(value)) return;
    switch (field_->kind) {
      case Kind::kId:
        return take_id(std::move(value));
      case Kind::kPrompt:
        if (!std::holds_alternative<std::string>(value)) refuse(value);
        fields_.has_prompt = true;
        fields_.text = std::get<std::string>(std::move(value));
        return;
      case Kind::kInteger:
        if (!integer_of(value)) refuse(value);
        return field_->set_integer(fields_, *integer_of(value));
      case Kind::kNumber:
        if (!number_of(value)) refuse(value);
        *field_->number(fields_) = *number_of(value);
        return;
      case Kind::kBool:
        if (!std::holds_alternative<bool>(value)) refuse(value);
        *field_->flag(fields_) = std::get<bool>(value);
        return;
      case Kind::kTexts:
        if (!std::holds_alternative<std::string>(value)) refuse(value);
        request_of(fields_).stop_strings = {std::get<std::string>(std::move(value))};
        return;
      case Kind::kIds:
      case Kind::kBiases:
        refuse(value);
    }
  }

  void take_id(JsonScalar value) {
    if (auto* text = std::get_if<std::string>(&value)) {
      fields_.result.id = std::move(*text);
    } else if (const auto* positive = std::get_if<std::uint64_t>(&value)) {
      fields_.result.id = *positive;
    } else if (const auto* negative = std::get_if<std::int64_t>(&value)) {
      fields_.result.id = *negative;
    } else {
      refuse(value);
    }
  }

  void take_element(JsonScalar value) {
    if (field_->kind == Kind::kTexts) return take_stop(std::move(value));
    if (field_->kind == Kind::kBiases) return take_bias(value);
    std::vector<TokenId>& ids =
        field_->kind == Kind::kPrompt ? request_of(fields_).prompt : *field_->ids(fields_);
    const auto id = integer_of(value);
    if (!is_id(id)) refuse_id(fmt::format("{}[{}]", field_->name, ids.size()), described(value));
    ids.push_back(static_cast<TokenId>(*id));
  }

  void take_stop(JsonScalar value) {
    std::vector<std::string>& stops = request_of(fields_).stop_strings;
    if (!std::holds_alternative<std::string>(value)) refuse(value);
    if (stops.size() == kMaxStopStrings) {
      throw RequestError("stop", fmt::format("stop: wanted at most {}, found more", kMaxStopStrings));
    }
    stops.push_back(std::get<std::string>(std::move(value)));
  }

  void take_bias(const JsonScalar& value) {
    const auto bias = number_of(value);
    if (!bias) refuse(value);
    const auto id = id_of_key(bias_id_);
    if (!is_id(id)) refuse_id(field_->name, described(bias_id_));
    sampling_of(fields_).logit_bias.push_back({static_cast<TokenId>(*id), *bias});
  }

  bool is_id(std::optional<std::int64_t> id) const {
    return id && *id >= 0 && static_cast<std::size_t>(*id) < vocab_size_;
  }
  [[noreturn]] void refuse_id(const std::string& place, const std::string& found) const {
    throw RequestError(field_->name, fmt::format("{}: wanted a token id from 0 to {}, found {}", place,
                                                 vocab_size_ - 1, found));
  }

  LineFields& fields_;
  const std::size_t vocab_size_;
  int depth_ = 0;
  const Field* field_ = nullptr;  // the one that is read; null: unknown
  bool container_ = false;        // its array or object is open and wanted
  std::string bias_id_;
  std::optional<RequestError> fault_;
};

// The first sentence says what is wrong with the bytes.
void read_fields(std::string_view text, std::string_view place, FieldListener& listener) {
  const weights::JsonRules rules{.max_string_bytes = kMaxBatchLineBytes, .remedy = {}};
  try {
    weights::parse_strict_json(text, place, listener, rules);
  } catch (const weights::CheckpointError& error) {
    throw RequestError("", error.what());
  }
  if (listener.fault()) throw *listener.fault();
}

// A record that is too long could not be read again by --resume.
void check_record_size(const GenerationRequest& request) {
  if (!request.top_log_probs || *request.top_log_probs < 0 || request.max_tokens < -1) return;
  if (request.max_tokens == -1) {
    throw RequestError("max_tokens",
                       "max_tokens: wanted a number of tokens, as logprobs are asked for, found -1");
  }
  const double prompt_rows = request.prompt_log_probs ? static_cast<double>(request.prompt.size()) : 0.0;
  const double rows = prompt_rows + static_cast<double>(request.max_tokens) *
                                        static_cast<double>(std::max<std::int64_t>(1, request.num_choices));
  const double count = rows * (static_cast<double>(*request.top_log_probs) + 1.0);
  if (count <= static_cast<double>(kMaxRecordLogProbs)) return;
  throw RequestError("logprobs",
                     fmt::format("logprobs: wanted at most {} log-probabilities in a record, found "
                                 "up to {:.0f} ({:.0f} tokens with {} each); ask for fewer, or "
                                 "for fewer max_tokens",
                                 kMaxRecordLogProbs, count, rows, *request.top_log_probs + 1));
}

}  // namespace

std::uint64_t line_seed(std::uint64_t run_seed, std::uint64_t line) {
  // SplitMix64 (Steele, Lea, Flood 2014): a step for each line, then its mixing function.
  std::uint64_t x = run_seed + line * 0x9e3779b97f4a7c15U;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
  return (x ^ (x >> 31)) >> 11;
}

BatchLineParser::BatchLineParser(const RunOptions& options, const ModelFiles& files, std::uint64_t run_seed)
    : files_(files),
      run_seed_(run_seed),
      ignore_eos_(options.sampling.ignore_eos),
      echo_(options.echo),
      bos_(!options.no_bos),
      special_(options.parse_special ? tokenizer::SpecialTokens::kParse : tokenizer::SpecialTokens::kPlain) {
  GenerationRequest whole = make_request(options.sampling, files, run_seed);
  whole.prompt = {0};
  try {
    check_request(whole, files.model.config.vocab_size);
  } catch (const RequestError& error) {
    throw in_option_words(error);
  }
  SamplingOptions sampling = options.sampling;
  sampling.ignore_eos = false;
  defaults_ = make_request(sampling, files, run_seed);
}

void BatchLineParser::parse(std::string_view text, std::uint64_t line, std::string_view place,
                            BatchRequest& result) const {
  LineFields fields;
  fields.result.request = defaults_;
  fields.result.echo = echo_;
  fields.ignore_eos = ignore_eos_;
  FieldListener listener(fields, files_.model.config.vocab_size);
  try {
    read_fields(text, place, listener);
  } catch (const RequestError&) {
    result.id = std::move(fields.result.id);
    throw;
  }
  result = std::move(fields.result);
  GenerationRequest& request = result.request;
  if (!fields.has_prompt) throw RequestError("prompt", "prompt: missing; give a string or token ids");
  if (fields.text) {
    if (!files_.tokenizer) {
      throw RequestError("prompt", "prompt: this model has no tokenizer; give an array of token ids");
    }
    try {
      request.prompt = files_.encode_prompt(*fields.text, bos_, special_);
    } catch (const UsageError& error) {
      throw RequestError("prompt", fmt::format("prompt: {}", error.what()));
    } catch (const tokenizer::TokenizerError& error) {
      throw RequestError("prompt", fmt::format("prompt: {}", error.what()));
    }
  }
  request.sampling.seed = fields.seed.value_or(line_seed(run_seed_, line));
  request.prompt_log_probs = result.echo && request.top_log_probs.has_value();
  if (fields.ignore_eos && request.eos_id) request.sampling.banned.push_back(*request.eos_id);
  check_record_size(request);
}

}  // namespace ttt::cli
