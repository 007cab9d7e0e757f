// SPDX-License-Identifier: Apache-2.0
// The one table of tensor names. A row says how a weight is called in a GGUF file, in a Hugging Face
// checkpoint and in a JAX one, its shape in each, and when it is there. Loading, importing, listing, hashing
// and converting read it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/config.h"
#include "engine/model.h"
#include "weights/tensor.h"

namespace ttt {

// Extents by symbol; kOne is an axis that exists in the Hugging Face shape alone.
enum class Extent : std::uint8_t {
  kOne,
  kVocab,
  kWidth,
  kFeedForward,
  kHeads,
  kHeadSize,
  kInner,
  kMiniBatch,
  kConv
};

enum class When : std::uint8_t { kAlways, kPreConv, kShareQk, kSeparateQk, kGate, kMlp };

// How a JAX shape follows from the Hugging Face one. Where axes are reversed, values are transposed; where
// the last two are swapped, one of them is 1 and the values stay where they are.
enum class JaxAxes : std::uint8_t { kSame, kReversed, kLastTwoSwapped };

struct LayerTensor {
  std::string_view gguf;  // after "blk.N."
  std::string_view hf;    // after "model.layers.N."
  std::string_view jax;   // after "model/h/N/"
  JaxAxes jax_axes;
  weights::TensorView LayerWeights::*view;
  std::vector<Extent> hf_shape;  // the GGUF shape is this without kOne
  When when;
  bool is_matrix;
};

struct ModelTensor {
  std::string_view gguf;
  std::string_view hf;
  std::string_view jax;
  JaxAxes jax_axes;
  weights::TensorView Model::*view;
  std::vector<Extent> shape;
  bool is_matrix;
};

const std::vector<ModelTensor>& model_tensors();
const std::vector<LayerTensor>& layer_tensors();
const LayerTensor& row_of(weights::TensorView LayerWeights::*view);
const ModelTensor& row_of(weights::TensorView Model::*view);

bool applies(When when, const ModelConfig& config);
std::string_view field_of(When when);  // of the configuration; empty for kAlways

// The shape in Hugging Face checkpoints, or without its ones: that in GGUF files.
weights::Shape resolve(const std::vector<Extent>& extents, const ModelConfig& config, bool keep_ones);
weights::Shape in_jax(JaxAxes axes, weights::Shape hf_shape);

std::string gguf_name(const LayerTensor& tensor, std::size_t layer);
std::string hf_name(const LayerTensor& tensor, std::size_t layer);
std::string jax_name(const LayerTensor& tensor, std::size_t layer);

}  // namespace ttt
