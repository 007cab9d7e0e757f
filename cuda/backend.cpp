// SPDX-License-Identifier: Apache-2.0
// The backend on a CUDA device. submit() checks the batch, plans the step (step_plan.h) in pinned memory and
// puts everything on one stream; wait() is the only place where the host waits for a step. The few draws
// that no kernel does are done there by engine/sampler on logits in pinned memory.
#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuda/cublas_lt.h"
#include "cuda/cuda_backend.h"
#include "cuda/device_lost.h"
#include "cuda/device_memory.h"
#include "cuda/device_parts.h"
#include "cuda/forward.h"
#include "cuda/kernels/draw.h"
#include "cuda/kernels/outputs.h"
#include "cuda/library_products.h"
#include "cuda/step_graphs.h"
#include "cuda/step_plan.h"
#include "cuda/use_device.h"
#include "engine/check_batch.h"
#include "engine/mini_batch.h"
#include "engine/sampler.h"
#include "engine/state_layout.h"

namespace ttt::cuda {
namespace {

constexpr auto require = require_precondition;

class CudaBackend final : public Backend {
 public:
  CudaBackend(const Model& model, const CudaOptions& options);
  ~CudaBackend() override {
    cudaSetDevice(device_);
    cudaStreamSynchronize(stream_.get());
  }

  const BackendInfo& info() const override { return info_; }
  void reset(SlotId slot) override;
  void copy(SlotId from, SlotId to, std::int64_t position) override;
  void rewind(SlotId slot, std::int64_t from, std::int64_t to) override;
  void save(SlotId slot, std::int64_t position, std::span<std::byte> bytes) const override;
  void load(SlotId slot, std::int64_t position, std::span<const std::byte> bytes) override;
  void submit(std::span<const Segment> batch) override;
  std::span<const SegmentResult> wait() override;

 private:
  void require_slot(SlotId slot) const;
  void require_usable() const;  // and makes the device current: that is a matter of the calling thread
  void synchronise() const;
  template <typename Work>
  void put(Work&& work) const;
  [[noreturn]] void lose_device(const std::string& what) const;
  void start();
  void put_step();
  void upload_tables();
  void start_outputs();
  void copy_logits(std::size_t output, std::size_t row_of_chunk);
  void copy_losses();
  TokenLogProb draw(std::size_t segment);

  const ModelConfig& config_;
  int device_;
  Stream stream_;
  DeviceArena arena_;
  DeviceParts parts_;
  std::unique_ptr<LibraryProducts> library_;  // null: not used
  Forward forward_;
  StepPlan plan_;  // of the running batch
  bool uses_graphs_;
  StepGraphs graphs_;  // they point into all above
  BackendInfo info_;
  Sampler sampler_;

  std::vector<std::optional<TokenId>> last_sampled_;  // of each slot
  bool in_flight_ = false;
  mutable std::string fault_;  // of a device that will not work again in this process
};

CudaBackend::CudaBackend(const Model& model, const CudaOptions& options)
    : config_(model.config),
      device_(use_device(options.device)),
      arena_(arena_for(model, options)),
      parts_(model, options, arena_, stream_.get()),
      library_(make_library_products(parts_, options)),
      forward_(parts_.weights, parts_.states, parts_.work, options.precision, library_.get(), stream_.get()),
      plan_(config_, options, parts_.states),
      uses_graphs_(options.graphs),
      graphs_(stream_.get()),
      sampler_(model.config.vocab_size),
      last_sampled_(options.num_slots) {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, device_), "asking for the device's name");
  const MemoryPlan memory = parts_.plan();
  info_.device = fmt::format("cuda:{}", device_);
  info_.device_name = properties.name;
  info_.dispatch_target = fmt::format("sm_{}{}-{}", properties.major, properties.minor,
                                      options.precision == Precision::kFast ? "fast" : "exact");
  if (library_ != nullptr) {
    info_.dispatch_target += "-cublaslt" + version_of(*library_for(options));
    info_.bitwise_invariant = false;
  }
  info_.num_slots = options.num_slots;
  info_.max_batch_tokens = options.max_batch_tokens;
  info_.max_logits_rows = options.max_logits_rows;
  info_.slot_bytes = parts_.states.slot_bytes();
  info_.weights_bytes = memory.weights;
  info_.workspace_bytes = memory.workspace + plan_.host_bytes() + Sampler::bytes(config_.vocab_size);
  stream_.synchronise();  // the weights are there
}

void CudaBackend::require_slot(SlotId slot) const {
  require(slot >= 0 && static_cast<std::size_t>(slot) < info_.num_slots, "Backend: slot out of range");
  require(!in_flight_, "Backend: a batch is in flight");
}

