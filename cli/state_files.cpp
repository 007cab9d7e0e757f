// SPDX-License-Identifier: Apache-2.0
#include "cli/state_files.h"

#include <fmt/format.h>

#include <filesystem>
#include <string_view>
#include <system_error>

#include "cli/exit_code.h"
#include "cli/free_space.h"
#include "cli/progress.h"
#include "cli/readable.h"
#include "cli/signals.h"
#include "cli/standard_streams.h"
#include "engine/state_layout.h"
#include "engine/weights_hash.h"
#include "weights/atomic_file.h"

namespace ttt::cli {
namespace {

// Found now, not after an hour of reading.
void check_target(const std::string& path) {
  if (path.empty()) throw UsageError("--state-out: wanted a file, found nothing");
  check_output(path, /*force=*/true);
  std::error_code error;
  if (std::filesystem::exists(path, error) && !is_snapshot(path)) {
    throw UsageError(
        fmt::format("--state-out: {} stands there and is no saved state; name another file", path));
  }
  const weights::AtomicFile trial(path);  // gone again at once
}

}  // namespace

std::string hash_of(const ModelFiles& files) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  const std::string& stated = files.model.stated_hash;
  if (stated.size() == 32 && stated.find_first_not_of(kDigits) == std::string::npos) return stated;
  Progress progress("telling the model by its weights", Progress::Unit::kBytes);
  return weights_hash(files.model, [&](std::uint64_t hashed) {
    check_interrupted();
    progress.update(hashed, files.checkpoint.file_bytes());
  });
}

std::string readable_state(const Snapshot& snapshot) {
  return fmt::format("{} of {} tokens read, a state of {}", snapshot.state->position, snapshot.tokens.size(),
                     readable_bytes(snapshot.state->bytes.size()));
}

void compare_targets(const Snapshot& snapshot, const std::string& path, const BackendInfo& backend) {
  if (snapshot.dispatch_target == backend.dispatch_target) return;
  print_notice(fmt::format("{}: computed by {}, goes on by {}: the same within rounding, not bit by bit",
                           path, snapshot.dispatch_target, backend.dispatch_target));
}

StateFiles::StateFiles(const StateOptions& options) : options_(options) {
  if (options_.out) check_target(*options_.out);
  if (options_.in) start_ = read_snapshot(*options_.in);
}

void StateFiles::check(const ModelFiles& files) {
  if (!options_.in && !options_.out) return;
  weights_hash_ = hash_of(files);
  config_hash_ = config_hash(files.model.config);
  if (start_) check_snapshot(*start_, *options_.in, files.model.config, weights_hash_);
  if (options_.out) check_free_space(*options_.out, max_state_bytes(files.model.config));
}

std::size_t StateFiles::tokens_read() const {
  return start_ ? static_cast<std::size_t>(start_->state->position) : 0;
}

void StateFiles::extend(GenerationRequest& request) const {
  request.keep_state = options_.out.has_value();
  if (!start_) return;
  request.prompt.insert(request.prompt.begin(), start_->tokens.begin(), start_->tokens.end());
  // One that has read nothing is begun as any other.
  if (start_->state->position > 0) request.start = start_->state;
}

void StateFiles::compare(const BackendInfo& backend) const {
  if (start_) compare_targets(*start_, *options_.in, backend);
}

void StateFiles::save(const GenerationRequest& request, const Choice& choice,
                      const BackendInfo& backend) const {
  if (!options_.out) return;
  if (choice.finish.state == nullptr) {
    print_warning(fmt::format("{} is not written: nothing was read", *options_.out));
    return;
  }
  Snapshot snapshot{.weights_hash = weights_hash_,
                    .config_hash = config_hash_,
                    .dispatch_target = backend.dispatch_target,
                    .tokens = request.prompt,
                    .state = choice.finish.state};
  for (const TokenId id : choice.output_ids()) snapshot.tokens.push_back(id);
  write_snapshot(*options_.out, snapshot);
  print_notice(fmt::format("{}: {}", *options_.out, readable_state(snapshot)));
}

}  // namespace ttt::cli
