// SPDX-License-Identifier: Apache-2.0
#include "cuda/device_weights.h"

#include <algorithm>
#include <span>
#include <stdexcept>

#include "cuda/block_planes.h"
#include "engine/state_layout.h"
#include "engine/weight_values.h"

namespace ttt::cuda {
namespace {

using weights::DType;
using weights::TensorView;

MatrixType matrix_type(DType type) {
  if (type == DType::kF16) return MatrixType::kF16;
  if (type == DType::kBF16) return MatrixType::kBF16;
  if (type == DType::kQ8_0) return MatrixType::kQ8_0;
  if (type == DType::kQ4_0) return MatrixType::kQ4_0;
  if (type == DType::kQ4_K) return MatrixType::kQ4_K;
  if (type == DType::kQ6_K) return MatrixType::kQ6_K;
  return MatrixType::kF32;
}

// Copies one tensor after another; an absent tensor stays absent.
class Uploader {
 public:
  Uploader(const Model& model, DeviceArena& arena, cudaStream_t stream)
      : model_(model), arena_(arena), stream_(stream) {}

  // `count` floats that `make` gives, which is called only where there is somewhere to put them.
  template <typename Make>
  const float* floats(std::size_t count, Make&& make) const {
    if (count == 0) return nullptr;
    auto* to = arena_.take<float>(count);
    if (arena_.is_measuring()) return to;
    const std::vector<float> values = make();
    if (values.size() != count) throw std::logic_error("DeviceWeights: a tensor of another size");
    copy(to, values.data(), count * sizeof(float));
    return to;
  }
  const float* operator()(const TensorView& tensor) const {
    return floats(size_of(tensor), [&] { return floats_of(tensor); });
  }
  const float* taps(const TensorView& tensor) const {
    return floats(size_of(tensor), [&] { return conv_taps(tensor); });
  }

  Matrix matrix(const TensorView& tensor) const {
    if (tensor.bytes.empty()) return {};
    Matrix matrix;
    matrix.outputs = static_cast<std::uint32_t>(tensor.shape.at(0));
    matrix.inputs = static_cast<std::uint32_t>(tensor.shape.at(1));
    matrix.type = matrix_type(tensor.dtype);
    auto* to = arena_.take<std::byte>(matrix.bytes());
    matrix.data = to;
    if (arena_.is_measuring()) return matrix;
    if (is_block_type(matrix.type)) {
      copy_planes(tensor.bytes, matrix.type, to);
    } else {
      copy(to, tensor.bytes.data(), tensor.bytes.size());
    }
    if (model_.release) model_.release(tensor.bytes);
    return matrix;
  }

 private:
  static std::size_t size_of(const TensorView& tensor) {
    return tensor.bytes.empty() ? 0 : static_cast<std::size_t>(*weights::num_elements(tensor.shape));
  }

  void copy(void* to, const void* from, std::size_t bytes) const {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_), "copying a weight");
  }

  // Some blocks at a time, so that no second copy of the matrix comes to be.
  void copy_planes(std::span<const std::byte> blocks, MatrixType type, std::byte* to) const {
    constexpr std::size_t kBlocks = 1 << 14;
    const BlockShape& shape = block_shape(type);
    const std::size_t num_blocks = blocks.size() / shape.bytes;
    std::vector<std::byte> gathered;
    for (const BlockPart& part : shape.planes) {
      for (std::size_t first = 0; first < num_blocks; first += kBlocks) {
        const std::size_t count = std::min(kBlocks, num_blocks - first);
        gathered.resize(count * part.bytes);
        gather_plane(shape, part, blocks.subspan(first * shape.bytes, count * shape.bytes), gathered);
        if (!gathered.empty()) copy(to + first * part.bytes, gathered.data(), gathered.size());
      }
      to += num_blocks * part.bytes;
    }
  }

  const Model& model_;
  DeviceArena& arena_;
  cudaStream_t stream_;
};

DeviceLayerWeights upload_layer(const LayerWeights& layer, const Uploader& upload) {
  return {
      .pre_conv_norm = upload(layer.pre_conv_norm),
      .pre_conv_weight = upload.taps(layer.pre_conv_weight),
      .pre_conv_bias = upload(layer.pre_conv_bias),
      .attn_norm = upload(layer.attn_norm),
      .attn_q = upload.matrix(layer.attn_q),
      .attn_k = upload.matrix(layer.attn_k),
      .attn_v = upload.matrix(layer.attn_v),
      .gate = upload.matrix(layer.gate),
      .attn_output = upload.matrix(layer.attn_output),
      .conv_q_weight = upload.taps(layer.conv_q_weight),
      .conv_q_bias = upload(layer.conv_q_bias),
      .conv_k_weight = upload.taps(layer.conv_k_weight),
      .conv_k_bias = upload(layer.conv_k_bias),
      .lr_weight = upload.matrix(layer.lr_weight),
      .lr_bias = upload(layer.lr_bias),
      .token_eta = upload.floats(layer.token_idx.shape.at(0), [&] { return token_eta(layer); }),
      .inner_norm_weight = upload(layer.inner_norm_weight),
      .inner_norm_bias = upload(layer.inner_norm_bias),
      .post_norm_weight = upload(layer.post_norm_weight),
      .post_norm_bias = upload(layer.post_norm_bias),
      .ffn_norm = upload(layer.ffn_norm),
      .ffn_gate = upload.matrix(layer.ffn_gate),
      .ffn_up = upload.matrix(layer.ffn_up),
      .ffn_down = upload.matrix(layer.ffn_down),
  };
}

// Zero convolution inputs and the learned initial fast weights, layer by layer.
std::vector<float> initial_state(const Model& model) {
  const std::size_t layer_floats = layer_state_floats(model.config, 0);
  std::vector<float> state(model.layers.size() * layer_floats);
  for (std::size_t l = 0; l < model.layers.size(); ++l) {
    const std::vector<float> fast_weights = initial_fast_weights(model.layers[l]);
    const auto end = state.begin() + static_cast<std::ptrdiff_t>((l + 1) * layer_floats);
    std::ranges::copy(fast_weights, end - static_cast<std::ptrdiff_t>(fast_weights.size()));
  }
  return state;
}

}  // namespace

DeviceWeights::DeviceWeights(const Model& model, DeviceArena& arena, cudaStream_t stream)
    : config(model.config) {
  const Uploader upload(model, arena, stream);
  layers.reserve(model.layers.size());
  for (const LayerWeights& layer : model.layers) layers.push_back(upload_layer(layer, upload));
  output_norm = upload(model.output_norm);
  output = upload.matrix(model.output);
  token_embd = config.tie_word_embeddings ? output : upload.matrix(model.token_embd);
  rope_table = upload.floats(config.mini_batch_size * config.head_size(), [&] {
    return make_rope_table(config.mini_batch_size, config.head_size(), config.rope_theta);
  });
  initial_state =
      upload.floats(state_bytes(config, 0) / sizeof(float), [&] { return cuda::initial_state(model); });
}

}  // namespace ttt::cuda
