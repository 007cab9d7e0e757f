// SPDX-License-Identifier: Apache-2.0
#include "cli/eval_ppl.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <numbers>
#include <stdexcept>

#include "cli/exit_code.h"
#include "cli/json_output.h"
#include "cli/progress.h"
#include "cli/readable.h"
#include "cli/signals.h"
#include "cli/standard_streams.h"
#include "engine/batch.h"

namespace ttt::cli {
namespace {

constexpr std::size_t kFirstBucket = 64;

// -ln p(ids[i + 1] | ids[0 ... i]) for every i.
std::vector<double> token_losses(const std::vector<TokenId>& ids, Backend& backend) {
  Progress progress("reading", Progress::Unit::kTokens);
  const std::span<const TokenId> inputs = std::span(ids).first(ids.size() - 1);
  const std::span<const TokenId> targets = std::span(ids).subspan(1);
  std::vector<double> losses;
  backend.reset(0);
  while (losses.size() < inputs.size()) {
    check_interrupted();
    const std::size_t first = losses.size();
    const std::size_t count = std::min(backend.info().max_batch_tokens, inputs.size() - first);
    Segment segment;
    segment.position = static_cast<std::int64_t>(first);
    segment.tokens = inputs.subspan(first, count);
    segment.wanted.log_probs = Rows::kAll;
    segment.wanted.targets = targets.subspan(first, count);
    segment.wanted.targets_per_row = 1;
    const std::array<Segment, 1> batch = {segment};
    backend.submit(batch);
    for (const float log_prob : backend.wait().front().target_log_probs) {
      if (!std::isfinite(log_prob)) {
        throw std::runtime_error(fmt::format("after {} tokens {}", losses.size() + 1, kNotFinite));
      }
      losses.push_back(-static_cast<double>(log_prob));
    }
    progress.update(losses.size(), inputs.size());
  }
  return losses;
}

// Bytes of the text that predictions covered: all but the first id's.
std::size_t covered_bytes(const std::vector<TokenId>& ids, const ModelFiles& files) {
  const tokenizer::Tokenizer& tokenizer = files.need_tokenizer();
  return tokenizer.decode(ids).size() - tokenizer.decode(std::span(ids).first(1)).size();
}

std::string as_text(const PplResult& result) {
  std::string text = fmt::format(
      "tokens         {}\nloss           {:.5f} nats per token\nperplexity     {:.4f}\nbits per byte  "
      "{:.5f}\n"
      "time           {}, {:.1f} tokens/s\n\n{:>9} {:>9} {:>9}\n",
      result.tokens, result.loss, result.perplexity, result.bits_per_byte, readable_seconds(result.seconds),
      static_cast<double>(result.tokens - 1) / result.seconds, "first", "end", "loss");
  for (const auto& [first, end, loss] : result.by_position) {
    text += fmt::format("{:>9} {:>9} {:>9.5f}\n", first, end, loss);
  }
  return text;
}

}  // namespace

std::vector<TokenId> ids_of_text(const ModelFiles& files, const std::string& text,
                                 std::optional<std::int64_t> tokens, std::size_t least) {
  std::vector<TokenId> ids = files.encode_prompt(text, true, tokenizer::SpecialTokens::kPlain);
  if (tokens && std::cmp_less(*tokens, ids.size())) {
    ids.resize(static_cast<std::size_t>(*tokens));
  } else if (tokens && std::cmp_greater(*tokens, ids.size())) {
    print_warning(fmt::format("the text has {} tokens only, not {}", ids.size(), *tokens));
  }
  if (ids.size() < least) {
    throw UsageError(
        fmt::format("the text is too short: at least {} tokens are needed, bos included", least));
  }
  return ids;
}

PplResult summarise_losses(const std::vector<double>& losses) {
  PplResult result;
  result.tokens = losses.size() + 1;
  double total = 0.0;
  for (std::size_t first = 0; first < losses.size();) {
    const std::size_t end = std::min(first == 0 ? kFirstBucket : 2 * first, losses.size());
    double sum = 0.0;
    for (std::size_t i = first; i < end; ++i) sum += losses[i];
    result.by_position.push_back({first, end, sum / static_cast<double>(end - first)});
    total += sum;
    first = end;
  }
  result.loss = total / static_cast<double>(losses.size());
  result.perplexity = std::exp(result.loss);
  return result;
}

int eval_ppl(const PplOptions& options) {
  if (options.file.empty()) throw UsageError("no text; name one with -f FILE (- for stdin)");
  require_model(options.model.model);
  const std::string text = read_input(options.file);
  OpenModel model(options.model);
  const std::vector<TokenId> ids = ids_of_text(model.files, text, options.tokens, /*least=*/2);
  const auto begin = std::chrono::steady_clock::now();
  const std::vector<double> losses = token_losses(ids, *model.backend);
  PplResult result = summarise_losses(losses);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const auto bytes = static_cast<double>(std::max<std::size_t>(1, covered_bytes(ids, model.files)));
  result.bits_per_byte = result.loss * static_cast<double>(losses.size()) / std::numbers::ln2 / bytes;
  write_stdout(options.json ? to_json(result) : as_text(result));
  return kOk;
}

}  // namespace ttt::cli
