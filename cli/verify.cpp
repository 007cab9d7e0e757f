// SPDX-License-Identifier: Apache-2.0
#include "cli/verify.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "cli/eval_logits.h"
#include "cli/exit_code.h"
#include "cli/open_model.h"
#include "cli/progress.h"
#include "cli/selftest.h"
#include "cli/signals.h"
#include "cli/standard_streams.h"
#include "engine/compare_weights.h"
#include "weights/checkpoint_error.h"
#include "weights/safetensors.h"

namespace ttt::cli {
namespace {

// Over the rms of the logits. This engine stays within 2e-6 of float64 on random models; the official JAX
// code, which computes in float32, within 4e-6.
constexpr double kLogitsBound = 2e-5;

struct Reference {
  std::vector<TokenId> ids;
  std::vector<double> logits;  // [ids, V]
};

// Values of I32, I64, F32 or F64, which are exact in a double here.
std::vector<double> values_of(const weights::TensorView& tensor, const std::string& file) {
  const std::size_t count = static_cast<std::size_t>(*weights::num_elements(tensor.shape));
  std::vector<double> values(count);
  const auto convert = [&]<typename T>(T) {
    for (std::size_t i = 0; i < count; ++i) {
      T value;
      std::memcpy(&value, tensor.bytes.data() + i * sizeof(T), sizeof(T));
      values[i] = static_cast<double>(value);
    }
  };
  switch (tensor.dtype) {
    case weights::DType::kI32:
      convert(std::int32_t{});
      break;
    case weights::DType::kI64:
      convert(std::int64_t{});
      break;
    case weights::DType::kF32:
      convert(float{});
      break;
    case weights::DType::kF64:
      convert(double{});
      break;
    default:
      weights::refuse({.file = file,
                       .where = tensor.name,
                       .wanted = "ids of type I32 or I64, logits of type F32 or F64",
                       .found = weights::dtype_info(tensor.dtype).name});
  }
  return values;
}

Reference read_reference(const std::string& path, std::size_t vocab_size) {
  const auto file = weights::SafetensorsFile::open(path, weights::FileAccess::kRead);
  const auto refuse = [&](std::string_view where, std::string_view wanted, std::string_view found) {
    weights::refuse({.file = path,
                     .where = where,
                     .wanted = wanted,
                     .found = found,
                     .remedy = "`ttt eval logits` writes such a file, of any model that opens."});
  };
  const weights::TensorView* ids = file.find_tensor("token_ids");
  if (ids == nullptr) ids = file.find_tensor("input_ids");
  const weights::TensorView* logits = file.find_tensor("logits");
  if (ids == nullptr || logits == nullptr) {
    refuse("tensors", "token_ids (or input_ids) and logits", ids == nullptr ? "no ids" : "no logits");
  }
  if (ids->shape.size() != 1 || ids->shape[0] == 0) {
    refuse(ids->name, "[L], at least one", weights::to_string(ids->shape));
  }
  const weights::Shape wanted = {ids->shape[0], vocab_size};
  if (logits->shape != wanted) {
    refuse("logits", weights::to_string(wanted), weights::to_string(logits->shape));
  }
  Reference reference;
  for (const double id : values_of(*ids, path)) {
    if (!(id >= 0.0 && id < static_cast<double>(vocab_size))) {
      refuse(ids->name, fmt::format("ids below {}", vocab_size), fmt::format("{}", id));
    }
    reference.ids.push_back(static_cast<TokenId>(id));
  }
  reference.logits = values_of(*logits, path);
  return reference;
}

// Largest difference over the rms of the reference.
double error_of_logits(const Model& model, const Reference& reference) {
  const auto backend = make_backend(model, {}, kLogitsLimits);
  double squares = 0.0, largest = 0.0;
  std::size_t done = 0;
  read_logits(*backend, reference.ids, [&](std::span<const float> rows) {
    for (const float logit : rows) {
      const double wanted = reference.logits[done++];
      squares += wanted * wanted;
      const double error = std::abs(static_cast<double>(logit) - wanted);
      if (!(error <= largest)) largest = error;  // a NaN is kept
    }
  });
  return largest / std::sqrt(squares / static_cast<double>(done));
}

void compare_logits(const Model& model, std::size_t rounded, const VerifyOptions& options) {
  const double error = error_of_logits(model, read_reference(options.reference, model.config.vocab_size));
  const bool has_bound = options.max_error > 0.0 || rounded == 0;
  const double bound = options.max_error > 0.0 ? options.max_error : kLogitsBound;
  const std::string text = fmt::format("logits: largest error {:.2e} of the rms", error);
  if (has_bound && !(error <= bound)) {
    throw std::runtime_error(fmt::format("{}, {:.2g} at most was wanted", text, bound));
  }
  print_notice(has_bound
                   ? fmt::format("{} (bound {:.2g})", text, bound)
                   : fmt::format("{} (no bound where weights were rounded; --max-error sets one)", text));
}

void compare_config(const ModelConfig& wanted, const ModelConfig& found) {
  weights::GgufMetadata in_source, in_file;
  append_config(wanted, in_source);
  append_config(found, in_file);
  for (const auto& [key, value] : in_source) {
    const weights::GgufValue* other = weights::find(in_file, key);
    if (other == nullptr || *other != value) throw std::runtime_error(key + " is not the source's");
  }
}

void compare_tokenizer(const tokenizer::Tokenizer* wanted, const std::optional<tokenizer::Tokenizer>& found) {
  const bool same = wanted == nullptr ? !found : found && found->model_bytes() == wanted->model_bytes();
  if (!same) throw std::runtime_error("the tokenizer is not the one that was given");
}

WeightsComparison compare_with_progress(const Model& source, const Model& written, const TensorTypes& types) {
  std::uint64_t total = 0;
  for (const NamedTensor& tensor : list_tensors(source)) {
    total += weights::tensor_bytes(tensor.view.dtype, tensor.view.shape).value_or(0);
  }
  Progress progress("verifying", Progress::Unit::kBytes);
  return compare_weights(source, written, types, [&](std::uint64_t read) {
    check_interrupted();
    progress.update(read, total);
  });
}

void run_selftest(const ModelFiles& files) {
  Selftest run(
      [](const Model& model, const BackendLimits& limits, std::int64_t threads) {
        ModelOptions options;
        options.threads = threads;
        return make_backend(model, options, limits);
      },
      [](const SelftestCheck&) {});
  run.check_model(files);
  std::size_t skipped = 0;
  for (const SelftestCheck& check : run.checks()) {
    if (check.status == CheckStatus::kSkip) ++skipped;
    if (check.status == CheckStatus::kFail) {
      throw std::runtime_error(fmt::format("self-test: {}: {}", check.name, text_of(check.measured)));
    }
  }
  print_notice(
      fmt::format("self-test: {} checks passed, {} skipped", run.checks().size() - skipped, skipped));
}

}  // namespace

void check_reference(const VerifyOptions& options, std::size_t vocab_size) {
  if (options.reference.empty()) return;
  try {
    read_reference(options.reference, vocab_size);
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(fmt::format("--reference: {}", error.what()));
  }
}

void verify_file(const std::string& path, const std::string& output, const Original& original,
                 const VerifyOptions& options) {
  try {
    const ModelFiles files(path);
    compare_config(original.model.config, files.model.config);
    compare_tokenizer(original.tokenizer, files.tokenizer);
    const WeightsComparison compared = compare_with_progress(original.model, files.model, original.types);
    print_notice(
        compared.rounded == 0
            ? fmt::format("verified: {} tensors, every value as in the source", compared.tensors)
            : fmt::format("verified: {} tensors, {} of them rounded as their type does (at most {:.2f} "
                          "of what it may cost)",
                          compared.tensors, compared.rounded, compared.worst_rounding));
    run_selftest(files);
    if (!options.reference.empty()) compare_logits(files.model, compared.rounded, options);
  } catch (const MemoryError&) {
    throw;
  } catch (const std::runtime_error& error) {
    throw std::runtime_error(
        fmt::format("{}: verification failed, and the file was not kept: {}", output, error.what()));
  }
}

}  // namespace ttt::cli
