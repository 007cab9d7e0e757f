// SPDX-License-Identifier: Apache-2.0
// What becomes of decode steps whose graph cannot be made or launched, or fails, in the block emulator.
#include <emulated_device.h>

#include <catch2/catch.hpp>

#include "tests/cuda/conversation.h"
#include "tests/random_model.h"
#include "tests/runtime_calls.h"
#include "tests/same_bits.h"

namespace ttt {
namespace {

struct ErrorsForgotten {
  ~ErrorsForgotten() { emulator::reset_errors(); }
};

}  // namespace

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
    test::reset_runtime_calls();
    talk.decode(1, test::Sample::kGreedy);
    const int launches = test::runtime_calls().num_launches();  // of one sequence's step
    if (fails && in_capture) emulator::fail_launch(launches + 3);
    if (fails && !in_capture) emulator::fail_allocation(1);
    test::reset_runtime_calls();
    for (int step = 0; step < 3; ++step) talk.decode(2, test::Sample::kGreedy);
    CHECK(cudaGetLastError() == cudaSuccess);
    CHECK(test::runtime_calls().graphs_made == (fails ? 0 : 1));
    CHECK(test::runtime_calls().graph_launches == (fails ? 0 : 2));
    talk.decode(1, test::Sample::kGreedy);  // other shapes keep theirs
    CHECK(test::runtime_calls().graph_launches == (fails ? 1 : 3));
    talk.decode(3, test::Sample::kGreedy);
    CHECK(test::runtime_calls().graphs_made == (fails ? 1 : 2));
    found[fails ? 1 : 0] = talk.whole();
  }
  CHECK(test::same_bits(found[0], found[1]));
}

TEST_CASE("a decode step whose launch is refused fails alone") {
  const ErrorsForgotten afterwards;
  const test::RandomModel model(test::conversation_config(), 5);
  test::Conversation talk(model.model, test::conversation_options(true));
  talk.read_prompts(test::Sample::kGreedy);
  const test::Bytes stranger = talk.state(1);
  test::reset_runtime_calls();
  emulator::fail_launch(4);
  CHECK_THROWS_WITH(talk.decode(1, test::Sample::kGreedy), Catch::Contains("launch of a"));
  CHECK(test::runtime_calls().graph_launches == 0);
  CHECK_THROWS_AS(talk.backend().wait(), std::logic_error);
  CHECK(test::same_bits(talk.state(1), stranger));
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
    test::reset_runtime_calls();
    if (talk == &with) emulator::fail_launch(1);
    for (int step = 0; step < 3; ++step) talk->decode(1, test::Sample::kGreedy);
    CHECK(test::runtime_calls().graph_launches == 0);
    CHECK(cudaGetLastError() == cudaSuccess);
  }
  CHECK(test::same_bits(with.whole(), without.whole()));
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
