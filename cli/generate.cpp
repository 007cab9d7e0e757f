// SPDX-License-Identifier: Apache-2.0
#include "cli/generate.h"

#include <algorithm>
#include <chrono>
#include <new>
#include <stdexcept>
#include <utility>

#include "cli/progress.h"
#include "cli/signals.h"
#include "engine/backend.h"

namespace ttt::cli {

std::vector<TokenId> Choice::output_ids() const {
  std::vector<TokenId> ids;
  for (const TokenInfo& token : tokens) ids.push_back(token.id);
  if (finish.ended_by_token) ids.pop_back();
  return ids;
}

void add_event(Generation& generation, TokenEvent event) {
  if (event.choice >= generation.choices.size()) generation.choices.resize(event.choice + 1);
  Choice& choice = generation.choices[event.choice];
  for (TokenInfo& token : event.prompt_tokens) generation.prompt_tokens.push_back(std::move(token));
  for (TokenInfo& token : event.tokens) choice.tokens.push_back(std::move(token));
  choice.text += event.text;
  if (event.finish) choice.finish = std::move(*event.finish);
}

Generation read_stream(TokenStream& stream, const std::function<void(const TokenEvent&)>& on_event) {
  Generation generation;
  Progress progress("reading the prompt", Progress::Unit::kTokens);
  while (!stream.exhausted()) {
    auto event = stream.pop_until(std::chrono::steady_clock::now() + kPollTime);
    if (interrupted()) stream.cancel();
    if (!event) {
      const std::size_t read = stream.prompt_tokens_read();
      if (read < stream.prompt_tokens()) progress.update(read, stream.prompt_tokens());
      continue;
    }
    progress.clear();
    on_event(*event);
    add_event(generation, std::move(*event));
  }
  const auto has_ended = [](const Choice& choice) { return choice.finish.reason != FinishReason::kRunning; };
  if (generation.choices.empty() || !std::ranges::all_of(generation.choices, has_ended)) {
    throw std::bad_alloc();  // the stream was broken off
  }
  generation.prompt_tokens_read = stream.prompt_tokens_read();
  return generation;
}

void check_not_failed(const Generation& generation) {
  for (const Choice& choice : generation.choices) {
    if (choice.finish.reason != FinishReason::kFailed) continue;
    if (choice.finish.device_lost) throw DeviceLost(choice.finish.error);
    throw std::runtime_error(choice.finish.error);
  }
}

}  // namespace ttt::cli
