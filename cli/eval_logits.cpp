// SPDX-License-Identifier: Apache-2.0
#include "cli/eval_logits.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <span>

#include "cli/exit_code.h"
#include "cli/parse_value.h"
#include "cli/progress.h"
#include "cli/signals.h"
#include "cli/standard_streams.h"
#include "engine/state_layout.h"
#include "weights/safetensors.h"

namespace ttt::cli {
namespace {

std::vector<TokenId> read_ids(const std::string& argument, std::size_t vocab_size) {
  const std::string list = argument.starts_with('@') ? read_input(argument.substr(1)) : argument;
  return parse_id_list(list, static_cast<std::int64_t>(vocab_size), "--ids");
}

std::vector<StateTensor> list_filled_state(const ModelConfig& config, std::int64_t position) {
  std::vector<StateTensor> tensors = list_state(config, position);
  std::erase_if(tensors, [](const StateTensor& tensor) { return tensor.shape.front() == 0; });
  return tensors;
}

void write_state(const Backend& backend, const ModelConfig& config, std::int64_t position,
                 weights::SafetensorsWriter& writer) {
  std::vector<float> state(state_bytes(config, position) / sizeof(float));
  backend.save(0, position, std::as_writable_bytes(std::span(state)));
  for (const StateTensor& tensor : list_filled_state(config, position)) {
    std::size_t row_floats = 1;
    for (const std::size_t extent : std::span(tensor.shape).subspan(1)) row_floats *= extent;
    for (std::size_t row = 0; row < tensor.shape.front(); ++row) {
      writer.write(
          std::as_bytes(std::span(state).subspan(tensor.offset + row * tensor.row_stride, row_floats)));
    }
  }
}

}  // namespace

void read_logits(Backend& backend, std::span<const TokenId> ids,
                 const std::function<void(std::span<const float> rows)>& take) {
  Progress progress("reading", Progress::Unit::kTokens);
  backend.reset(0);
  for (std::size_t first = 0; first < ids.size(); first += kLogitsLimits.tokens) {
    check_interrupted();
    Segment segment;
    segment.position = static_cast<std::int64_t>(first);
    segment.tokens = ids.subspan(first, std::min(kLogitsLimits.tokens, ids.size() - first));
    segment.wanted.logits = Rows::kAll;
    const std::array<Segment, 1> batch = {segment};
    backend.submit(batch);
    take(backend.wait().front().logits);
    progress.update(first + segment.tokens.size(), ids.size());
  }
}

int eval_logits(const LogitsOptions& options) {
  if (options.ids.empty()) throw UsageError("no token ids; give --ids 1,2,3 or --ids @FILE");
  if (options.output.empty()) throw UsageError("no output file; name one with -o OUT.safetensors");
  check_output(options.output, options.force);
  OpenModel model(options.model, kLogitsLimits);
  const ModelConfig& config = model.config();
  const std::vector<TokenId> ids = read_ids(options.ids, config.vocab_size);
  const auto position = static_cast<std::int64_t>(ids.size());

  std::vector<weights::SafetensorsTensorInfo> tensors = {
      {"logits", weights::DType::kF32, {ids.size(), config.vocab_size}},
      {"input_ids", weights::DType::kI32, {ids.size()}}};
  if (options.state) {
    for (const StateTensor& tensor : list_filled_state(config, position)) {
      tensors.push_back({"state." + tensor.name, weights::DType::kF32,
                         weights::Shape(tensor.shape.begin(), tensor.shape.end())});
    }
  }
  weights::SafetensorsWriter writer(options.output, std::move(tensors));
  read_logits(*model.backend, ids, [&](std::span<const float> rows) { writer.write(std::as_bytes(rows)); });
  writer.write(std::as_bytes(std::span(ids)));
  if (options.state) write_state(*model.backend, config, position, writer);
  writer.commit();
  print_notice(fmt::format("{}: logits of {} tokens{}", options.output, ids.size(),
                           options.state ? " and the state after them" : ""));
  return kOk;
}

}  // namespace ttt::cli
