// SPDX-License-Identifier: Apache-2.0
#include "weights/temporary_name.h"

#include <limits.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace ttt::weights {
namespace {

enum class EntryState : std::uint8_t { kFree, kFilling, kSet, kRemoved };

// Whoever changes the state owns the path until the next change: a handler never reads one that is written.
struct Entry {
  std::atomic<EntryState> state{EntryState::kFree};
  std::array<char, PATH_MAX> path{};  // ends with a null
};
static_assert(std::atomic<EntryState>::is_always_lock_free, "used in a signal handler");

constinit std::array<Entry, 16> entries;

bool change(Entry& entry, EntryState from, EntryState to) {
  return entry.state.compare_exchange_strong(from, to);
}

}  // namespace

void TemporaryName::set(std::string path) {
  path_ = std::move(path);
  if (path_.size() >= PATH_MAX) return;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    Entry& entry = entries[i];
    if (!change(entry, EntryState::kFree, EntryState::kFilling)) continue;
    entry.path[path_.copy(entry.path.data(), path_.size())] = '\0';
    entry.state = EntryState::kSet;
    entry_ = static_cast<int>(i);
    return;
  }
}

void TemporaryName::clear() noexcept {
  path_.clear();
  if (entry_ < 0) return;
  change(entries[static_cast<std::size_t>(std::exchange(entry_, -1))], EntryState::kSet, EntryState::kFree);
}

void remove_temporaries() noexcept {
  for (Entry& entry : entries) {
    if (change(entry, EntryState::kSet, EntryState::kRemoved)) ::unlink(entry.path.data());
  }
  for (Entry& entry : entries) {  // folders, now that their files are gone
    if (entry.state == EntryState::kRemoved) ::rmdir(entry.path.data());
  }
}

}  // namespace ttt::weights