void CudaBackend::require_usable() const {
  if (!fault_.empty()) throw DeviceLost(fault_);
  if (const cudaError_t error = cudaSetDevice(device_); error != cudaSuccess) {
    lose_device(cudaGetErrorString(error));
  }
}

void CudaBackend::synchronise() const {
  try {
    stream_.synchronise();
  } catch (const std::runtime_error& error) {
    lose_device(error.what());
  }
}

// `work` puts something on the stream. Where that fails, the device may have: it is asked, and is otherwise
// sound. Then nothing runs any more that reads what the caller is about to change.
template <typename Work>
void CudaBackend::put(Work&& work) const {
  try {
    work();
  } catch (...) {
    cudaGetLastError();  // it is reported here
    synchronise();
    throw;
  }
}

void CudaBackend::lose_device(const std::string& what) const {
  const DeviceLost lost = device_lost(info_.device, what);
  fault_ = lost.what();
  throw lost;
}

void CudaBackend::reset(SlotId slot) {
  require_slot(slot);
  require_usable();
  put([&] { parts_.states.load(slot, 0, parts_.weights.initial_state, stream_.get()); });
  last_sampled_[static_cast<std::size_t>(slot)].reset();
}

void CudaBackend::copy(SlotId from, SlotId to, std::int64_t position) {
  require_slot(from);
  require_slot(to);
  require(position >= 0, "copy: negative position");
  require_usable();
  put([&] { parts_.states.copy(from, to, stream_.get()); });
  last_sampled_[static_cast<std::size_t>(to)] = last_sampled_[static_cast<std::size_t>(from)];
}

// Open rows and convolution inputs lie in the order of their tokens, and the number that counts follows
// from the position: there is nothing to do but to check.
void CudaBackend::rewind(SlotId slot, std::int64_t from, std::int64_t to) {
  require_slot(slot);
  require(same_mini_batch(from, to, config_.mini_batch_size), "rewind: only inside the open mini-batch");
  require_usable();
  if (from != to) last_sampled_[static_cast<std::size_t>(slot)].reset();
}

void CudaBackend::save(SlotId slot, std::int64_t position, std::span<std::byte> bytes) const {
  require_slot(slot);
  require(position >= 0 && bytes.size() == state_bytes(config_, position), "save: wrong number of bytes");
  require_usable();
  put([&] { parts_.states.save(slot, position, bytes.data(), stream_.get()); });
  synchronise();
}

void CudaBackend::load(SlotId slot, std::int64_t position, std::span<const std::byte> bytes) {
  require_slot(slot);
  require(position >= 0 && bytes.size() == state_bytes(config_, position), "load: wrong number of bytes");
  require_usable();
  put([&] { parts_.states.load(slot, position, bytes.data(), stream_.get()); });
  last_sampled_[static_cast<std::size_t>(slot)].reset();
  synchronise();  // the caller's bytes have been read
}

void CudaBackend::submit(std::span<const Segment> batch) {
  require(!in_flight_, "submit: a batch is in flight");
  check_batch(batch, config_, info_, last_sampled_);
  require_usable();
  put([&] {
    plan_.make(batch, last_sampled_);
    start();
  });
  in_flight_ = true;
}

std::span<const SegmentResult> CudaBackend::wait() {
  require(in_flight_, "wait: no batch in flight");
  in_flight_ = false;
  require_usable();
  synchronise();
  const std::span<SegmentResult> results = plan_.results();
  for (std::size_t i = 0; i < results.size(); ++i) {
    const StepPlan::Place& place = plan_.places()[i];
    if (place.drawer == Drawer::kNobody) continue;
    results[i].sampled = draw(i);
    last_sampled_[static_cast<std::size_t>(place.slot)] = results[i].sampled.id;
  }
  return results;
}

// Puts the whole step on the stream; the first decode step of a shape also makes the graph for those to come.
void CudaBackend::start() {
  const std::optional<StepShape> shape = uses_graphs_ ? plan_.decode_shape() : std::nullopt;
  if (shape && graphs_.launch(*shape)) return;
  put_step();
  if (shape) graphs_.make(*shape, [this] { put_step(); });
}

// Piece by piece. What it puts there for a decode step depends on the step's shape alone.
void CudaBackend::put_step() {
  upload_tables();
  forward_.run(plan_.places().size(), plan_.num_rows());
  start_outputs();
  copy_losses();
}

void CudaBackend::upload_tables() {
  const auto upload = [&](auto* to, auto& from, std::size_t count) {
    if (count == 0) return;
    check(cudaMemcpyAsync(to, from.data(), count * sizeof(*to), cudaMemcpyHostToDevice, stream_.get()),
          "copying the tables of a step");
  };
  HostTables& host = plan_.host();
  upload(parts_.work.rows, host.rows, plan_.num_rows());
  upload(parts_.work.segments, host.segments, plan_.places().size());
  upload(parts_.work.outputs, host.outputs, plan_.output_rows().size());
  upload(parts_.work.draws, host.draws, plan_.num_draws());
}

