// SPDX-License-Identifier: Apache-2.0
#include "cuda/device_weights.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <span>
#include <stdexcept>

#include "cuda/block_planes.h"
#include "cuda/products.h"
#include "engine/state_layout.h"
#include "engine/tensor_pieces.h"
#include "engine/weight_values.h"
#include "weights/element_type.h"
#include "weights/float16.h"

namespace ttt::cuda {
namespace {

using weights::DType;
using weights::TensorView;

// As it is in the file.
MatrixType matrix_type(DType type) {
  switch (type) {
    case DType::kF16:
      return MatrixType::kF16;
    case DType::kBF16:
      return MatrixType::kBF16;
    case DType::kQ8_0:
      return MatrixType::kQ8_0;
    case DType::kQ4_0:
      return MatrixType::kQ4_0;
    case DType::kQ4_K:
      return MatrixType::kQ4_K;
    case DType::kQ6_K:
      return MatrixType::kQ6_K;
    default:  // of a model that was loaded: F32
      return MatrixType::kF32;
  }
}

// Of a matrix in device memory that multiplies such rows.
MatrixType matrix_type(DType type, OperandType operands) {
  if (is_block_type(matrix_type(type)) || operands == OperandType::kF32) return matrix_type(type);
  return operands == OperandType::kF16 ? MatrixType::kF16 : MatrixType::kBF16;
}

// Where only memory is planned, a tensor may have no bytes yet.
bool is_absent(const TensorView& tensor) { return tensor.shape.empty(); }

// Copies one tensor after another; an absent tensor stays absent.
class Uploader {
 public:
  Uploader(const Model& model, Precision precision, DeviceArena& arena, cudaStream_t stream)
      : model_(model), precision_(precision), arena_(arena), stream_(stream) {}

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
    return floats(size_of(tensor), [&] { return floats_of(model_, tensor); });
  }
  const float* taps(const TensorView& tensor) const {
    return floats(size_of(tensor), [&] { return conv_taps(model_, tensor); });
  }

  // Of the rows that all these matrices multiply.
  OperandType operands_of(std::initializer_list<const TensorView*> matrices) const {
    const auto is_bf16 = [](const TensorView* matrix) { return matrix->dtype == DType::kBF16; };
    const auto is_quantised = [](const TensorView* matrix) {
      return !is_absent(*matrix) && is_block_type(matrix_type(matrix->dtype));
    };
    const auto fits = [this](const TensorView* matrix) { return fits_half(*matrix); };
    const auto inputs = static_cast<std::uint32_t>((*matrices.begin())->shape.at(1));
    if (precision_ == Precision::kExact || !can_multiply_half(inputs)) return OperandType::kF32;
    const bool all_fit = std::ranges::all_of(matrices, fits);
    if (std::ranges::any_of(matrices, is_quantised)) {
      if (all_fit) return OperandType::kF16;
      throw DeviceError(
          "weights beside quantised ones, or their scales, are beyond fp16, in which a GPU multiplies them: "
          "use --precision exact");
    }
    return std::ranges::any_of(matrices, is_bf16) || !all_fit ? OperandType::kBF16 : OperandType::kF16;
  }

  Matrix matrix(const TensorView& tensor, OperandType operands) const {
    if (is_absent(tensor)) return {};
    Matrix matrix;
    matrix.outputs = static_cast<std::uint32_t>(tensor.shape.at(0));
    matrix.inputs = static_cast<std::uint32_t>(tensor.shape.at(1));
    matrix.type = matrix_type(tensor.dtype, operands);
    matrix.operands = operands;
    auto* to = arena_.take<std::byte>(matrix.bytes());
    matrix.data = to;
    if (arena_.is_measuring()) return matrix;
    const TensorView whole = with_bytes(model_, tensor, fetched_);
    if (is_block_type(matrix.type)) {
      copy_planes(whole.bytes, block_shape(matrix.type), to);
    } else if (matrix.type == matrix_type(whole.dtype)) {
      copy(to, whole.bytes.data(), whole.bytes.size());
    } else {
      convert(whole, matrix, to);
    }
    if (model_.release) model_.release(tensor.bytes);
    return matrix;
  }

 private:
  static std::size_t size_of(const TensorView& tensor) {
    return is_absent(tensor) ? 0 : static_cast<std::size_t>(*weights::num_elements(tensor.shape));
  }

