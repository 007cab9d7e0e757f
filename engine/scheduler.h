// SPDX-License-Identifier: Apache-2.0
// Continuous batching: many requests on one backend. It admits requests to slots, runs one step at a time
// over all their sequences, and publishes what comes out. Single-threaded; engine/engine.h gives it a thread.
//
// What a request gets depends on the request alone: not on what runs beside it, nor on when it came
// (Backend's promise of exactness).
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/backend.h"
#include "engine/config.h"
#include "engine/plan_step.h"
#include "engine/request.h"
#include "engine/session.h"
#include "engine/token_stream.h"

namespace ttt {

struct SchedulerOptions {
  // Most prompt tokens in a step in which a sequence decodes: what a decoding client waits for the prompts of
  // others. 0: as many as fit.
  std::size_t prefill_beside_decode = 0;
  // Requests that wait for slots, and their prompts' tokens: memory for what does not run yet.
  std::size_t max_waiting = 1024;
  std::size_t max_waiting_tokens = 16 << 20;
};

class Scheduler {
 public:
  using Clock = std::chrono::steady_clock;
  using Now = std::function<Clock::time_point()>;

  // All must outlive the scheduler. `tokenizer` may be null: ids only, and no stop strings. The backend must
  // take at least two tokens in a step, or have one slot. `now`: for tests with a virtual clock.
  Scheduler(Backend& backend, const ModelConfig& config, const tokenizer::Tokenizer* tokenizer,
            const SchedulerOptions& options, Now now = Clock::now);
  ~Scheduler();

  // Throws RequestError if the request can never run: a parameter out of range, more sequences than slots,
  // stop strings without a tokenizer.
  void check(const GenerationRequest& request) const;
  // Puts a request at the end of the queue; its time runs from `submitted`. REQUIRES: check() accepts it.
  void add(std::shared_ptr<const GenerationRequest> request, std::shared_ptr<TokenStream> stream,
           Clock::time_point submitted);

  bool idle() const { return waiting_.empty() && running_.empty(); }

  // From any thread.
  std::size_t num_waiting() const { return num_waiting_; }        // requests
  std::size_t waiting_tokens() const { return waiting_tokens_; }  // that they bring
  std::size_t num_running() const { return num_running_; }        // requests
  // Why nothing runs any more: what the backend said when it lost its device. Empty: it has it.
  std::string device_fault() const { return device_lost_ ? device_fault_ : std::string(); }

  // Ends what was cancelled or is out of time, admits, runs one step, publishes. A step that fails on the
  // device ends its own requests with kFailed and nothing else, unless the device is lost: then all end.
  void step();
  // Ends everything with `reason`; `error` is the sentence of kFailed.
  void end_all(FinishReason reason, const std::string& error = {});

 private:
  // A request in slots, and one of its sequences.
  struct Running;
  struct Sequence {
    Running* request = nullptr;
    std::size_t choice = 0;
  };
  struct Waiting {
    std::shared_ptr<const GenerationRequest> request;
    std::shared_ptr<TokenStream> stream;
    Clock::time_point submitted;
  };

  void end_overdue();
  void no_longer_waits(const Waiting& waiting);
  std::deque<Waiting>::iterator end_waiting(std::deque<Waiting>::iterator waiting, FinishReason reason,
                                            const std::string& error = {});
  void admit();
  void begin(Running& request);
  void load_start(SlotId slot, const SequenceState* start);
  std::shared_ptr<const SequenceState> save(const Session& session) const;
  void share_prompt(Running& request);
  void plan();
  void run_planned();
  void fail_request(Running& request, const std::exception& error);
  void note_lost_device(const std::exception& error);
  void accept(const Sequence& sequence, const SegmentResult& result);
  void end_request(Running& request, FinishReason reason, const std::string& error = {});
  void finish(Running& request, std::size_t choice, const std::string& error = {});
  void release(Running& request, std::size_t choice);  // its slot
  void publish(Running& request, std::size_t choice, TokenEvent event);
  void publish_best(Running& request);
  void remove_finished();

  Backend& backend_;
  const ModelConfig config_;
  const tokenizer::Tokenizer* tokenizer_;
  const SchedulerOptions options_;
  const Now now_;
  StepBudget budget_;

  std::deque<Waiting> waiting_;
  std::atomic<std::size_t> num_waiting_ = 0;
  std::atomic<std::size_t> waiting_tokens_ = 0;
  std::vector<std::unique_ptr<Running>> running_;  // in the order of admission
  std::atomic<std::size_t> num_running_ = 0;
  std::vector<SlotId> free_slots_;
  std::string device_fault_;  // written before device_lost_ is set, and never again
  std::atomic<bool> device_lost_ = false;

  // Of the step being made, in the order of admission: sequences that can read, their loads, the plan.
  std::vector<Sequence> sequences_;
  std::vector<SequenceLoad> loads_;
  std::vector<PlannedSegment> plan_;
  std::vector<Segment> batch_;
  std::uint64_t step_number_ = 0;
};

}  // namespace ttt
