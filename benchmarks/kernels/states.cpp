// SPDX-License-Identifier: Apache-2.0
// A sequence's state copied: between slots, and to and from the bytes of a snapshot. At a position where the
// most of a mini-batch is open. One thread, as the engine's calls have.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "benchmarks/kernels/measure.h"
#include "cpu/state_pool.h"
#include "engine/random_weights.h"
#include "engine/state_layout.h"
#include "tests/random.h"

namespace ttt::bench {
namespace {

constexpr std::int64_t kPosition = 31;  // 15 rows are open

struct States {
  explicit States(const ModelConfig& model_config)
      : config(model_config), pool(config, 2), bytes(state_bytes(config, kPosition)) {
    test::Random random(1);
    for (std::size_t layer = 0; layer < config.num_hidden_layers; ++layer) {
      for_each_part(0, layer, [&](float* at, std::size_t count) {
        for (std::size_t i = 0; i < count; ++i) at[i] = static_cast<float>(random.symmetric());
        wanted.insert(wanted.end(), at, at + count);
      });
    }
  }

  // What counts of a layer, in the canonical order of engine/state_layout.h, by its own arithmetic.
  template <class Fn>
  void for_each_part(SlotId slot, std::size_t layer, Fn&& fn) {
    const std::size_t d = config.hidden_size, open = 15, f = config.head_size(), m = config.inner_size();
    const std::size_t heads = config.num_attention_heads;
    const std::size_t conv_rows = config.conv_kernel - 1 + open;
    const std::size_t layers_of_weights = config.is_mlp() ? 2 : 1;
    const cpu::LayerState state = pool.layer(slot, layer);
    fn(state.pre_conv, conv_rows * d);
    fn(state.qk_conv, conv_rows * d);
    fn(state.fast_weights, heads * (layers_of_weights * f * m + m + (config.is_mlp() ? f : 0)));
    fn(state.open_rows, open * heads * layers_of_weights * (f + m));
  }

  bool slot_is_right(SlotId slot) {
    std::size_t at = 0;
    bool is_right = true;
    for (std::size_t layer = 0; layer < config.num_hidden_layers; ++layer) {
      for_each_part(slot, layer, [&](const float* found, std::size_t count) {
        is_right = is_right && std::equal(found, found + count, &wanted[at]);
        at += count;
      });
    }
    return is_right && at == wanted.size();
  }
  bool bytes_are_right() const {
    return bytes.size() == wanted.size() * sizeof(float) &&
           std::memcmp(bytes.data(), wanted.data(), bytes.size()) == 0;
  }

  void save() { pool.save(0, kPosition, bytes); }
  void load() { pool.load(1, kPosition, bytes); }
  void copy() { pool.copy(0, 1); }

  double save_error() {
    save();
    return bytes_are_right() ? 0.0 : 1e9;
  }
  double load_error() {
    std::memcpy(bytes.data(), wanted.data(), bytes.size());
    load();
    return slot_is_right(1) ? 0.0 : 1e9;
  }
  double copy_error() {
    copy();
    return slot_is_right(1) ? 0.0 : 1e9;
  }

  ModelConfig config;
  cpu::StatePool pool;
  std::vector<std::byte> bytes;
  std::vector<float> wanted;
};

struct StateKernel {
  const char* name;
  bool whole_slot;  // also what does not count at this position
  double (States::*error)();
  void (States::*run)();
};

Case make_case(Machine& machine, const std::string& size, const StateKernel& kernel) {
  const auto states = std::make_shared<States>(official_config(size));
  Case result;
  const std::size_t size_bytes = kernel.whole_slot ? states->pool.slot_bytes() : states->bytes.size();
  result.work = {.bytes = 2.0 * static_cast<double>(size_bytes), .shared = false};
  result.error_over_bound = [states, error = kernel.error] { return (states.get()->*error)(); };
  result.run = [states, run = kernel.run] { (states.get()->*run)(); };
  result.read = [states, &machine] {
    const std::size_t slot_floats = states->pool.slot_bytes() / sizeof(float);
    for (SlotId slot = 0; slot < 2; ++slot)
      machine.read({states->pool.layer(slot, 0).pre_conv, slot_floats}, 0);
    return 2.0 * static_cast<double>(states->pool.slot_bytes());
  };
  return result;
}

}  // namespace

void add_state_copies(Machine& machine) {
  const StateKernel kernels[] = {{"state_save", false, &States::save_error, &States::save},
                                 {"state_load", false, &States::load_error, &States::load},
                                 {"state_copy", true, &States::copy_error, &States::copy}};
  for (const std::string size : {"125m", "125m-mlp", "1.3b", "1.3b-mlp"}) {
    for (const StateKernel& kernel : kernels) {
      add(machine, fmt::format("{}/{}", kernel.name, size),
          [&machine, size, kernel] { return make_case(machine, size, kernel); });
    }
  }
}

}  // namespace ttt::bench
