// SPDX-License-Identifier: Apache-2.0
// reset, copy, rewind, save, load.
#include <cstring>

#include "tests/contract/driver.h"
#include "tests/golden.h"

namespace ttt::contract {
namespace {

// Values of a learned initial fast weight, as the state holds them.
std::vector<float> initial_values(const LayerWeights& layer, std::string_view name) {
  const weights::TensorView& view = name == "W1"   ? layer.inner_1_weight
                                    : name == "b1" ? layer.inner_1_bias
                                    : name == "W2" ? layer.inner_2_weight
                                                   : layer.inner_2_bias;
  const std::vector<double> values = test::read_doubles(view);
  std::vector<float> floats(values.size());
  std::ranges::transform(values, floats.begin(), [](double value) { return static_cast<float>(value); });
  return floats;
}

void reset_gives_initial_state(const Subject& subject) {
  const Driver driver(subject);
  const std::vector<StateTensor> list = list_state(driver.config, 0);
  for (SlotId slot = 0; slot < 4; ++slot) {
    const Bytes state = driver.save(slot, 0);
    for (std::size_t layer = 0; layer < driver.config.num_hidden_layers; ++layer) {
      const std::string prefix = fmt::format("blk.{}.", layer);
      for (const StateTensor& tensor : list) {
        if (!tensor.name.starts_with(prefix) || tensor.shape[0] == 0) continue;
        const std::string name = tensor.name.substr(prefix.size());
        const std::size_t size = tensor.shape[0] * tensor.row_stride;
        const std::vector<float> wanted = name.ends_with("conv")
                                              ? std::vector<float>(size)
                                              : initial_values(subject.model.layers[layer], name);
        const auto found = std::span(state).subspan(tensor.offset * sizeof(float), size * sizeof(float));
        require(same_bits(found, std::as_bytes(std::span(wanted))),
                "slot {}: {} is not the learned initial value (0 for "
                "convolution inputs)",
                slot, tensor.name);
      }
    }
  }
}

void reset_forgets(const Subject& subject) {
  const Driver driver(subject);
  const Reference reference(driver, 1, 2 * driver.config.mini_batch_size + 2);
  const std::vector<TokenId> other = test::Random(2).tokens(reference.tokens.size(), driver.V);
  for (const std::int64_t before : {std::int64_t{1}, driver.K - 1, driver.K, driver.K + 1}) {
    if (before == 0) continue;
    driver.start(1, std::span(other).first(static_cast<std::size_t>(before)));
    driver.backend->reset(1);
    require(driver.save(1, 0) == reference.state_at(0),
            "after {} tokens and a reset, the state is not a fresh one", before);
    require(same_bits(driver.read(1, 0, reference.tokens, all_logits()).logits, reference.logits),
            "after {} tokens and a reset, a sequence gives other logits than in a fresh slot", before);
  }
}

void copy_is_independent(const Subject& subject) {
  const Driver driver(subject);
  const Reference a(driver, 3, 2 * driver.config.mini_batch_size + 4);
  const Reference b(driver, 4, a.tokens.size());
  for (const std::int64_t position :
       {std::int64_t{0}, std::int64_t{1}, driver.K - 1, driver.K, driver.K + 1, 2 * driver.K}) {
    driver.start(2, b.part(0, driver.K + 1));  // the target holds something else
    driver.start(1, a.part(0, position));
    driver.backend->copy(1, 2, position);
    require(driver.save(2, position) == a.state_at(position), "a copy at position {} differs from its source",
            position);
    driver.read(2, position, b.part(0, 2));
    require(driver.save(1, position) == a.state_at(position),
            "reading into a copy made at position {} changed the source", position);
    driver.backend->copy(1, 2, position);
    driver.read(1, position, b.part(0, 2));
    require(driver.save(2, position) == a.state_at(position),
            "reading into the source changed its copy made at position {}", position);
    require(same_bits(driver.read(2, position, a.part(position, position + 3), all_logits()).logits,
                      a.logits_of(position, position + 3)),
            "a copy made at position {} goes on with other logits", position);
  }
}

// For every (from, to) of two mini-batches.
template <typename Fn>
void for_each_rewind(std::int64_t K, Fn&& fn) {
  for (const std::int64_t begin : {std::int64_t{0}, K}) {
    for (std::int64_t from = begin; from < begin + K; ++from) {
      for (std::int64_t to = begin; to <= from; ++to) fn(from, to);
    }
  }
}

// Slot 1, after a rewind.
void require_as_never_read(const Driver& driver, const Reference& reference, std::int64_t from,
                           std::int64_t to) {
  require(driver.save(1, to) == reference.state_at(to),
          "after a rewind from {} to {} the state is not that of position {}", from, to, to);
  const Result next = driver.read(1, to, reference.part(to, to + 2), all_logits());
  require(same_bits(next.logits, reference.logits_of(to, to + 2)),
          "after a rewind from {} to {} the logits differ", from, to);
}

// The dropped tokens were read in one segment with those before, or by themselves.
void rewind_undoes(const Subject& subject) {
  const Driver driver(subject);
  const Reference reference(driver, 5, 2 * driver.config.mini_batch_size + 2);
  const std::vector<TokenId> other = test::Random(6).tokens(driver.config.mini_batch_size, driver.V);
  std::int64_t in_slot_2 = -1;
  for_each_rewind(driver.K, [&](std::int64_t from, std::int64_t to) {
    if (in_slot_2 != from) driver.start(2, reference.part(0, from));
    in_slot_2 = from;
    driver.backend->copy(2, 1, from);
    driver.backend->rewind(1, from, to);
    require_as_never_read(driver, reference, from, to);

    driver.backend->load(1, to, reference.state_at(to));
    if (from > to) driver.read(1, to, std::span(other).first(static_cast<std::size_t>(from - to)));
    driver.backend->rewind(1, from, to);
    require_as_never_read(driver, reference, from, to);
  });
}

void rewind_after_load(const Subject& subject) {
  const Driver driver(subject);
  const Reference reference(driver, 7, 2 * driver.config.mini_batch_size + 2);
  for_each_rewind(driver.K, [&](std::int64_t from, std::int64_t to) {
    driver.backend->load(1, from, reference.state_at(from));
    driver.backend->rewind(1, from, to);
    require_as_never_read(driver, reference, from, to);
  });
}

void rewind_across_commit_refused(const Subject& subject) {
  const Driver driver(subject);
  const std::int64_t K = driver.K;
  const Reference reference(driver, 8, 2 * driver.config.mini_batch_size + 1);
  const auto require_refused = [&](std::int64_t from, std::int64_t to) {
    driver.backend->load(1, from, reference.state_at(from));
    require_logic_error([&] { driver.backend->rewind(1, from, to); },
                        fmt::format("rewind from {} to {}", from, to));
    require(driver.save(1, from) == reference.state_at(from),
            "a refused rewind from {} to {} changed the slot", from, to);
  };
  require_refused(K, K - 1);
  require_refused(K, 0);
  require_refused(2 * K + 1, 2 * K - 1);
  require_refused(2 * K, K);
  require_refused(1, 2 * K);
  require_refused(0, -1);
}

void save_and_load(const Subject& subject) {
  const Driver driver(subject), elsewhere(subject);
  const std::int64_t last = 2 * driver.K + 1;
  const Reference reference(driver, 9, static_cast<std::size_t>(last) + 2);
  const std::vector<TokenId> other = test::Random(10).tokens(driver.config.mini_batch_size + 1, driver.V);
  for (std::int64_t position = 0; position <= last; ++position) {
    for (const auto& [target, slot] :
         {std::pair{&driver, 0}, std::pair{&driver, 3}, std::pair{&elsewhere, 2}}) {
      target->start(slot, std::span(other).first(1 + static_cast<std::size_t>(position) % other.size()));
      target->backend->load(slot, position, reference.state_at(position));
      require(target->save(slot, position) == reference.state_at(position),
              "position {}, slot {}: a loaded state is saved differently", position, slot);
      require(
          same_bits(target->read(slot, position, reference.part(position, position + 2), all_logits()).logits,
                    reference.logits_of(position, position + 2)),
          "position {}, slot {}: a loaded state goes on with other logits", position, slot);
      require(target->save(slot, position + 2) == reference.state_at(position + 2),
              "position {}, slot {}: a loaded state goes on to another state", position, slot);
    }
  }
}

void save_leaves_alone(const Subject& subject) {
  const Driver driver(subject);
  const Reference reference(driver, 11, driver.config.mini_batch_size + 5);
  for (const std::int64_t position : {std::int64_t{1}, driver.K + 2}) {
    driver.start(1, reference.part(0, position));
    driver.save(1, position);
    require(driver.save(1, position) == reference.state_at(position), "position {}: a second save differs",
            position);
    require(same_bits(driver.read(1, position, reference.part(position, position + 2), all_logits()).logits,
                      reference.logits_of(position, position + 2)),
            "position {}: saving changed what follows", position);
  }
}

// Two sequences share a slot, swapped by save and load after every few tokens, at different phases.
void sequences_swap_in_a_slot(const Subject& subject) {
  const Driver driver(subject);
  const std::size_t num_tokens = 2 * driver.config.mini_batch_size + 2;
  const Reference references[] = {Reference(driver, 12, num_tokens), Reference(driver, 13, num_tokens)};
  Bytes states[] = {references[0].state_at(0), references[1].state_at(0)};
  std::int64_t positions[] = {0, 0};
  test::Random random(14);
  while (positions[0] < length(references[0].tokens) || positions[1] < length(references[1].tokens)) {
    const std::size_t which = random.below(2);
    const Reference& reference = references[which];
    const std::int64_t begin = positions[which];
    const std::int64_t end =
        std::min(length(reference.tokens), begin + static_cast<std::int64_t>(random.between(1, 3)));
    if (begin == end) continue;
    driver.backend->load(1, begin, states[which]);
    require(same_bits(driver.read(1, begin, reference.part(begin, end), all_logits()).logits,
                      reference.logits_of(begin, end)),
            "a sequence swapped in at position {} gives other logits", begin);
    states[which] = driver.save(1, end);
    positions[which] = end;
  }
  for (const std::size_t which : {0U, 1U}) {
    require(states[which] == references[which].states.back(),
            "a sequence swapped in and out ends in another state");
  }
}

}  // namespace

std::vector<Check> state_checks() {
  return {
      {"reset sets the learned initial fast weights and zero convolution inputs", reset_gives_initial_state},
      {"reset forgets what the slot held", reset_forgets},
      {"a copy equals its source and is independent of it", copy_is_independent},
      {"rewind is as if the dropped tokens had never been read", rewind_undoes},
      {"rewind works on a loaded state", rewind_after_load},
      {"rewind across a commit is refused and changes nothing", rewind_across_commit_refused},
      {"a saved state goes on in any slot of any backend", save_and_load},
      {"saving leaves the slot as it is", save_leaves_alone},
      {"sequences swap in one slot without noticing", sequences_swap_in_a_slot}};
}

}  // namespace ttt::contract
