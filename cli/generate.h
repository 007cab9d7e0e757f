// SPDX-License-Identifier: Apache-2.0
// One session on one backend, to its end.
#pragma once

#include <cstddef>
#include <functional>
#include <string_view>

#include "engine/backend.h"
#include "engine/session.h"

namespace ttt::cli {

struct GenerationTimes {
  double prefill_seconds = 0.0;  // reading the prompt, up to the first sampled token
  double decode_seconds = 0.0;   // from there to the end
  std::size_t decode_steps = 0;  // taken in that time; the one that drew the end-of-text token is one
};

// Resets the session's slot and steps until the session ends or a signal asks for the end; the step in
// flight is finished then. `on_text` receives what is certain after each step, possibly nothing.
GenerationTimes generate(Session& session, Backend& backend,
                         const std::function<void(std::string_view text)>& on_text);

}  // namespace ttt::cli
