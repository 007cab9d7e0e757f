// SPDX-License-Identifier: Apache-2.0
// See block_emulator.h. Compiled without sanitizers: what it reads and writes are its own books.
#include <block_emulator.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include "tests/emulator/fiber.h"
#include "tests/emulator/warp_collective.h"

namespace ttt::emulator {

thread_local Thread* current_thread = nullptr;

namespace {

thread_local unsigned schedule_seed = 0;
thread_local StackPool stack_pool;

struct PendingCopy {
  AsyncCopy copy;
  std::uint64_t group = 0;
};

struct Fiber : Thread {
  Stack stack;
  unsigned index = 0;  // in the block
  bool done = false;
  const char* waits_for = nullptr;  // and where, for the report
  Site waits_at;
  std::vector<PendingCopy> copies;  // in order of issue
  std::uint64_t committed_groups = 0;
  Fiber* next_waiting = nullptr;
};

// Those who wait for the same. No container: what that moves and frees on one fiber and takes up on another,
// the thread sanitizer's own memmove and malloc would report.
struct Waiting {
  Fiber* first = nullptr;
  Fiber* last = nullptr;
};

// Two generations, because a thread may reach the next one before all have left this one.
struct Barrier {
  unsigned arrived = 0, expected = 0;
  std::uint64_t generation = 0;
  Site first_at;
  Waiting waiting;
  char tags[2] = {};
};

struct Warp {
  unsigned arrived = 0;
  std::uint64_t generation = 0;
  const char* collective = nullptr;
  Site first_at;
  Waiting waiting;
  LaneWords words[2];
  char tags[2] = {};
};

// Fibers, barriers and shared memory for one block at a time. A grid has two teams in turn, which know
// nothing of each other: so the thread sanitizer sees what two neighbouring blocks do as unordered, as it is.
class Team {
 public:
  Team(const Grid& grid, std::size_t first_stack);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  void run(const std::string& kernel, Index block, const std::function<void()>& body, void* grid_tag);

  void sync_barrier(unsigned id, unsigned count, const Site& site);
  void arrive_barrier(unsigned id, unsigned count, const Site& site);
  LaneWords& enter(const char* collective, const std::uint32_t* words, unsigned count, const Site& site,
                   bool orders_memory);
  [[noreturn]] void fault(std::string message);

 private:
  static void fiber_entry();
  Fiber& me() { return *static_cast<Fiber*>(current_thread); }
  Fiber* next_ready();
  bool arrive(Barrier& barrier, unsigned id, unsigned count, const Site& site);
  void block_on(Waiting& waiting, const char* what, const Site& site);
  void wake(Waiting& waiting);
  std::string deadlock_report() const;

