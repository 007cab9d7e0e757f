// SPDX-License-Identifier: Apache-2.0
// Decode steps as graphs: which steps have one, and one launch a step. That the results are the same:
// graph_results.cpp; what happens where something fails: step_graph_faults.cpp.
#include "cuda/step_graphs.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <utility>
#include <vector>

#include "cuda/device_memory.h"
#include "tests/cuda/conversation.h"
#include "tests/random_model.h"
#include "tests/runtime_calls.h"

namespace ttt {

TEST_CASE("from the second step of a shape on there is one launch, of the same kernels, and no allocation") {
  const test::RandomModel model(test::conversation_config(), 2);
  const auto sample = GENERATE(test::Sample::kGreedy, test::Sample::kDrawn);
  test::RuntimeCalls by_pieces;
  for (const bool graphs : {false, true}) {
    test::Conversation talk(model.model, test::conversation_options(graphs));
    talk.read_prompts(sample);
    talk.decode(3, sample);
    for (int step = 0; step < 2; ++step) {
      test::reset_runtime_calls();
      talk.decode(3, sample);
      const test::RuntimeCalls counted = test::runtime_calls();
      if (!graphs) by_pieces = counted;
      CHECK(counted.launch_calls == (graphs ? 1 : counted.num_launches()));
      CHECK(counted.graph_launches == (graphs ? 1 : 0));
      CHECK(counted.graphs_made == 0);
      CHECK(counted.launches == by_pieces.launches);
      CHECK(counted.copies == by_pieces.copies);
      CHECK(counted.allocations == 0);
      CHECK(counted.host_allocations == 0);
      CHECK(counted.synchronisations == 1);
    }
  }
}

TEST_CASE("a shape is how many segments, outputs and draws of the device there are") {
  const test::RandomModel model(test::conversation_config(), 3);
  test::Conversation talk(model.model, test::conversation_options(true));
  talk.read_prompts(test::Sample::kGreedy);
  const auto graphs_of = [&](std::vector<test::Sample> samples) {
    test::reset_runtime_calls();
    for (SlotId slot = 0; slot < static_cast<SlotId>(samples.size()); ++slot) {
      talk.add_prompt(slot, 1, samples[static_cast<std::size_t>(slot)]);
    }
    talk.step();
    const test::RuntimeCalls counted = test::runtime_calls();
    CHECK(counted.launches.count("draw") ==
          (std::ranges::find(samples, test::Sample::kDrawn) == samples.end() ? 0U : 1U));
    return std::pair(counted.graphs_made, counted.graph_launches);
  };
  const std::pair made(1, 0), launched(0, 1);
  CHECK(graphs_of({test::Sample::kGreedy}) == made);
  CHECK(graphs_of({test::Sample::kNothing}) == made);
  CHECK(graphs_of({test::Sample::kDrawn}) == made);
  CHECK(graphs_of({test::Sample::kGreedy, test::Sample::kGreedy}) == made);
  CHECK(graphs_of({test::Sample::kGreedy, test::Sample::kDrawn}) == made);
  CHECK(graphs_of({test::Sample::kDrawn, test::Sample::kGreedy}) == launched);
  CHECK(graphs_of({test::Sample::kNothing, test::Sample::kGreedy}) == made);
  CHECK(graphs_of({test::Sample::kNothing}) == launched);
  CHECK(graphs_of({test::Sample::kDrawn}) == launched);
  CHECK(graphs_of({test::Sample::kGreedy, test::Sample::kByHost}) == std::pair(0, 0));
  CHECK(test::num_graphs() == 6);
}

TEST_CASE("of too many shapes the one that was used longest ago loses its graph") {
  const cuda::Stream stream;
  cuda::PinnedArray<int> numbers(2);
  numbers[0] = 0;
  cuda::StepGraphs graphs(stream.get());
  const auto put = [&] {
    cuda::check(cudaMemcpyAsync(&numbers[1], &numbers[0], sizeof(int), cudaMemcpyHostToHost, stream.get()),
                "a number");
  };
  constexpr std::size_t kMost = cuda::StepGraphs::kMostShapes;
  for (std::size_t i = 0; i < kMost; ++i) {
    CHECK_FALSE(graphs.launch({.num_segments = i}));
    graphs.make({.num_segments = i}, put);
  }
  CHECK(test::num_graphs() == kMost);
  CHECK(graphs.launch({.num_segments = 0}));
  graphs.make({.num_segments = kMost}, put);
  CHECK(test::num_graphs() == kMost);
  CHECK(graphs.launch({.num_segments = 0}));
  CHECK_FALSE(graphs.launch({.num_segments = 1}));
  stream.synchronise();
  numbers[0] = 5;
  CHECK(graphs.launch({.num_segments = kMost}));
  stream.synchronise();
  CHECK(numbers[1] == 5);
}

}  // namespace ttt
