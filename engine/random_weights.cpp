// SPDX-License-Identifier: Apache-2.0
#include "engine/random_weights.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <new>
#include <span>
#include <stdexcept>
#include <utility>

#include "engine/tensor_types.h"
#include "weights/element_type.h"

namespace ttt {
namespace {

using weights::DType;

constexpr std::size_t kAlignment = 64;
constexpr std::size_t kPieceElements = std::size_t{1} << 16;
constexpr float kDeviation = 0.02F;  // as the official code initialises

struct Size {
  std::string_view name;
  std::size_t width, feed_forward, layers, heads;
};
constexpr Size kSizes[] = {{"125m", 768, 2048, 12, 12},
                           {"350m", 1024, 2736, 24, 16},
                           {"760m", 1536, 4096, 24, 16},
                           {"1.3b", 2048, 5504, 24, 32}};

std::size_t aligned(std::size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// SplitMix64.
std::uint64_t next(std::uint64_t& state) {
  std::uint64_t z = (state += 0x9E3779B97F4A7C15U);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
  return z ^ (z >> 31);
}

// Uniform with mean 0 and the deviation above: two from 64 bits.
void fill_random(std::span<float> values, std::uint64_t& state) {
  constexpr float kScale = kDeviation * 1.7320508F * 0x1p-31F;
  for (std::size_t i = 0; i < values.size(); i += 2) {
    const std::uint64_t bits = next(state);
    values[i] = static_cast<float>(static_cast<std::int32_t>(bits)) * kScale;
    if (i + 1 < values.size())
      values[i + 1] = static_cast<float>(static_cast<std::int32_t>(bits >> 32)) * kScale;
  }
}

// The whole pages inside of it.
void discard_pages(std::span<const std::byte> part) {
  const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<std::uintptr_t>(part.data()) + page - 1) / page * page;
  const auto end = (reinterpret_cast<std::uintptr_t>(part.data()) + part.size()) / page * page;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

}  // namespace

const std::vector<std::string>& official_sizes() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> list;
    for (const Size& size : kSizes) {
      list.emplace_back(size.name);
      list.push_back(fmt::format("{}-mlp", size.name));
    }
    return list;
  }();
  return names;
}

ModelConfig official_config(std::string_view name) {
  const bool is_mlp = name.ends_with("-mlp");
  const std::string_view stem = is_mlp ? name.substr(0, name.size() - 4) : name;
  const auto* size = std::ranges::find(kSizes, stem, &Size::name);
  if (size == std::end(kSizes)) {
    throw std::invalid_argument(
        fmt::format("wanted one of {}, found '{}'", fmt::join(official_sizes(), ", "), name));
  }
  ModelConfig config;
  config.name = fmt::format("random {}", name);
  config.vocab_size = 32'000;
  config.hidden_size = size->width;
  config.intermediate_size = size->feed_forward;
  config.num_hidden_layers = size->layers;
  config.num_attention_heads = size->heads;
  config.ttt_layer_type = is_mlp ? LayerType::kTttMlp : LayerType::kTttLinear;
  config.ttt_base_lr = is_mlp ? 0.1F : 1.0F;
  config.pre_conv = config.share_qk = config.use_gate = true;
  return config;
}

Model RandomWeights::without_bytes(const ModelConfig& config, DType matrix_type) {
  return ttt::without_bytes(config, {.matrices = matrix_type});
}

RandomWeights::RandomWeights(const ModelConfig& config, DType matrix_type, std::uint64_t seed)
    : matrix_type_(matrix_type), state_(seed) {
  std::size_t size = 0;
  for (const NamedTensor& tensor : list_tensors(without_bytes(config, matrix_type))) {
    size += aligned(*weights::tensor_bytes(tensor.view.dtype, tensor.view.shape));
  }
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  memory_ = {static_cast<std::byte*>(memory), Unmap{size}};
  model_ = assemble_model(config, [this](std::string name, weights::Shape shape, bool is_matrix) {
    return fill(std::move(name), std::move(shape), is_matrix);
  });
  // Here the bytes are really gone, as they are in no file: whoever releases them has made a copy.
  model_.release = [](std::span<const std::byte> part) { discard_pages(part); };
}

void RandomWeights::Unmap::operator()(std::byte* memory) const { munmap(memory, size); }

// Gains are 1, biases and slot corrections 0, everything else is random.
weights::TensorView RandomWeights::fill(std::string name, weights::Shape shape, bool is_matrix) {
  const DType type = stored_type({.matrices = matrix_type_}, name, shape, is_matrix);
  const std::size_t size = *weights::tensor_bytes(type, shape);
  const std::span<std::byte> bytes(memory_.get() + used_, size);
  used_ += aligned(size);
  const bool is_gain = name.ends_with("norm.weight");
  const bool is_zero = name.ends_with("bias") || name.ends_with("token_idx.weight");
  const weights::DTypeInfo& info = weights::dtype_info(type);
  std::vector<float> values(kPieceElements, is_gain ? 1.0F : 0.0F);
  for (std::size_t done = 0; done < size;) {
    const std::size_t piece = std::min(size - done, kPieceElements / info.block_elements * info.block_bytes);
    const std::span<float> piece_values =
        std::span(values).first(piece / info.block_bytes * info.block_elements);
    if (!is_gain && !is_zero) fill_random(piece_values, state_);
    weights::from_floats(type, piece_values, bytes.subspan(done, piece));
    done += piece;
  }
  return {.name = std::move(name), .dtype = type, .shape = std::move(shape), .bytes = bytes};
}

}  // namespace ttt
