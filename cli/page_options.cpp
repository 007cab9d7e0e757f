// SPDX-License-Identifier: Apache-2.0
#include "cli/page_options.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "cli/exit_code.h"
#include "cli/readable.h"

namespace ttt::cli {
namespace {

// The limit binds only who may not raise it: a call that fails tells.
bool may_lock(std::uint64_t bytes) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return true;
  return bytes <= limit.rlim_cur || ::geteuid() == 0;
}

}  // namespace

void avoid_huge_pages() {
  if (::prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) != 0) {
    throw UsageError(fmt::format("--no-huge-pages: {}", std::system_category().message(errno)));
  }
}

void lock_memory(std::uint64_t bytes) {
  if (may_lock(bytes) && ::mlockall(MCL_FUTURE | MCL_ONFAULT) == 0) return;
  throw MemoryError(fmt::format(
      "--mlock needs to lock {}, and this user may not: raise the limit (ulimit -l, LimitMEMLOCK= of a unit, "
      "--ulimit memlock=-1 of a container), or leave --mlock out",
      readable_memory(bytes)));
}

}  // namespace ttt::cli
