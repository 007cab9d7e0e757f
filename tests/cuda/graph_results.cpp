// SPDX-License-Identifier: Apache-2.0
// Decode steps give by their graphs bitwise what they give without: in the emulator and on a GPU.
#include <catch2/catch.hpp>
#include <span>
#include <vector>

#include "cuda/library_products.h"
#include "tests/cuda/conversation.h"
#include "tests/cuda/installed_library.h"
#include "tests/cuda/launches.h"
#include "tests/random_model.h"
#include "tests/same_bits.h"
#include "tests/sanitized.h"

namespace ttt {

TEST_CASE("decode steps give by their graphs what they give without, also between prompts and other steps",
          "[short]") {
  const auto precision = GENERATE(cuda::Precision::kExact, cuda::Precision::kFast);
  const test::RandomModel model(test::conversation_config(), 1);
  const TokenCount count{3, 2, 1};
  const TokenId banned = 5, target = 11;
  const int rounds = test::kSanitized ? 2 : 3;
  test::Bytes found[2];
  for (const bool graphs : {false, true}) {
    test::Conversation talk(model.model, test::conversation_options(graphs, precision));
    const test::Launches launches;
    talk.read_prompts(test::Sample::kGreedy);
    for (int round = 0; round < rounds; ++round) {
      for (const test::Sample sample : {test::Sample::kGreedy, test::Sample::kDrawn, test::Sample::kByHost}) {
        talk.decode(4, sample);
        talk.decode(2, sample);
      }
      talk.add_decode(2, test::Sample::kDrawn);  // an order of its own, and lists
      talk.last().wanted.counts = {&count, 1};
      talk.last().wanted.banned = {&banned, 1};
      talk.add_decode(0, test::Sample::kGreedy);
      talk.last().wanted.log_probs = Rows::kLast;
      talk.last().wanted.top_n = static_cast<std::size_t>(round) + 1;
      talk.last().wanted.targets = {&target, 1};
      talk.last().wanted.targets_per_row = 1;
      talk.step();
      talk.add_decode(0, test::Sample::kGreedy);  // beside a prompt
      talk.add_prompt(1, 5, test::Sample::kDrawn);
      talk.step();
      talk.add_decode(0, test::Sample::kGreedy);
      talk.last().wanted.logits = Rows::kLast;
      talk.step();
      talk.add_decode(0, test::Sample::kDrawn);
      talk.last().wanted.inner_losses = true;
      talk.step();
    }
    found[graphs ? 1 : 0] = talk.whole();
    launches.check_graphs(graphs ? 5 : 0, graphs ? (rounds - 1) * 5 : 0);  // five shapes in each round
  }
  CHECK(test::same_bits(found[1], found[0]));
}

TEST_CASE("the library multiplies in a graph what it multiplies without") {
  test::InstalledLibrary installed;
  if (!installed.is_there()) return;
  if (GENERATE(false, true)) installed.refuse_one_output(cuda::kLeastLibraryRows);
  const test::RandomModel model(test::conversation_config(), 7);
  constexpr std::size_t kMany = cuda::kLeastLibraryRows;
  const std::vector<TokenId> tokens = test::Random(8).tokens(3 * kMany, model.model.config.vocab_size);
  const SamplingParams greedy;
  std::vector<TokenLogProb> sampled[2];
  for (const bool graphs : {false, true}) {
    const auto backend = cuda::make_cuda_backend(
        model.model, {.num_slots = kMany, .max_batch_tokens = kMany, .graphs = graphs});
    for (std::size_t slot = 0; slot < kMany; ++slot) backend->reset(static_cast<SlotId>(slot));
    const test::Launches launches;
    for (std::size_t step = 0; step < 3; ++step) {
      std::vector<Segment> batch(kMany);
      for (std::size_t slot = 0; slot < kMany; ++slot) {
        batch[slot].slot = static_cast<SlotId>(slot);
        batch[slot].position = static_cast<std::int64_t>(step);
        batch[slot].tokens = std::span(tokens).subspan(step * kMany + slot, 1);
        batch[slot].wanted.sample = &greedy;
      }
      backend->submit(batch);
      for (const SegmentResult& result : backend->wait()) sampled[graphs ? 1 : 0].push_back(result.sampled);
    }
    const int refused = launches.of("product_mma");
    installed.check_refused(refused, kMany, 3 * 2);
    launches.check({{"cublas_lt_multiply", 3 * (2 * 8 + 1) - refused}});  // and the head
    launches.check_graphs(graphs ? 1 : 0, graphs ? 2 : 0);
  }
  CHECK(test::same_bits(sampled[1], sampled[0]));
}

}  // namespace ttt
