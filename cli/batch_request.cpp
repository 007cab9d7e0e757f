// SPDX-License-Identifier: Apache-2.0
#include "cli/batch_request.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

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

// A field that is not known is a slip of the pen: nothing that a line says is ignored.
void check_all_known(const server::CompletionFields& fields) {
  if (fields.unknown.empty()) return;
  const std::string& name = fields.unknown.front();
  const std::vector<std::string> names = server::completion_field_names(server::FieldSet::kBatch);
  const auto meant = nearest(name, names);
  throw RequestError(name, fmt::format("{}: there is no such field{}", name,
                                       meant ? fmt::format("; did you mean {}?", *meant)
                                             : fmt::format("; there are {}", fmt::join(names, ", "))));
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
  const server::FieldRules rules{.set = server::FieldSet::kBatch,
                                 .vocab_size = files_.model.config.vocab_size,
                                 .max_string_bytes = kMaxBatchLineBytes};
  server::CompletionFields fields;
  fields.request = defaults_;
  fields.echo = echo_;
  fields.ignore_eos = ignore_eos_;
  try {
    server::read_completion_fields(text, place, rules, fields);
    check_all_known(fields);
  } catch (const RequestError&) {
    result.id = std::move(fields.id);
    throw;
  }
  result = {.id = std::move(fields.id), .request = std::move(fields.request), .echo = fields.echo};
  GenerationRequest& request = result.request;
  if (fields.prompts.empty()) throw RequestError("prompt", "prompt: missing; give a string or token ids");
  request.prompt = encode(std::move(fields.prompts.front()));
  request.sampling.seed = fields.seed.value_or(line_seed(run_seed_, line));
  request.prompt_log_probs = result.echo && request.top_log_probs.has_value();
  if (fields.ignore_eos && request.eos_id) request.sampling.banned.push_back(*request.eos_id);
  check_record_size(request);
}

std::vector<TokenId> BatchLineParser::encode(server::Prompt prompt) const {
  if (auto* ids = std::get_if<std::vector<TokenId>>(&prompt)) return std::move(*ids);
  if (!files_.tokenizer) {
    throw RequestError("prompt", "prompt: this model has no tokenizer; give an array of token ids");
  }
  try {
    return files_.encode_prompt(std::get<std::string>(prompt), bos_, special_);
  } catch (const UsageError& error) {
    throw RequestError("prompt", fmt::format("prompt: {}", error.what()));
  } catch (const tokenizer::TokenizerError& error) {
    throw RequestError("prompt", fmt::format("prompt: {}", error.what()));
  }
}

}  // namespace ttt::cli
