// SPDX-License-Identifier: Apache-2.0
#include "cli/quantize.h"

#include <fmt/format.h>

#include <map>
#include <optional>
#include <utility>

#include "cli/convert.h"
#include "cli/eval_logits.h"
#include "cli/eval_ppl.h"
#include "cli/exit_code.h"
#include "cli/json_output.h"
#include "cli/machine.h"
#include "cli/open_model.h"
#include "cli/readable.h"
#include "cli/standard_streams.h"
#include "weights/element_type.h"

namespace ttt::cli {
namespace {

std::string_view name_of(weights::DType type) { return weights::dtype_info(type).name; }

std::string mix_of(const QuantizeReport& report) {
  struct Part {
    std::size_t tensors = 0;
    std::uint64_t weights = 0, bytes = 0;
  };
  std::map<std::string_view, Part> parts;
  for (const ConvertedTensor& tensor : report.tensors) {
    Part& part = parts[name_of(tensor.to)];
    ++part.tensors;
    part.weights += *weights::num_elements(tensor.shape);
    part.bytes += tensor.bytes;
  }
  std::string text = "| type | tensors | weights | bytes | bits per weight |\n|---|---:|---:|---:|---:|\n";
  for (const auto& [type, part] : parts) {
    text += fmt::format("| {} | {} | {} | {} | {:.2f} |\n", type, part.tensors, readable_count(part.weights),
                        readable_bytes(part.bytes),
                        8.0 * static_cast<double>(part.bytes) / static_cast<double>(part.weights));
  }
  return text;
}

std::string predictions_of(const QuantizeReport& report) {
  const PredictionComparison& p = *report.predictions;
  constexpr double kPercent = 100.0;
  std::string text = fmt::format("\nWhat both predict of {}, {} tokens read in {}:\n\n", report.file,
                                 p.tokens, readable_seconds(p.seconds));
  text += "| | source | output | change | standard error |\n|---|---:|---:|---:|---:|\n";
  text += fmt::format("| perplexity | {:.4f} | {:.4f} | {:+.3f} % | {:.3f} % |\n", p.source_perplexity,
                      p.output_perplexity, kPercent * p.perplexity_change.mean,
                      kPercent * p.perplexity_change.error);
  text +=
      "\n| output against source | mean | standard error | 99 % have at most | largest |\n"
      "|---|---:|---:|---:|---:|\n";
  text += fmt::format("| KL divergence, nats a token | {:.3g} | {:.2g} | {:.3g} | {:.3g} |\n",
                      p.divergence.mean, p.divergence.error, p.divergence_p99, p.divergence_max);
  text += fmt::format("| the same token most probable | {:.2f} % | {:.2f} % | | |\n",
                      kPercent * p.same_top.mean, kPercent * p.same_top.error);
  return text;
}

// The comparison of the source and of the file that is written, on the CPU: what is measured is the rounding
// of the weights, not a device's.
class TextComparison {
 public:
  // Reads the text and foretells the memory, before anything is written.
  TextComparison(const QuantizeOptions& options, const ModelFiles& source, const TensorTypes& types)
      : source_(source),
        output_(options.output),
        ids_(ids_of_text(source, read_input(options.file), options.tokens, kMinComparedTokens)) {
    model_options_.device = "cpu";
    model_options_.threads = options.threads;
    const Model written = without_bytes(source.model.config, types);
    check_both_fit(planned_cpu_memory(source.model, model_options_, kLogitsLimits),
                   planned_cpu_memory(written, model_options_, kLogitsLimits), usable_memory(read_machine()));
  }

  PredictionComparison run() const {
    try {
      const ModelFiles output(output_);
      const auto before = make_backend(source_.model, model_options_, kLogitsLimits);
      const auto after = make_backend(output.model, model_options_, kLogitsLimits);
      return compare_predictions(*before, *after, ids_);
    } catch (...) {
      print_notice(fmt::format("{} is whole and stays; only its comparison did not come to an end", output_));
      throw;
    }
  }

 private:
  const ModelFiles& source_;
  std::string output_;
  ModelOptions model_options_;
  std::vector<TokenId> ids_;
};

}  // namespace

KeptType parse_kept_type(const std::string& text) {
  const std::size_t equals = text.rfind('=');
  const auto type =
      equals == std::string::npos ? std::nullopt : weights::dtype_from_name(text.substr(equals + 1));
  if (equals == 0 || !type || !weights::is_weight_type(*type)) {
    throw UsageError(
        fmt::format("--keep: wanted PATTERN=TYPE, as in 'output*=f16', with one of the types f32, f16, bf16, "
                    "q8_0, q6_k, q4_k and q4_0; found '{}'",
                    text));
  }
  return {text.substr(0, equals), *type};
}

int quantize(const QuantizeOptions& options) {
  require_model(options.source);
  if (options.output.empty()) throw UsageError("name the file to write: ttt quantize IN.gguf OUT.gguf");
  if (options.tokens && options.file.empty()) throw UsageError("--tokens is of the text that -f names");
  refuse_input_as_output(options.output, {options.source, options.file});
  check_output(options.output, options.force);
  TensorTypes types{.matrices = *weights::dtype_from_name(options.type)};
  for (const std::string& text : options.keep) types.kept.push_back(parse_kept_type(text));
  const ModelFiles files(options.source);
  if (const auto pattern = unmatched_pattern(types, files.model); !pattern.empty()) {
    throw UsageError(fmt::format(
        "--keep: no matrix of {} has a name that matches '{}'; `ttt info {} --tensors` lists the names",
        options.source, pattern, options.source));
  }
  if (!options.requantize) refuse_quantised(files.model);
  std::optional<TextComparison> comparison;
  if (!options.file.empty()) comparison.emplace(options, files, types);
  ConvertResult result = write_gguf(files.model, files.checkpoint.metadata(),
                                    files.tokenizer ? &*files.tokenizer : nullptr, options.output, types);
  if (!options.report && !comparison) return kOk;
  QuantizeReport report{.source = options.source,
                        .output = options.output,
                        .file_bytes = result.file_bytes,
                        .weights_hash = result.weights_hash,
                        .tensors = std::move(result.tensors),
                        .file = options.file,
                        .predictions = {}};
  if (comparison) report.predictions = comparison->run();
  write_stdout(options.format == "json" ? to_json(report) : to_markdown(report));
  return kOk;
}

std::string to_markdown(const QuantizeReport& report) {
  std::string text = mix_of(report);
  text += "\n| tensor | shape | from | to | bytes | relative rms error |\n|---|---|---|---|---:|---:|\n";
  for (const ConvertedTensor& tensor : report.tensors) {
    if (tensor.from == tensor.to) continue;
    text += fmt::format("| {} | {} | {} | {} | {} | {:.3g} |\n", tensor.name,
                        weights::to_string(tensor.shape), name_of(tensor.from), name_of(tensor.to),
                        readable_bytes(tensor.bytes), tensor.relative_error);
  }
  if (report.predictions) text += predictions_of(report);
  return text;
}

}  // namespace ttt::cli
