// SPDX-License-Identifier: Apache-2.0
// A state as Backend::save wrote it, taken apart by name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "engine/backend.h"
#include "engine/state_layout.h"

namespace ttt::test {

class SavedState {
 public:
  SavedState(const Backend& backend, const ModelConfig& config, SlotId slot, std::int64_t position)
      : bytes_(state_bytes(config, position)), list_(list_state(config, position)) {
    backend.save(slot, position, bytes_);
  }

  std::span<const std::byte> bytes() const { return bytes_; }
  std::vector<double> all() const { return floats(0, bytes_.size() / sizeof(float)); }

  // Of "W1" in layer 3, its values in row-major order.
  std::vector<double> values(std::size_t layer, const std::string& name) const {
    const std::string full_name = "blk." + std::to_string(layer) + "." + name;
    for (const StateTensor& tensor : list_) {
      if (tensor.name != full_name) continue;
      std::size_t row_size = 1;
      for (std::size_t axis = 1; axis < tensor.shape.size(); ++axis) row_size *= tensor.shape[axis];
      std::vector<double> values;
      for (std::size_t row = 0; row < tensor.shape[0]; ++row) {
        const std::vector<double> part = floats(tensor.offset + row * tensor.row_stride, row_size);
        values.insert(values.end(), part.begin(), part.end());
      }
      return values;
    }
    throw std::invalid_argument("no state tensor " + full_name);
  }

  // The open mini-batch's gradients, summed as the dense update of a fast weight: input [open, H, a],
  // gradient [open, H, b] give [H, a, b]. An empty `input` stands for ones: the update of a bias.
  std::vector<double> summed_gradient(std::size_t layer, const std::string& input,
                                      const std::string& gradient, std::size_t num_heads,
                                      std::size_t num_open) const {
    if (num_open == 0) return {};
    const std::vector<double> g = values(layer, gradient);
    const std::vector<double> x =
        input.empty() ? std::vector<double>(num_open * num_heads, 1.0) : values(layer, input);
    const std::size_t a = x.size() / num_open / num_heads, b = g.size() / num_open / num_heads;
    std::vector<double> sum(num_heads * a * b);
    for (std::size_t row = 0; row < num_open * num_heads; ++row) {
      const std::size_t head = row % num_heads;
      for (std::size_t i = 0; i < a; ++i) {
        for (std::size_t j = 0; j < b; ++j) sum[(head * a + i) * b + j] += x[row * a + i] * g[row * b + j];
      }
    }
    return sum;
  }

 private:
  std::vector<double> floats(std::size_t offset, std::size_t count) const {
    std::vector<float> part(count);
    if (count > 0) std::memcpy(part.data(), bytes_.data() + offset * sizeof(float), count * sizeof(float));
    return {part.begin(), part.end()};
  }

  std::vector<std::byte> bytes_;
  std::vector<StateTensor> list_;
};

}  // namespace ttt::test
