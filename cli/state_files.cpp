// SPDX-License-Identifier: Apache-2.0
#include "cli/state_files.h"

#include <fmt/format.h>

#include <filesystem>
#include <system_error>
#include <vector>

#include "cli/exit_code.h"
#include "cli/progress.h"
#include "cli/readable.h"
#include "cli/signals.h"
#include "cli/standard_streams.h"
#include "engine/weights_hash.h"

namespace ttt::cli {
namespace {

// Found now, not after an hour of reading.
void check_target(const std::string& path) {
  check_output(path, /*force=*/true);
  std::error_code error;
  if (std::filesystem::exists(path, error) && !is_snapshot(path)) {
    throw UsageError(
        fmt::format("--state-out: {} stands there and is no saved state; name another file", path));
  }
  const std::filesystem::path folder = std::filesystem::absolute(path).parent_path();
  if (!std::filesystem::is_directory(folder, error)) {
    throw UsageError(fmt::format("--state-out: there is no folder {}", folder.string()));
  }
}

}  // namespace

std::string hash_of(const ModelFiles& files) {
  if (!files.model.stated_hash.empty()) return files.model.stated_hash;
  Progress progress("telling the model by its weights", Progress::Unit::kBytes);
  return weights_hash(files.model, [&](std::uint64_t hashed) {
    check_interrupted();
    progress.update(hashed, files.checkpoint.file_bytes());
  });
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
  print_notice(fmt::format("{}: the state behind {} tokens, {}", *options_.out, snapshot.tokens.size(),
                           readable_bytes(snapshot.state->bytes.size())));
}

}  // namespace ttt::cli