void CudaBackend::start_outputs() {
  const std::span<const StepPlan::OutputRow> rows = plan_.output_rows();
  std::size_t first_draw = 0;
  for (std::size_t first = 0; first < rows.size(); first += kHeadRows) {
    const auto chunk = rows.subspan(first, std::min(kHeadRows, rows.size() - first));
    forward_.head(first, chunk.size());
    if (std::ranges::any_of(chunk, &StepPlan::OutputRow::has_small_results)) {
      launch_outputs({.rows = parts_.work.outputs + first,
                      .logits = parts_.work.logits,
                      .num_rows = static_cast<std::uint32_t>(chunk.size()),
                      .vocab_size = static_cast<std::uint32_t>(config_.vocab_size)},
                     stream_.get());
    }
    for (std::size_t i = 0; i < chunk.size(); ++i) copy_logits(first + i, i);
    const auto num_draws = std::ranges::count(chunk, Drawer::kDevice, &StepPlan::OutputRow::drawer);
    launch_draw({.entries = parts_.work.draws + first_draw,
                 .logits = parts_.work.logits,
                 .adjusted = parts_.work.adjusted_logits,
                 .weights = parts_.work.token_weights,
                 .num_entries = static_cast<std::uint32_t>(num_draws),
                 .vocab_size = static_cast<std::uint32_t>(config_.vocab_size)},
                stream_.get());
    first_draw += static_cast<std::size_t>(num_draws);
  }
}

// Row `row_of_chunk` of the logits on the device, to where the host reads them.
void CudaBackend::copy_logits(std::size_t output, std::size_t row_of_chunk) {
  const std::size_t V = config_.vocab_size;
  const StepPlan::OutputRow& row = plan_.output_rows()[output];
  const auto copy_to = [&](float* to) {
    check(cudaMemcpyAsync(to, parts_.work.logits + row_of_chunk * V, V * sizeof(float),
                          cudaMemcpyDeviceToHost, stream_.get()),
          "copying logits");
  };
  HostTables& host = plan_.host();
  if (row.logits_index) {
    copy_to(host.logits.data() + (plan_.places()[row.segment].logits + *row.logits_index) * V);
  }
  if (row.drawer == Drawer::kHost) copy_to(host.sampled_logits.data() + row.segment * V);
}

void CudaBackend::copy_losses() {
  const std::size_t row_losses = config_.num_hidden_layers * config_.num_attention_heads;
  for (const StepPlan::Place& place : plan_.places()) {
    if (!place.wanted.inner_losses) continue;
    const std::size_t at = place.first_row * row_losses;
    check(cudaMemcpyAsync(plan_.host().losses.data() + at, parts_.work.losses + at,
                          place.num_rows * row_losses * sizeof(float), cudaMemcpyDeviceToHost, stream_.get()),
          "copying inner losses");
  }
}

// The token that follows a segment: found or drawn by the device, or drawn here from the logits that it sent.
TokenLogProb CudaBackend::draw(std::size_t segment) {
  const StepPlan::Place& place = plan_.places()[segment];
  const Wanted& wanted = place.wanted;
  HostTables& host = plan_.host();
  if (place.drawer == Drawer::kLargest) return {host.greedy[segment].id, host.greedy[segment].log_prob};
  if (place.drawer == Drawer::kDevice) {
    const DrawnEntry& drawn = host.drawn[place.draw];
    return {drawn.id, log_prob({&drawn.logit, 1}, 0, host.normalisers[segment])};
  }
  const std::size_t V = config_.vocab_size;
  const std::span<const float> logits = host.sampled_logits.span().subspan(segment * V, V);
  const TokenId id = sampler_.sample(logits, *wanted.sample, wanted.counts, wanted.banned, place.end);
  return {id, log_prob(logits, id, host.normalisers[segment])};
}

void require_room(const CudaOptions& options) {
  require(options.num_slots > 0 && options.max_batch_tokens > 0,
          "make_cuda_backend: needs a slot and room for a token");
}

}  // namespace

std::unique_ptr<Backend> make_cuda_backend(const Model& model, const CudaOptions& options) {
  require_room(options);
  check_memory(model, options);
  try {
    return std::make_unique<CudaBackend>(model, options);
  } catch (const CudaError& error) {
    cudaGetLastError();  // it is reported here
    if (error.error() == cudaErrorMemoryAllocation) refuse_memory(model, options, error.what());
    throw;
  }
}

}  // namespace ttt::cuda
