// SPDX-License-Identifier: Apache-2.0
#include "cli/generate.h"

#include <array>
#include <chrono>

#include "cli/progress.h"
#include "cli/signals.h"

namespace ttt::cli {

GenerationTimes generate(Session& session, Backend& backend,
                         const std::function<void(std::string_view text)>& on_text) {
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  auto prompt_end = begin;
  std::size_t decode_steps = 0;
  {
    Progress progress("reading the prompt", Progress::Unit::kTokens);
    backend.reset(session.slot());
    while (session.reason() == FinishReason::kRunning && !interrupted()) {
      const bool was_reading = session.reading_prompt();
      const std::array<Segment, 1> batch = {session.next_segment(backend.info().max_batch_tokens)};
      backend.submit(batch);
      const std::string text = session.accept(backend.wait().front());
      if (was_reading) {
        prompt_end = Clock::now();
        progress.update(static_cast<std::uint64_t>(session.position()), session.prompt_tokens());
        if (!session.reading_prompt()) progress.clear();
      } else {
        ++decode_steps;
      }
      on_text(text);
    }
  }
  const auto end = Clock::now();
  on_text(session.finish());
  const auto seconds = [](auto span) { return std::chrono::duration<double>(span).count(); };
  return {seconds(prompt_end - begin), seconds(end - prompt_end), decode_steps};
}

}  // namespace ttt::cli
