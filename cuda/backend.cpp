// SPDX-License-Identifier: Apache-2.0
// The backend on a CUDA device. submit() checks the batch, writes the tables of the step into pinned memory
// and puts everything on one stream; wait() is the only place where the host waits for a step. The few draws
// that no kernel does are done there by engine/sampler on logits in pinned memory.
#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "cuda/cublas_lt.h"
#include "cuda/cuda_backend.h"
#include "cuda/device_memory.h"
#include "cuda/device_weights.h"
#include "cuda/forward.h"
#include "cuda/inner_kernel.h"
#include "cuda/kernels/draw.h"
#include "cuda/kernels/outputs.h"
#include "cuda/library_products.h"
#include "cuda/state_pool.h"
#include "engine/check_batch.h"
#include "engine/mini_batch.h"
#include "engine/sampler.h"
#include "engine/state_layout.h"

namespace ttt::cuda {
namespace {

constexpr auto require = require_precondition;

// Makes the device current for this thread.
int use_device(int device) {
  if (const std::string fault = why_unusable(device); !fault.empty()) throw DeviceError(fault);
  check(cudaSetDevice(device), "choosing a device");
  return device;
}

// Null: the own kernels do all products.
const CublasLt* library_for(const CudaOptions& options) {
  return options.precision == Precision::kFast && !options.deterministic ? cublas_lt() : nullptr;
}

// All device memory of a backend, in the order in which it lies in the arena.
struct DeviceParts {
  DeviceParts(const Model& model, const CudaOptions& options, DeviceArena& arena, cudaStream_t stream)
      : weights(model, options.precision, arena, stream),
        weights_end(arena.used()),
        states(model.config, options.num_slots, arena),
        states_end(arena.used()),
        work(model.config, options, arena),
        library_workspace(library_for(options) != nullptr ? arena.take<std::byte>(kLibraryWorkspaceBytes)
                                                          : nullptr),
        end(arena.used()) {}

  MemoryPlan plan() const {
    return {.weights = weights_end, .states = states_end - weights_end, .workspace = end - states_end};
  }

