// SPDX-License-Identifier: Apache-2.0
// A step, worked out on the host before anything is started: the tables that its kernels read, where each
// result will be, who draws each token.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "cuda/cuda_backend.h"
#include "cuda/drawer.h"
#include "cuda/host_tables.h"
#include "cuda/state_pool.h"
#include "cuda/step_shape.h"
#include "engine/batch.h"
#include "engine/config.h"

namespace ttt::cuda {

class StepPlan {
 public:
  // Of a segment: what is wanted, and where its rows and results begin.
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

  // Refers to all but the options.
  StepPlan(const ModelConfig& config, const CudaOptions& options, const StatePool& states);

  // Replaces the plan by that of a batch, whose lists must outlive the step. `last_sampled`, of each slot, is
  // read and forgotten for the slots of the batch. May throw std::bad_alloc, and has changed no slot then.
  // REQUIRES: no kernel is running that reads the tables.
  void make(std::span<const Segment> batch, std::span<std::optional<TokenId>> last_sampled);

  std::span<const Place> places() const { return places_; }  // of each segment
  std::span<const OutputRow> output_rows() const { return output_rows_; }
  std::size_t num_rows() const { return places_.back().first_row + places_.back().num_rows; }
  std::size_t num_draws() const { return num_draws_; }  // of the device
  // Of a step that has one, and with it always the same work for the stream: each segment reads one token,
  // and nothing is copied to the host. Of at most kHeadRows outputs: more sequences keep the device busy
  // anyhow.
  std::optional<StepShape> decode_shape() const;
  HostTables& host() { return host_; }
  std::size_t host_bytes() const { return host_.bytes(); }

  // Of each segment, all but the tokens drawn. REQUIRES: the device is done.
  std::span<SegmentResult> results();

 private:
  void lay_out(std::span<const Segment> batch);
  void lay_out_results(std::span<const Segment> batch);
  void fill_tables(std::span<const Segment> batch, std::span<std::optional<TokenId>> last_sampled);
  void add_outputs(std::size_t segment);
  OutputEntry log_probs_of(const Place& place, std::size_t row);
  void add_draw(std::size_t segment, std::size_t output);

  const ModelConfig& config_;
  const StatePool& states_;
  HostTables host_;
  std::vector<Place> places_;
  std::vector<OutputRow> output_rows_;
  std::size_t num_draws_ = 0;
  std::vector<SegmentResult> results_;
  std::vector<TokenLogProb> top_;
};

}  // namespace ttt::cuda