  Grid grid_;
  std::vector<Fiber> fibers_;
  std::vector<Warp> warps_;
  Barrier barriers_[kNumBarriers];
  unsigned char* shared_ = nullptr;
  std::vector<Fiber*> ready_;  // a ring
  std::size_t first_ready_ = 0, num_ready_ = 0;
  Stack scheduler_;
  std::mt19937 random_;
  const std::function<void()>* body_ = nullptr;
  void* grid_tag_ = nullptr;
  std::uint64_t num_blocks_ = 0;
  char end_tags_[2] = {};
  std::string fault_;
  std::size_t first_stack_;
};

thread_local Team* running_team = nullptr;

std::string place(const Site& site) {
  const char* slash = std::strrchr(site.file_name(), '/');
  return std::string(slash != nullptr ? slash + 1 : site.file_name()) + ":" + std::to_string(site.line());
}

bool same_place(const Site& a, const Site& b) {
  return a.line() == b.line() && a.column() == b.column() && std::strcmp(a.file_name(), b.file_name()) == 0;
}

// Not memset: the thread sanitizer would take it for a write of the scheduler's.
void fill_with_nan(unsigned char* at, std::size_t bytes) {
  volatile unsigned char* byte = at;
  for (std::size_t i = 0; i < bytes; ++i) byte[i] = 0xFF;
}

Team::Team(const Grid& grid, std::size_t first_stack)
    : grid_(grid),
      fibers_(grid.threads),
      warps_(grid.threads / kWarpSize),
      ready_(grid.threads),
      random_(schedule_seed),
      first_stack_(first_stack) {
  for (unsigned i = 0; i < grid.threads; ++i) stack_pool.make(first_stack_ + i);
  // Not rounded up: the address sanitizer guards the byte behind it.
  constexpr std::size_t kSharedAlignment = 128;
  void* shared = nullptr;
  if (grid.shared_bytes > 0 && posix_memalign(&shared, kSharedAlignment, grid.shared_bytes) != 0) {
    throw std::bad_alloc();
  }
  shared_ = static_cast<unsigned char*>(shared);
}

Team::~Team() { std::free(shared_); }

void Team::fiber_entry() {
  Team& team = *running_team;
  arrive_on_new_stack(team.me().stack, team.scheduler_);
  acquire(team.grid_tag_);
  acquire(&team.end_tags_[(team.num_blocks_ + 1) % 2]);  // the block before: same fibers, same shared memory
  (*team.body_)();
  release(&team.end_tags_[team.num_blocks_ % 2]);
  team.me().done = true;
  switch_stacks(team.me().stack, team.scheduler_);
  std::abort();
}

void Team::run(const std::string& kernel, Index block, const std::function<void()>& body, void* grid_tag) {
  running_team = this;
  body_ = &body;
  grid_tag_ = grid_tag;
  fill_with_nan(shared_, grid_.shared_bytes);
  first_ready_ = num_ready_ = 0;
  for (unsigned i = 0; i < grid_.threads; ++i) {
    Fiber& fiber = fibers_[i];
    fiber.stack = stack_pool.take(first_stack_ + i, fiber_entry);
    fiber.index = i;
    fiber.done = false;
    fiber.copies.clear();
    fiber.committed_groups = 0;
    fiber.thread_index = {i, 0, 0};
    fiber.has_waited = false;
    fiber.block_index = block;
    fiber.block_size = {grid_.threads, 1, 1};
    fiber.grid_size = {grid_.x, grid_.y, 1};
    fiber.shared = shared_;
    ready_[num_ready_++] = &fiber;
  }
  scheduler_.tsan_fiber = current_tsan_fiber();
  for (unsigned left = grid_.threads; left > 0 && fault_.empty();) {
    Fiber* fiber = next_ready();
    if (fiber == nullptr) {
      fault_ = deadlock_report();
      break;
    }
    current_thread = fiber;
    switch_stacks(scheduler_, fiber->stack);
    if (fiber->done) --left;
  }
  current_thread = nullptr;
  running_team = nullptr;
  for (const Fiber& fiber : fibers_) {
    if (!fiber.done) release_for(fiber.stack.tsan_fiber, &end_tags_[num_blocks_ % 2]);  // after a fault
  }
  acquire(&end_tags_[num_blocks_ % 2]);
  ++num_blocks_;
  for (const Fiber& fiber : fibers_) stack_pool.put_back(first_stack_ + fiber.index, fiber.stack, fiber.done);
  if (!fault_.empty()) {
    throw Error(kernel + ", block (" + std::to_string(block.x) + ", " + std::to_string(block.y) +
                "): " + fault_);
  }
}

Fiber* Team::next_ready() {
  if (num_ready_ == 0) return nullptr;
  if (schedule_seed != 0) {
    const std::size_t other = (first_ready_ + random_() % num_ready_) % ready_.size();
    std::swap(ready_[first_ready_], ready_[other]);
  }
  Fiber* fiber = ready_[first_ready_];
  first_ready_ = (first_ready_ + 1) % ready_.size();
  --num_ready_;
  return fiber;
}

void Team::block_on(Waiting& waiting, const char* what, const Site& site) {
  Fiber& fiber = me();
  fiber.waits_for = what;
  fiber.waits_at = site;
  fiber.next_waiting = nullptr;
  (waiting.first == nullptr ? waiting.first : waiting.last->next_waiting) = &fiber;
  waiting.last = &fiber;
  switch_stacks(fiber.stack, scheduler_);
}

void Team::wake(Waiting& waiting) {
  for (Fiber* fiber = waiting.first; fiber != nullptr; fiber = fiber->next_waiting) {
    ready_[(first_ready_ + num_ready_++) % ready_.size()] = fiber;
  }
  waiting = {};
}

void Team::fault(std::string message) {
  fault_ = std::move(message);
  switch_stacks(me().stack, scheduler_);
  std::abort();
}

std::string Team::deadlock_report() const {
  std::map<std::string, unsigned> places;
  unsigned ended = 0;
  for (const Fiber& fiber : fibers_) {
    if (fiber.done) {
      ++ended;
    } else {
      ++places[std::string(fiber.waits_for) + " at " + place(fiber.waits_at)];
    }
  }
  std::string report = "deadlock:";
  for (const auto& [where, count] : places)
    report += " " + std::to_string(count) + " threads in " + where + ",";
  return report + " " + std::to_string(ended) + " ended";
}

// True for the last of a generation.
bool Team::arrive(Barrier& barrier, unsigned id, unsigned count, const Site& site) {
  if (id >= kNumBarriers || count == 0 || count % kWarpSize != 0 || count > grid_.threads) {
    fault("bad barrier " + std::to_string(id) + " for " + std::to_string(count) + " threads at " +
          place(site));
  }
  if (barrier.arrived == 0) {
    barrier.expected = count;
    barrier.first_at = site;
  } else if (barrier.expected != count) {
    fault("barrier " + std::to_string(id) + " is for " + std::to_string(barrier.expected) + " threads at " +
          place(barrier.first_at) + " and for " + std::to_string(count) + " at " + place(site));
  }
  release(&barrier.tags[barrier.generation % 2]);
  if (++barrier.arrived < count) return false;
  barrier.arrived = 0;
  ++barrier.generation;
  wake(barrier.waiting);
  return true;
}

void Team::sync_barrier(unsigned id, unsigned count, const Site& site) {
  Barrier& barrier = barriers_[id % kNumBarriers];
  if (id == 0 && barrier.arrived > 0 && !same_place(barrier.first_at, site)) {
    fault("threads of one block meet in different barriers: " + place(barrier.first_at) + " and " +
          place(site));
  }
  void* tag = &barrier.tags[barrier.generation % 2];
  if (!arrive(barrier, id, count, site)) block_on(barrier.waiting, "barrier", site);
  acquire(tag);
}

void Team::arrive_barrier(unsigned id, unsigned count, const Site& site) {
  arrive(barriers_[id % kNumBarriers], id, count, site);
}

LaneWords& Team::enter(const char* collective, const std::uint32_t* words, unsigned count, const Site& site,
                       bool orders_memory) {
  Fiber& fiber = me();
  Warp& warp = warps_[fiber.index / kWarpSize];
  const unsigned lane = fiber.index % kWarpSize;
  if (warp.arrived == 0) {
    warp.collective = collective;
    warp.first_at = site;
  } else if (std::strcmp(warp.collective, collective) != 0 || !same_place(warp.first_at, site)) {
    fault("warp " + std::to_string(fiber.index / kWarpSize) + " diverged: lane " + std::to_string(lane) +
          " in " + collective + " at " + place(site) + ", others in " + warp.collective + " at " +
          place(warp.first_at));
  }
  LaneWords& table = warp.words[warp.generation % 2];
  void* tag = &warp.tags[warp.generation % 2];
  if (orders_memory) release(tag);
  for (unsigned i = 0; i < count; ++i) table[lane][i] = words[i];
  if (++warp.arrived == kWarpSize) {
    warp.arrived = 0;
    ++warp.generation;
    wake(warp.waiting);
  } else {
    block_on(warp.waiting, collective, site);
  }
  if (orders_memory) acquire(tag);
  return table;
}

}  // namespace

void set_schedule_seed(unsigned seed) { schedule_seed = seed; }

void run_grid(const std::string& name, const Grid& grid, const std::function<void()>& body) {
  if (running_team != nullptr) throw Error(name + ": started by a kernel");
  if (grid.threads == 0 || grid.threads % kWarpSize != 0) {
    throw Error(name + ": blocks of " + std::to_string(grid.threads) +
                " threads, no multiple of the warp size");
  }
  char grid_tag = 0;
  const std::size_t num_teams = grid.x * std::size_t{grid.y} > 1 ? 2 : 1;
  std::unique_ptr<Team> teams[2];
  for (std::size_t team = 0; team < num_teams; ++team) {
    teams[team] = std::make_unique<Team>(grid, team * grid.threads);
  }
  release(&grid_tag);
  std::size_t turn = 0;
  for (unsigned y = 0; y < grid.y; ++y) {
    for (unsigned x = 0; x < grid.x; ++x) teams[turn++ % num_teams]->run(name, {x, y, 0}, body, &grid_tag);
  }
}

void sync_barrier(unsigned id, unsigned count, const Site& site) {
  running_team->sync_barrier(id, count, site);
}

void arrive_barrier(unsigned id, unsigned count, const Site& site) {
  running_team->arrive_barrier(id, count, site);
}

LaneWords& enter_collective(const char* collective, const std::uint32_t* words, unsigned count,
                            const Site& site, bool orders_memory) {
  return running_team->enter(collective, words, count, site, orders_memory);
}

void check_waited() {
  if (!current_thread->has_waited) running_team->fault("starts early and does not wait");
}

void misaligned(const char* what, const Site& site) {
  running_team->fault(std::string("misaligned address of ") + what + " at " + place(site));
}

void issue_copy(const AsyncCopy& copy) {
  Fiber& fiber = *static_cast<Fiber*>(current_thread);
  fiber.copies.push_back({copy, fiber.committed_groups});
}

void commit_copies() { ++static_cast<Fiber*>(current_thread)->committed_groups; }

bool next_due_copy(unsigned keep, AsyncCopy& copy) {
  Fiber& fiber = *static_cast<Fiber*>(current_thread);
  if (fiber.copies.empty() || fiber.copies.front().group + keep >= fiber.committed_groups) return false;
  // The last of those that are due: an order that nobody relies on.
  auto last = fiber.copies.begin();
  while (last + 1 != fiber.copies.end() && (last + 1)->group + keep < fiber.committed_groups) ++last;
  copy = last->copy;
  fiber.copies.erase(last);
  return true;
}

}  // namespace ttt::emulator