  DeviceWeights weights;
  std::size_t weights_end;
  StatePool states;
  std::size_t states_end;
  Workspace work;
  std::byte* library_workspace;
  std::size_t end;
};

// Slots, fewer than those of the options, with which the model would fit into `free` bytes.
std::size_t slots_that_fit(const Model& model, CudaOptions options, std::uint64_t free) {
  std::size_t fits = 0, too_many = options.num_slots;
  while (too_many - fits > 1) {
    options.num_slots = fits + (too_many - fits) / 2;
    (plan_memory(model, options).total() <= free ? fits : too_many) = options.num_slots;
  }
  return fits;
}

std::string readable(std::uint64_t bytes) {
  return fmt::format("{:.2f} GiB", static_cast<double>(bytes) / static_cast<double>(1U << 30));
}

[[noreturn]] void refuse_memory(const Model& model, const CudaOptions& options) {
  std::size_t free = 0, all = 0;
  check(cudaMemGetInfo(&free, &all), "asking for free memory");
  const MemoryPlan plan = plan_memory(model, options);
  const std::size_t slots = slots_that_fit(model, options, free);
  throw DeviceMemoryError(fmt::format(
      "cuda:{} has {} free of {}, and {} are needed (weights {}, states of {} sequences {}, workspace {}): "
      "{}",
      options.device, readable(free), readable(all), readable(plan.total()), readable(plan.weights),
      options.num_slots, readable(plan.states), readable(plan.workspace),
      slots > 0
          ? fmt::format("{} sequences would fit", slots)
          : "not even one sequence would fit; convert the model with --type bf16, or use --device cpu"));
}

// Ready for every matrix of the model.
std::unique_ptr<LibraryProducts> make_library_products(const CublasLt* library, const DeviceParts& parts,
                                                       std::size_t max_batch_tokens) {
  if (library == nullptr) return nullptr;
  auto products = std::make_unique<LibraryProducts>(*library, parts.library_workspace);
  const auto max_rows = static_cast<std::uint32_t>(max_batch_tokens);
  for (const DeviceLayerWeights& layer : parts.weights.layers) {
    for (const Matrix* matrix : {&layer.attn_q, &layer.attn_k, &layer.attn_v, &layer.gate, &layer.attn_output,
                                 &layer.lr_weight, &layer.ffn_gate, &layer.ffn_up, &layer.ffn_down}) {
      products->prepare(*matrix, max_rows);
    }
  }
  products->prepare(parts.weights.output, max_rows);
  return products;
}

// An arena of exactly the size that the parts take.
DeviceArena arena_for(const Model& model, const CudaOptions& options) {
  DeviceArena arena;
  const DeviceParts measured(model, options, arena, nullptr);
  if (!arena.allocate()) refuse_memory(model, options);
  return arena;
}

// Who takes the next token from a row of logits.
enum class Drawer : std::uint8_t {
  kNobody,
  kLargest,  // the kernel for small results: nothing but the largest logit counts
  kDevice,   // the kernel that draws
  kHost      // engine/sampler
};

constexpr std::size_t kMostListed = 1024;  // counts, and bans, of a sequence that the device draws for

bool penalises(const SamplingParams& params) {
  return params.repetition_penalty != 1.0F || params.presence_penalty != 0.0F ||
         params.frequency_penalty != 0.0F;
}

std::span<const TokenCount> counts_that_matter(const Wanted& wanted) {
  return penalises(*wanted.sample) ? wanted.counts : std::span<const TokenCount>();
}

Drawer drawer_of(const Wanted& wanted, std::size_t vocab_size) {
  if (wanted.sample == nullptr) return Drawer::kNobody;
  const SamplingParams& params = *wanted.sample;
  const std::size_t num_counts = counts_that_matter(wanted).size();
  const std::size_t num_banned = params.banned.size() + wanted.banned.size();
  const bool changes_nothing =
      params.logit_bias.empty() && params.allowed.empty() && num_counts == 0 && num_banned == 0;
  if (params.temperature == 0.0F && changes_nothing) return Drawer::kLargest;
  const bool suits_device = params.logit_bias.empty() && params.allowed.empty() && params.typical_p == 1.0F &&
                            num_counts <= kMostListed && num_banned <= kMostListed && num_banned < vocab_size;
  return suits_device ? Drawer::kDevice : Drawer::kHost;
}

// Memory that the device and the host share: the tables of a step, and its results.
struct HostTables {
  PinnedArray<RowEntry> rows;          // [T]
  PinnedArray<SegmentEntry> segments;  // [slots]
  PinnedArray<OutputEntry> outputs;    // [T]
  PinnedArray<TopEntry> greedy;        // [slots]
  PinnedArray<double> normalisers;     // [slots] of the rows that tokens are drawn from
  PinnedArray<DrawEntry> draws;        // [slots]
  PinnedArray<CountEntry> counts;      // [slots, kMostListed]
  PinnedArray<std::int32_t> banned;    // [slots, kMostListed]
  PinnedArray<DrawnEntry> drawn;       // [slots]
  PinnedArray<float> sampled_logits;   // [slots, V]
  PinnedArray<float> logits;           // [max_logits_rows, V]
  PinnedArray<float> losses;           // [T, L, H]
  // They grow to what was asked for and stay.
  PinnedArray<std::int32_t> targets;
  PinnedArray<float> target_log_probs;
  PinnedArray<TopEntry> top;

  HostTables(const ModelConfig& config, const CudaOptions& options)
      : rows(options.max_batch_tokens),
        segments(options.num_slots),
        outputs(options.max_batch_tokens),
        greedy(options.num_slots),
        normalisers(options.num_slots),
        draws(options.num_slots),
        counts(options.num_slots * kMostListed),
        banned(options.num_slots * kMostListed),
        drawn(options.num_slots),
        sampled_logits(options.num_slots * config.vocab_size),
        logits(options.max_logits_rows * config.vocab_size),
        losses(options.max_batch_tokens * config.num_hidden_layers * config.num_attention_heads) {}

  std::size_t bytes() const {
    return rows.size() * sizeof(RowEntry) + segments.size() * sizeof(SegmentEntry) +
           outputs.size() * sizeof(OutputEntry) + greedy.size() * sizeof(TopEntry) +
           normalisers.size() * sizeof(double) + draws.size() * sizeof(DrawEntry) +
           counts.size() * sizeof(CountEntry) + banned.size() * sizeof(std::int32_t) +
           drawn.size() * sizeof(DrawnEntry) +
           (sampled_logits.size() + logits.size() + losses.size()) * sizeof(float);
  }
};

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
  [[noreturn]] void lose_device(const std::string& what) const;
  void lay_out_results(std::span<const Segment> batch);
  void fill_tables(std::span<const Segment> batch);
  void add_outputs(std::size_t segment);
  void add_draw(std::size_t segment, std::size_t output);
  void start();
  void start_outputs();
  void copy_logits(std::size_t output, std::size_t row_of_chunk);
  void copy_losses();
  void draw(std::size_t segment);

