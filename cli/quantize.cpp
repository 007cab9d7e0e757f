// SPDX-License-Identifier: Apache-2.0
#include "cli/quantize.h"

#include <fmt/format.h>

#include <map>

#include "cli/convert.h"
#include "cli/exit_code.h"
#include "cli/json_output.h"
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
  ConvertResult result = write_gguf(files.model, files.checkpoint.metadata(),
                                    files.tokenizer ? &*files.tokenizer : nullptr, options.output, types);
  if (!options.report) return kOk;
  const QuantizeReport report{options.source, options.output, result.file_bytes, result.weights_hash,
                              std::move(result.tensors)};
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
  return text;
}

}  // namespace ttt::cli