  void copy(void* to, const void* from, std::size_t bytes) const {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_), "copying a weight");
  }

  // fn(values) for some rows of a matrix after others, in order.
  template <typename Fn>
  static void for_each_rows(const TensorView& tensor, Fn&& fn) {
    constexpr std::size_t kValues = std::size_t{1} << 18;  // 1 MiB at a time
    const auto outputs = static_cast<std::size_t>(tensor.shape.at(0));
    const auto inputs = static_cast<std::size_t>(tensor.shape.at(1));
    const std::size_t row_bytes = tensor.bytes.size() / outputs;
    const std::size_t rows = std::clamp<std::size_t>(kValues / inputs, 1, outputs);
    std::vector<float> values(rows * inputs);
    for (std::size_t first = 0; first < outputs; first += rows) {
      const std::size_t count = std::min(rows, outputs - first);
      const std::span<float> some = std::span(values).first(count * inputs);
      weights::to_floats(tensor.dtype, tensor.bytes.subspan(first * row_bytes, count * row_bytes), some);
      fn(some);
    }
  }

  // Whether the largest value is a normal number of fp16, or all are 0. The type takes no part in what memory
  // is needed: it is not asked for while that is measured.
  bool fits_half(const TensorView& tensor) const {
    if (is_absent(tensor) || tensor.dtype == DType::kF16 || arena_.is_measuring()) return true;
    constexpr float kRoundsToInfinity = 65520.0F, kSmallestNormal = 0x1p-14F;
    const TensorView whole = with_bytes(model_, tensor, fetched_);
    if (is_block_type(matrix_type(whole.dtype))) {
      const float bound = largest_magnitude(block_shape(matrix_type(whole.dtype)), whole.bytes);
      return bound == 0.0F || (bound >= kSmallestNormal && bound < kRoundsToInfinity);
    }
    float largest = 0.0F;
    bool fits = true;  // also of NaN: no
    for_each_rows(whole, [&](std::span<const float> values) {
      for (const float x : values) {
        largest = std::max(largest, std::abs(x));
        fits = fits && std::abs(x) < kRoundsToInfinity;
      }
    });
    return fits && (largest == 0.0F || largest >= kSmallestNormal);
  }

  // Some blocks at a time, so that no second copy of the matrix comes to be.
  void copy_planes(std::span<const std::byte> blocks, const BlockShape& shape, std::byte* to) const {
    constexpr std::size_t kBlocks = 1 << 14;
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

  void convert(const TensorView& tensor, const Matrix& matrix, std::byte* to) const {
    std::vector<std::uint16_t> halves;
    for_each_rows(tensor, [&](std::span<const float> values) {
      const std::size_t bytes = matrix_bytes(matrix.type, values.size());
      if (matrix.type == MatrixType::kF32) {
        copy(to, values.data(), bytes);
      } else {
        halves.resize(values.size());
        const bool is_f16 = matrix.type == MatrixType::kF16;
        std::ranges::transform(values, halves.begin(), [is_f16](float x) {
          return is_f16 ? weights::float_to_f16(x) : weights::float_to_bf16(x);
        });
        copy(to, halves.data(), bytes);
      }
      to += bytes;
    });
  }

  const Model& model_;
  Precision precision_;
  DeviceArena& arena_;
  cudaStream_t stream_;
  mutable std::vector<std::byte> fetched_;
};

DeviceLayerWeights upload_layer(const Model& model, const LayerWeights& layer, const Uploader& upload) {
  const OperandType of_attn_norm =
      upload.operands_of({&layer.attn_q, &layer.attn_k, &layer.attn_v, &layer.gate, &layer.lr_weight});
  const OperandType of_ffn_norm = upload.operands_of({&layer.ffn_gate, &layer.ffn_up});
  return {
      .pre_conv_norm = upload(layer.pre_conv_norm),
      .pre_conv_weight = upload.taps(layer.pre_conv_weight),
      .pre_conv_bias = upload(layer.pre_conv_bias),
      .attn_norm = upload(layer.attn_norm),
      .attn_q = upload.matrix(layer.attn_q, of_attn_norm),
      .attn_k = upload.matrix(layer.attn_k, of_attn_norm),
      .attn_v = upload.matrix(layer.attn_v, of_attn_norm),
      .gate = upload.matrix(layer.gate, of_attn_norm),
      .attn_output = upload.matrix(layer.attn_output, upload.operands_of({&layer.attn_output})),
      .conv_q_weight = upload.taps(layer.conv_q_weight),
      .conv_q_bias = upload(layer.conv_q_bias),
      .conv_k_weight = upload.taps(layer.conv_k_weight),
      .conv_k_bias = upload(layer.conv_k_bias),
      .lr_weight = upload.matrix(layer.lr_weight, of_attn_norm),
      .lr_bias = upload(layer.lr_bias),
      .token_eta = upload.floats(layer.token_idx.shape.at(0), [&] { return token_eta(model, layer); }),
      .inner_norm_weight = upload(layer.inner_norm_weight),
      .inner_norm_bias = upload(layer.inner_norm_bias),
      .post_norm_weight = upload(layer.post_norm_weight),
      .post_norm_bias = upload(layer.post_norm_bias),
      .ffn_norm = upload(layer.ffn_norm),
      .ffn_gate = upload.matrix(layer.ffn_gate, of_ffn_norm),
      .ffn_up = upload.matrix(layer.ffn_up, of_ffn_norm),
      .ffn_down = upload.matrix(layer.ffn_down, upload.operands_of({&layer.ffn_down})),
  };
}

// Zero convolution inputs and the learned initial fast weights, layer by layer.
std::vector<float> initial_state(const Model& model) {
  const std::size_t layer_floats = layer_state_floats(model.config, 0);
  std::vector<float> state(model.layers.size() * layer_floats);
  for (std::size_t l = 0; l < model.layers.size(); ++l) {
    const std::vector<float> fast_weights = initial_fast_weights(model, model.layers[l]);
    const auto end = state.begin() + static_cast<std::ptrdiff_t>((l + 1) * layer_floats);
    std::ranges::copy(fast_weights, end - static_cast<std::ptrdiff_t>(fast_weights.size()));
  }
  return state;
}

}  // namespace

DeviceWeights::DeviceWeights(const Model& model, Precision precision, DeviceArena& arena, cudaStream_t stream)
    : config(model.config) {
  const Uploader upload(model, precision, arena, stream);
  layers.reserve(model.layers.size());
  for (const LayerWeights& layer : model.layers) layers.push_back(upload_layer(model, layer, upload));
  output_norm = upload(model.output_norm);
  output = upload.matrix(model.output, upload.operands_of({&model.output}));
  token_embd = config.tie_word_embeddings
                   ? output
                   : upload.matrix(model.token_embd, upload.operands_of({&model.token_embd}));
  rope_table = upload.floats(config.mini_batch_size * config.head_size(), [&] {
    return make_rope_table(config.mini_batch_size, config.head_size(), config.rope_theta);
  });
  initial_state =
      upload.floats(state_bytes(config, 0) / sizeof(float), [&] { return cuda::initial_state(model); });
}

}  // namespace ttt::cuda
