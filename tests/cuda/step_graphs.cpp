// SPDX-License-Identifier: Apache-2.0
// Decode steps as graphs: which steps have one, one launch a step, and what happens where something fails.
// That the results are the same: graph_results.cpp.
#include "cuda/step_graphs.h"

#include <emulated_device.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <utility>
#include <vector>

#include "cuda/device_memory.h"
#include "tests/cuda/conversation.h"
#include "tests/random_model.h"

namespace ttt {
namespace {

struct ErrorsForgotten {
  ~ErrorsForgotten() { emulator::reset_errors(); }
};

}  // namespace

TEST_CASE("from the second step of a shape on there is one launch, of the same kernels, and no allocation") {
  const test::RandomModel model(test::conversation_config(), 2);
  const auto sample = GENERATE(test::Sample::kGreedy, test::Sample::kDrawn);
  emulator::Counters by_pieces;
  for (const bool graphs : {false, true}) {
    test::Conversation talk(model.model, test::conversation_options(graphs));
    talk.read_prompts(sample);
    talk.decode(3, sample);
    for (int step = 0; step < 2; ++step) {
      emulator::reset_counters();
      talk.decode(3, sample);
      const emulator::Counters counted = emulator::counters();
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
    emulator::reset_counters();
    for (SlotId slot = 0; slot < static_cast<SlotId>(samples.size()); ++slot) {
      talk.add_prompt(slot, 1, samples[static_cast<std::size_t>(slot)]);
    }
    talk.step();
    const emulator::Counters counted = emulator::counters();
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
  CHECK(emulator::num_graphs() == 6);
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
  CHECK(emulator::num_graphs() == kMost);
  CHECK(graphs.launch({.num_segments = 0}));
  graphs.make({.num_segments = kMost}, put);
  CHECK(emulator::num_graphs() == kMost);
  CHECK(graphs.launch({.num_segments = 0}));
  CHECK_FALSE(graphs.launch({.num_segments = 1}));
  CHECK(graphs.launch({.num_segments = kMost}));
  numbers[0] = 5;
  stream.synchronise();
  CHECK(numbers[1] == 5);
}

TEST_CASE("a shape whose graph cannot be made is put piece by piece, and not tried again") {
  const ErrorsForgotten afterwards;
  const test::RandomModel model(test::conversation_config(), 4);
  const bool in_capture = GENERATE(false, true);
  INFO((in_capture ? "a launch in the capture" : "the memory"));
  test::Bytes found[2];
  for (const bool fails : {false, true}) {
    test::Conversation talk(model.model, test::conversation_options(true));
    talk.read_prompts(test::Sample::kGreedy);
    talk.decode(1, test::Sample::kGreedy);
    emulator::reset_counters();
    talk.decode(1, test::Sample::kGreedy);
    const int launches = emulator::counters().num_launches();  // of one sequence's step
    if (fails && in_capture) emulator::fail_launch(launches + 3);
    if (fails && !in_capture) emulator::fail_allocation(1);
    emulator::reset_counters();
    for (int step = 0; step < 3; ++step) talk.decode(2, test::Sample::kGreedy);
    CHECK(cudaGetLastError() == cudaSuccess);
    CHECK(emulator::counters().graphs_made == (fails ? 0 : 1));
    CHECK(emulator::counters().graph_launches == (fails ? 0 : 2));
    talk.decode(1, test::Sample::kGreedy);  // other shapes keep theirs
    CHECK(emulator::counters().graph_launches == (fails ? 1 : 3));
    talk.decode(3, test::Sample::kGreedy);
    CHECK(emulator::counters().graphs_made == (fails ? 1 : 2));
    found[fails ? 1 : 0] = talk.whole();
  }
  CHECK((found[0] == found[1]));
}

TEST_CASE("a decode step whose launch is refused fails alone") {
  const ErrorsForgotten afterwards;
  const test::RandomModel model(test::conversation_config(), 5);
  test::Conversation talk(model.model, test::conversation_options(true));
  talk.read_prompts(test::Sample::kGreedy);
  const test::Bytes stranger = talk.state(1);
  emulator::reset_counters();
  emulator::fail_launch(4);
  CHECK_THROWS_WITH(talk.decode(1, test::Sample::kGreedy), Catch::Contains("launch of a"));
  CHECK(emulator::counters().graph_launches == 0);
  CHECK_THROWS_AS(talk.backend().wait(), std::logic_error);
  CHECK((talk.state(1) == stranger));
  talk.add_prompt(0, 1, test::Sample::kGreedy);
  CHECK_NOTHROW(talk.step());
}

TEST_CASE("a step whose graph is refused goes on without it, then and later") {
  const ErrorsForgotten afterwards;
  const test::RandomModel model(test::conversation_config(), 5);
  test::Conversation with(model.model, test::conversation_options(true));
  test::Conversation without(model.model, test::conversation_options(false));
  for (test::Conversation* const talk : {&with, &without}) {
    talk->read_prompts(test::Sample::kGreedy);
    talk->decode(1, test::Sample::kGreedy);
    emulator::reset_counters();
    if (talk == &with) emulator::fail_launch(1);
    for (int step = 0; step < 3; ++step) talk->decode(1, test::Sample::kGreedy);
    CHECK(emulator::counters().graph_launches == 0);
    CHECK(cudaGetLastError() == cudaSuccess);
  }
  CHECK((with.whole() == without.whole()));
}

TEST_CASE("a kernel that fails in a graph loses the device") {
  const ErrorsForgotten afterwards;
  const test::RandomModel model(test::conversation_config(), 6);
  test::Conversation talk(model.model, test::conversation_options(true));
  talk.read_prompts(test::Sample::kGreedy);
  const bool by_graph = GENERATE(false, true);
  if (by_graph) talk.decode(2, test::Sample::kGreedy);
  emulator::fail_kernel(5);
  CHECK_THROWS_AS(talk.decode(2, test::Sample::kGreedy), DeviceLost);
  CHECK_THROWS_AS(talk.backend().reset(0), DeviceLost);
}

}  // namespace ttt