  // Of a segment of the running batch: what is wanted, and where its rows and results begin.
  struct Place {
    SlotId slot;
    std::int64_t end;  // position after its tokens
    Wanted wanted;
    std::size_t first_row, num_rows;
    std::size_t logits, targets, top;  // in the tables of results
    Drawer drawer;
    std::size_t draw;  // of the device: in the table of draws
  };
  // A row of the head: whose it is, and its index among those with raw logits, if it is one of them.
  struct OutputRow {
    std::size_t segment;
    std::optional<std::size_t> logits_index;
    bool has_small_results;
    Drawer drawer;
  };

  const ModelConfig& config_;
  int device_;
  Stream stream_;
  DeviceArena arena_;
  DeviceParts parts_;
  std::unique_ptr<LibraryProducts> library_;  // null: not used
  Forward forward_;
  HostTables host_;
  BackendInfo info_;
  Sampler sampler_;

  std::vector<std::optional<TokenId>> last_sampled_;  // of each slot
  bool in_flight_ = false;
  mutable std::string fault_;  // of a device that will not work again in this process
  std::vector<Place> places_;
  std::vector<OutputRow> output_rows_;
  std::size_t num_draws_ = 0;  // of the device
  std::vector<SegmentResult> results_;
  std::vector<TokenLogProb> top_;
};

CudaBackend::CudaBackend(const Model& model, const CudaOptions& options)
    : config_(model.config),
      device_(use_device(options.device)),
      arena_(arena_for(model, options)),
      parts_(model, options, arena_, stream_.get()),
      library_(make_library_products(library_for(options), parts_, options.max_batch_tokens)),
      forward_(parts_.weights, parts_.states, parts_.work, options.precision, library_.get(), stream_.get()),
      host_(model.config, options),
      sampler_(model.config.vocab_size),
      last_sampled_(options.num_slots) {
  places_.reserve(options.num_slots);
  results_.reserve(options.num_slots);
  output_rows_.reserve(options.max_batch_tokens);
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, device_), "asking for the device's name");
  const MemoryPlan plan = parts_.plan();
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
  info_.weights_bytes = plan.weights;
  info_.workspace_bytes = plan.workspace + host_.bytes() + Sampler::bytes(config_.vocab_size);
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

// After a kernel has failed, CUDA refuses everything else in this process.
void CudaBackend::synchronise() const {
  try {
    stream_.synchronise();
  } catch (const std::runtime_error& error) {
    lose_device(error.what());
  }
}

void CudaBackend::lose_device(const std::string& what) const {
  fault_ = fmt::format("{} failed and can do nothing more in this process: restart the program ({})",
                       info_.device, what);
  throw DeviceLost(fault_);
}

void CudaBackend::reset(SlotId slot) {
  require_slot(slot);
  require_usable();
  parts_.states.load(slot, 0, parts_.weights.initial_state, stream_.get());
  last_sampled_[static_cast<std::size_t>(slot)].reset();
}

void CudaBackend::copy(SlotId from, SlotId to, std::int64_t position) {
  require_slot(from);
  require_slot(to);
  require(position >= 0, "copy: negative position");
  require_usable();
  parts_.states.copy(from, to, stream_.get());
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
  parts_.states.save(slot, position, bytes.data(), stream_.get());
  synchronise();
}

void CudaBackend::load(SlotId slot, std::int64_t position, std::span<const std::byte> bytes) {
  require_slot(slot);
  require(position >= 0 && bytes.size() == state_bytes(config_, position), "load: wrong number of bytes");
  require_usable();
  parts_.states.load(slot, position, bytes.data(), stream_.get());
  last_sampled_[static_cast<std::size_t>(slot)].reset();
  synchronise();  // the caller's bytes have been read
}

