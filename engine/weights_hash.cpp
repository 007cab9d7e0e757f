// SPDX-License-Identifier: Apache-2.0
#include "engine/weights_hash.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <cstdint>
#include <new>

#include "engine/tensor_pieces.h"
#include "weights/checkpoint_error.h"

namespace ttt {

struct WeightsHash::State {
  XXH3_state_t* xxh = XXH3_createState();
  ~State() { XXH3_freeState(xxh); }
};

WeightsHash::WeightsHash() : state_(std::make_unique<State>()) {
  if (state_->xxh == nullptr) throw std::bad_alloc();
  XXH3_128bits_reset(state_->xxh);
}

WeightsHash::~WeightsHash() = default;

void WeightsHash::begin_tensor(const std::string& name, weights::DType dtype, const weights::Shape& shape) {
  // Names come from our own table and hold no newline; type and shape give the number of bytes to follow.
  const std::string line =
      fmt::format("{}\n{} {}\n", name, weights::dtype_info(dtype).name, weights::to_string(shape));
  update(std::as_bytes(std::span(line)));
}

void WeightsHash::update(std::span<const std::byte> bytes) {
  XXH3_128bits_update(state_->xxh, bytes.data(), bytes.size());
}

std::string WeightsHash::hex() const {
  const XXH128_hash_t hash = XXH3_128bits_digest(state_->xxh);
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

std::string weights_hash(const Model& model, const std::function<void(std::uint64_t)>& progress) {
  WeightsHash hash;
  std::vector<std::byte> fetched;
  std::uint64_t done = 0;
  for (const NamedTensor& tensor : list_tensors(model)) {
    const weights::DType type = tensor.is_matrix ? tensor.view.dtype : weights::DType::kF32;
    hash.begin_tensor(tensor.view.name, type, tensor.view.shape);
    for_each_piece_as(with_bytes(model, tensor.view, fetched), type,
                      [&](std::span<const std::byte> source, std::span<const std::byte> bytes) {
                        hash.update(bytes);
                        if (model.release) model.release(source);
                        done += source.size();
                        if (progress) progress(done);
                        return true;
                      });
  }
  return hash.hex();
}

void check_stated_hash(const Model& model, std::string_view found) {
  if (model.stated_hash.empty() || model.stated_hash == found) return;
  weights::refuse({.file = model.source,
                   .where = kWeightsHashKey,
                   .wanted = fmt::format("{}, as the file states", model.stated_hash),
                   .found = fmt::format("{} of its weights", found),
                   .remedy = "The weights are not those the file was written with: download it, or convert "
                             "its original, again."});
}

}  // namespace ttt
