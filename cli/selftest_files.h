// SPDX-License-Identifier: Apache-2.0
// What `ttt selftest` asks of a model's files and of the text that a model reads and writes. The numbers that
// the bundled models must give stand in the .cpp.
#pragma once

#include <string>
#include <vector>

#include "cli/selftest_checks.h"

namespace ttt::cli {

// Written as a GGUF file to the system's temporary folder, opened again, compared. Skipped where nothing can
// be written there.
Measured gguf_round_trip(const RandomModel& random);

// As `ttt info --check`: every weight is read.
Measured file_is_sound(const ModelFiles& files);
// Weights and one sequence's state against the memory that this process can have.
Measured fits_into_memory(const ModelFiles& files);
// Text to ids and back gives a text that stays as it is when that is done again.
Measured tokenizer_round_trip(const ModelFiles& files);

// The first `count` ids of a built-in English text; random ids where the model has no tokenizer.
std::vector<TokenId> english_ids(const ModelFiles& files, std::size_t count);
// Of the built-in text, against that of a model that knows nothing: ln V. `count` ids at most.
Measured mean_loss(const ModelFiles& files, Backend& backend, std::size_t count);

// Of a bundled model, "linear" or "mlp".
Measured demo_weights_known(const std::string& kind, const ModelFiles& files);
Measured demo_mean_log_prob(const std::string& kind, const ModelFiles& files, Backend& backend);
Measured demo_greedy_text(const std::string& kind, const ModelFiles& files, Backend& backend);

}  // namespace ttt::cli