void CudaBackend::submit(std::span<const Segment> batch) {
  require(!in_flight_, "submit: a batch is in flight");
  check_batch(batch, config_, info_, last_sampled_);
  require_usable();
  lay_out_results(batch);
  fill_tables(batch);
  try {
    start();
  } catch (const std::runtime_error&) {
    cudaGetLastError();  // it is reported here
    synchronise();  // what was started reads the tables; a launch that was refused leaves the device sound
    throw;
  }
  in_flight_ = true;
}

std::span<const SegmentResult> CudaBackend::wait() {
  require(in_flight_, "wait: no batch in flight");
  in_flight_ = false;
  require_usable();
  synchronise();
  for (std::size_t i = 0; i < places_.size(); ++i) {
    const Place& place = places_[i];
    for (std::size_t t = 0; t < results_[i].top.size(); ++t) {
      const TopEntry& entry = host_.top[place.top + t];
      top_[place.top + t] = {entry.id, entry.log_prob};
    }
    if (place.drawer != Drawer::kNobody) draw(i);
  }
  return results_;
}

// May throw std::bad_alloc, and changes no slot.
void CudaBackend::lay_out_results(std::span<const Segment> batch) {
  places_.clear();
  std::size_t first_row = 0, logits = 0, targets = 0, top = 0;
  for (const Segment& segment : batch) {
    const std::size_t num_rows = segment.num_tokens();
    places_.push_back({.slot = segment.slot,
                       .end = segment.position + static_cast<std::int64_t>(num_rows),
                       .wanted = segment.wanted,
                       .first_row = first_row,
                       .num_rows = num_rows,
                       .logits = logits,
                       .targets = targets,
                       .top = top,
                       .drawer = drawer_of(segment.wanted, config_.vocab_size),
                       .draw = 0});
    first_row += num_rows;
    logits += segment.num_rows(segment.wanted.logits);
    targets += segment.wanted.targets.size();
    top += segment.num_rows(segment.wanted.log_probs) * segment.wanted.top_n;
  }
  host_.targets.grow_to(targets);
  host_.target_log_probs.grow_to(targets);
  host_.top.grow_to(top);
  top_.resize(std::max(top_.size(), top));
  results_.clear();
  const std::size_t V = config_.vocab_size;
  const std::size_t row_losses = config_.num_hidden_layers * config_.num_attention_heads;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const Place& place = places_[i];
    const Wanted& wanted = place.wanted;
    SegmentResult result;
    result.logits = host_.logits.span().subspan(place.logits * V, batch[i].num_rows(wanted.logits) * V);
    result.target_log_probs = host_.target_log_probs.span().subspan(place.targets, wanted.targets.size());
    result.top = std::span(top_).subspan(place.top, batch[i].num_rows(wanted.log_probs) * wanted.top_n);
    if (wanted.inner_losses) {
      result.inner_losses =
          host_.losses.span().subspan(place.first_row * row_losses, place.num_rows * row_losses);
    }
    results_.push_back(result);
  }
}

void CudaBackend::fill_tables(std::span<const Segment> batch) {
  output_rows_.clear();
  num_draws_ = 0;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const Segment& segment = batch[i];
    const Place& place = places_[i];
    std::optional<TokenId>& last = last_sampled_[static_cast<std::size_t>(segment.slot)];
    host_.segments[i] = {
        .state = parts_.states.slot(segment.slot),
        .first_row = static_cast<std::uint32_t>(place.first_row),
        .num_rows = static_cast<std::uint32_t>(place.num_rows),
        .phase = static_cast<std::uint32_t>(phase_of(segment.position, config_.mini_batch_size)),
        .wants_losses = segment.wanted.inner_losses ? 1U : 0U};
    for (std::size_t row = 0; row < place.num_rows; ++row) {
      host_.rows[place.first_row + row] = {segment.token_from_last_sample ? *last : segment.tokens[row],
                                           static_cast<std::uint32_t>(i)};
    }
    last.reset();
    std::ranges::copy(segment.wanted.targets, host_.targets.data() + place.targets);
    add_outputs(i);
  }
}

// The rows of a segment that pass the output head, with what is wanted of each.
void CudaBackend::add_outputs(std::size_t segment) {
  const Place& place = places_[segment];
  const Wanted& wanted = place.wanted;
  const bool all = wanted.logits == Rows::kAll || wanted.log_probs == Rows::kAll;
  const bool any =
      all || wanted.logits == Rows::kLast || wanted.log_probs == Rows::kLast || wanted.sample != nullptr;
  for (std::size_t row = all ? 0 : place.num_rows - 1; any && row < place.num_rows; ++row) {
    const bool is_last = row + 1 == place.num_rows;
    // Index of this row among those for which `rows` asks, if it is one of them.
    const auto index_in = [&](Rows rows) -> std::optional<std::size_t> {
      if (rows == Rows::kAll) return row;
      if (rows == Rows::kLast && is_last) return 0;
      return std::nullopt;
    };
    OutputEntry entry{};
    entry.row = static_cast<std::uint32_t>(place.first_row + row);
    if (const auto index = index_in(wanted.log_probs)) {
      const std::size_t first_target = place.targets + *index * wanted.targets_per_row;
      entry.num_targets = static_cast<std::uint32_t>(wanted.targets_per_row);
      entry.targets = host_.targets.data() + first_target;
      entry.target_log_probs = host_.target_log_probs.data() + first_target;
      entry.top_n = static_cast<std::uint32_t>(wanted.top_n);
      entry.top = host_.top.data() + place.top + *index * wanted.top_n;
    }
    const Drawer drawer = is_last ? place.drawer : Drawer::kNobody;
    if (drawer == Drawer::kLargest) entry.greedy = &host_.greedy[segment];
    if (drawer == Drawer::kDevice || drawer == Drawer::kHost) entry.normaliser = &host_.normalisers[segment];
    if (drawer == Drawer::kDevice) add_draw(segment, output_rows_.size());
    const bool has_small_results = drawer != Drawer::kNobody || entry.num_targets > 0 || entry.top_n > 0;
    host_.outputs[output_rows_.size()] = entry;
    output_rows_.push_back({segment, index_in(wanted.logits), has_small_results, drawer});
  }
}

void CudaBackend::add_draw(std::size_t segment, std::size_t output) {
  Place& place = places_[segment];
  place.draw = num_draws_++;
  const SamplingParams& params = *place.wanted.sample;
  CountEntry* const counts = host_.counts.data() + place.draw * kMostListed;
  std::int32_t* const banned = host_.banned.data() + place.draw * kMostListed;
  CountEntry* counts_end = counts;
  for (const TokenCount& count : counts_that_matter(place.wanted)) {
    *counts_end++ = {count.id, count.in_window, count.in_output};
  }
  std::int32_t* banned_end =
      std::ranges::copy(place.wanted.banned, std::ranges::copy(params.banned, banned).out).out;
  std::ranges::sort(banned, banned_end);
  banned_end = std::ranges::unique(banned, banned_end).begin();  // or two threads would write one place
  host_.draws[place.draw] = {
      .row = static_cast<std::uint32_t>(output % kHeadRows),
      .top_k = params.top_k,
      .temperature = params.temperature,
      .top_p = params.top_p,
      .min_p = params.min_p,
      .repetition_penalty = params.repetition_penalty,
      .presence_penalty = params.presence_penalty,
      .frequency_penalty = params.frequency_penalty,
      .uniform = uniform_draw(params.seed, params.prompt_index, params.choice, place.end),
      .counts = counts,
      .banned = banned,
      .num_counts = static_cast<std::uint32_t>(counts_end - counts),
      .num_banned = static_cast<std::uint32_t>(banned_end - banned),
      .drawn = &host_.drawn[place.draw]};
}

// Puts the whole step on the stream.
void CudaBackend::start() {
  const cudaStream_t stream = stream_.get();
  const std::size_t num_rows = places_.back().first_row + places_.back().num_rows;
  const auto upload = [&](auto* to, auto& from, std::size_t count) {
    if (count == 0) return;
    check(cudaMemcpyAsync(to, from.data(), count * sizeof(*to), cudaMemcpyHostToDevice, stream),
          "copying the tables of a step");
  };
  upload(parts_.work.rows, host_.rows, num_rows);
  upload(parts_.work.segments, host_.segments, places_.size());
  upload(parts_.work.outputs, host_.outputs, output_rows_.size());
  upload(parts_.work.draws, host_.draws, num_draws_);
  forward_.run(places_.size(), num_rows);
  start_outputs();
  copy_losses();
}

void CudaBackend::start_outputs() {
  std::size_t first_draw = 0;
  for (std::size_t first = 0; first < output_rows_.size(); first += kHeadRows) {
    const auto chunk =
        std::span(output_rows_).subspan(first, std::min(kHeadRows, output_rows_.size() - first));
    forward_.head(first, chunk.size());
    if (std::ranges::any_of(chunk, &OutputRow::has_small_results)) {
      launch_outputs({.rows = parts_.work.outputs + first,
                      .logits = parts_.work.logits,
                      .num_rows = static_cast<std::uint32_t>(chunk.size()),
                      .vocab_size = static_cast<std::uint32_t>(config_.vocab_size)},
                     stream_.get());
    }
    for (std::size_t i = 0; i < chunk.size(); ++i) copy_logits(first + i, i);
    const auto num_draws = std::ranges::count(chunk, Drawer::kDevice, &OutputRow::drawer);
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
  const OutputRow& row = output_rows_[output];
  const auto copy_to = [&](float* to) {
    check(cudaMemcpyAsync(to, parts_.work.logits + row_of_chunk * V, V * sizeof(float),
                          cudaMemcpyDeviceToHost, stream_.get()),
          "copying logits");
  };
  if (row.logits_index) copy_to(host_.logits.data() + (places_[row.segment].logits + *row.logits_index) * V);
  if (row.drawer == Drawer::kHost) copy_to(host_.sampled_logits.data() + row.segment * V);
}

void CudaBackend::copy_losses() {
  const std::size_t row_losses = config_.num_hidden_layers * config_.num_attention_heads;
  for (const Place& place : places_) {
    if (!place.wanted.inner_losses) continue;
    const std::size_t at = place.first_row * row_losses;
    check(cudaMemcpyAsync(host_.losses.data() + at, parts_.work.losses + at,
                          place.num_rows * row_losses * sizeof(float), cudaMemcpyDeviceToHost, stream_.get()),
          "copying inner losses");
  }
}

// The token that follows a segment: found or drawn by the device, or drawn here from the logits that it sent.
void CudaBackend::draw(std::size_t segment) {
  const Place& place = places_[segment];
  const Wanted& wanted = place.wanted;
  TokenLogProb& sampled = results_[segment].sampled;
  if (place.drawer == Drawer::kLargest) {
    sampled = {host_.greedy[segment].id, host_.greedy[segment].log_prob};
  } else if (place.drawer == Drawer::kDevice) {
    const DrawnEntry& drawn = host_.drawn[place.draw];
    sampled = {drawn.id, log_prob({&drawn.logit, 1}, 0, host_.normalisers[segment])};
  } else {
    const std::size_t V = config_.vocab_size;
    const std::span<const float> logits = host_.sampled_logits.span().subspan(segment * V, V);
    const TokenId id = sampler_.sample(logits, *wanted.sample, wanted.counts, wanted.banned, place.end);
    sampled = {id, log_prob(logits, id, host_.normalisers[segment])};
  }
  last_sampled_[static_cast<std::size_t>(place.slot)] = sampled.id;
}

void require_room(const CudaOptions& options) {
  require(options.num_slots > 0 && options.max_batch_tokens > 0,
          "make_cuda_backend: needs a slot and room for a token");
}

}  // namespace

MemoryPlan plan_memory(const Model& model, const CudaOptions& options) {
  DeviceArena arena;
  return DeviceParts(model, options, arena, nullptr).plan();
}

void check_memory(const Model& model, const CudaOptions& options) {
  use_device(options.device);
  if (inner_kernel(model.config, options.precision) == InnerKernel::kNone) {
    throw DeviceError(
        fmt::format("heads of {} elements are too large for the kernels of a GPU; use --device cpu",
                    model.config.head_size()));
  }
  std::size_t free = 0, all = 0;
  const cudaError_t asked = cudaMemGetInfo(&free, &all);
  if (asked != cudaSuccess) {
    cudaGetLastError();
    throw DeviceError(fmt::format("cuda:{} cannot be used, perhaps another program has it for itself: {}",
                                  options.device, cudaGetErrorString(asked)));
  }
  if (plan_memory(model, options).total() > free) refuse_memory(model, options);
}

std::unique_ptr<Backend> make_cuda_backend(const Model& model, const CudaOptions& options) {
  require_room(options);
  check_memory(model, options);
  return std::make_unique<CudaBackend>(model, options);
}

}  // namespace ttt::cuda
