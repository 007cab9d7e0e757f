// SPDX-License-Identifier: Apache-2.0
// The engine's thread and the streams, under many threads at once. Run under ThreadSanitizer too.
#include "engine/engine.h"

#include <array>
#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

#include "engine/request_error.h"
#include "tests/engine/simulated_backend.h"
#include "tests/random.h"

using namespace ttt;
using namespace std::chrono_literals;
using test::SimulatedBackend;

namespace {

GenerationRequest request_of(std::size_t prompt_size, std::int64_t max_tokens, std::uint64_t seed = 1) {
  GenerationRequest request;
  request.prompt.assign(prompt_size, 7);
  request.max_tokens = max_tokens;
  request.sampling.seed = seed;
  return request;
}

auto soon() { return std::chrono::steady_clock::now() + 60s; }

// Every token until the end; empty reason: the stream did not end in time.
struct Read {
  std::vector<TokenId> tokens;
  std::optional<FinishReason> reason;
};
Read read_all(TokenStream& stream) {
  Read read;
  while (!stream.exhausted()) {
    const auto event = stream.pop_until(soon());
    if (!event) return read;
    for (const TokenInfo& token : event->tokens) read.tokens.push_back(token.id);
    if (event->finish) read.reason = event->finish->reason;
  }
  return read;
}

}  // namespace

TEST_CASE("what is submitted comes out of its stream") {
  SimulatedBackend backend(4, 64);
  Engine engine(backend, SimulatedBackend::config(), nullptr);
  const auto first = engine.submit(request_of(100, 20, 1));
  const auto second = engine.submit(request_of(3, 5, 2));
  const Read read = read_all(*first);
  CHECK(read.reason == FinishReason::kLength);
  CHECK(read.tokens.size() == 20);
  CHECK(read_all(*second).tokens.size() == 5);
  CHECK(first->prompt_tokens_read() == 100);
}

TEST_CASE("an engine that is destroyed cancels what runs and what waits") {
  std::vector<std::shared_ptr<TokenStream>> streams;
  {
    SimulatedBackend backend(2, 64);
    Engine engine(backend, SimulatedBackend::config(), nullptr);
    for (std::uint64_t i = 0; i < 10; ++i) streams.push_back(engine.submit(request_of(3, -1, i)));
    while (!streams[0]->try_pop()) std::this_thread::yield();
  }
  for (const auto& stream : streams) CHECK(read_all(*stream).reason == FinishReason::kCancelled);
}

TEST_CASE("an engine that lost its device says why, and takes nothing more") {
  SimulatedBackend backend(2, 64);
  backend.on_step = [](std::span<const Segment>) { throw DeviceLost("it burns"); };
  Engine engine(backend, SimulatedBackend::config(), nullptr);
  CHECK(engine.device_fault().empty());
  CHECK(read_all(*engine.submit(request_of(3, 5))).reason == FinishReason::kFailed);
  CHECK(engine.device_fault() == "it burns");  // as soon as a reader knows
  CHECK_THROWS_WITH(engine.submit(request_of(3, 5)), "it burns");
  CHECK_THROWS_AS(engine.submit(request_of(3, 5)), DeviceLost);
  while (engine.load().running != 0) std::this_thread::yield();  // it ends soon after its reader knows
}

TEST_CASE("a full queue takes nothing and says so") {
  SimulatedBackend backend(1, 64);
  std::atomic<bool> go = false;
  std::atomic<bool> held = true;
  backend.on_step = [&](std::span<const Segment>) {
    if (!held.exchange(false)) return;
    while (!go) std::this_thread::yield();
  };
  Engine engine(backend, SimulatedBackend::config(), nullptr, {.max_waiting = 2, .max_waiting_tokens = 100});
  const auto running = engine.submit(request_of(3, 1));
  while (engine.load().running == 0 && held) std::this_thread::yield();
  while (held) std::this_thread::yield();  // it is in its step now
  CHECK_THROWS_AS(engine.submit(request_of(101, 1)), RequestError);
  const auto first = engine.submit(request_of(50, 1));
  CHECK(engine.submit(request_of(51, 1)) == nullptr);
  const auto second = engine.submit(request_of(50, 1));
  REQUIRE(first);
  REQUIRE(second);
  CHECK(engine.load().waiting == 2);
  CHECK(engine.submit(request_of(1, 1)) == nullptr);
  go = true;
  for (const auto& stream : {running, first, second}) {
    CHECK(read_all(*stream).reason == FinishReason::kLength);
  }
  CHECK(engine.submit(request_of(100, 1)) != nullptr);
}

TEST_CASE("several requests are taken together or not at all") {
  SimulatedBackend backend(1, 8);
  std::atomic<bool> go = false, held = true;
  backend.on_step = [&](std::span<const Segment>) {
    if (!held.exchange(false)) return;
    while (!go) std::this_thread::yield();
  };
  Engine engine(backend, SimulatedBackend::config(), nullptr, {.max_waiting = 4, .max_waiting_tokens = 100});
  const auto running = engine.submit(request_of(1, 1));
  while (held) std::this_thread::yield();  // it is in its step now
  CHECK(engine.submit(std::vector(3, request_of(1, 1))).size() == 3);
  CHECK(engine.submit(std::vector(2, request_of(1, 1))).empty());
  CHECK(engine.load().waiting == 3);
  CHECK(engine.submit(std::vector(1, request_of(1, 1))).size() == 1);
  CHECK_THROWS_AS(engine.submit(std::vector(5, request_of(1, 1))), RequestError);
  CHECK_THROWS_AS(engine.submit(std::vector(2, request_of(51, 1))), RequestError);
  go = true;
}

TEST_CASE("a stream wakes its reader after every event and never after the callback was taken away") {
  SimulatedBackend backend(2, 64);
  Engine engine(backend, SimulatedBackend::config(), nullptr);
  for (int trial = 0; trial < 20; ++trial) {
    const auto stream = engine.submit(request_of(3, 50));
    std::size_t popped = 0;
    {
      std::atomic<int> woken = 0;
      std::atomic<bool> alive = true;
      stream->set_wake([&] {
        if (!alive) throw std::logic_error("called after it was taken away");
        ++woken;
      });
      while (popped < 10) {
        while (woken.exchange(0) == 0) std::this_thread::yield();
        while (popped < 10 && stream->try_pop()) ++popped;
      }
      stream->set_wake(nullptr);
      alive = false;
    }
    CHECK(read_all(*stream).reason == FinishReason::kLength);
  }
}

TEST_CASE("waiting for an event that does not come ends at the deadline") {
  TokenStream stream(request_of(1, 1));
  const auto begin = std::chrono::steady_clock::now();
  CHECK_FALSE(stream.pop_until(begin + 30ms));
  CHECK(std::chrono::steady_clock::now() - begin >= 30ms);
}

TEST_CASE("a storm of submissions and cancellations loses nothing and mixes nothing up") {
  constexpr std::size_t kThreads = 4;
  constexpr int kRequests = 150;
  std::atomic<int> wrong = 0;
  std::atomic<int> cancelled = 0;
  std::atomic<int> completed = 0;
  SimulatedBackend backend(6, 40);
  // What each prompt and seed gives, alone.
  const auto expected = [](const GenerationRequest& request) {
    SimulatedBackend own(1, 64);
    Engine engine(own, SimulatedBackend::config(), nullptr);
    return read_all(*engine.submit(request)).tokens;
  };
  std::array<GenerationRequest, 8> requests;
  std::array<std::vector<TokenId>, 8> answers;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    requests[i] = request_of(1 + 17 * i, static_cast<std::int64_t>(40 - 4 * i), i);
    answers[i] = expected(requests[i]);
  }
  {
    Engine engine(backend, SimulatedBackend::config(), nullptr, {.max_waiting = 16});
    std::vector<std::thread> clients;
    for (std::size_t thread = 0; thread < kThreads; ++thread) {
      clients.emplace_back([&, thread] {
        test::Random random(thread + 1);
        for (int i = 0; i < kRequests; ++i) {
          const std::size_t which = random.below(requests.size());
          const auto stream = engine.submit(requests[which]);
          if (!stream) {  // queue full
            std::this_thread::yield();
            continue;
          }
          const std::size_t cancel_after = random.below(3) == 0 ? random.below(20) : 1'000;
          std::vector<TokenId> tokens;
          std::optional<FinishReason> reason;
          while (!stream->exhausted()) {
            const auto event = random.below(2) == 0 ? stream->try_pop() : stream->pop_until(soon());
            if (!event) continue;
            for (const TokenInfo& token : event->tokens) tokens.push_back(token.id);
            if (event->finish) reason = event->finish->reason;
            if (tokens.size() >= cancel_after) stream->cancel();
          }
          const std::vector<TokenId>& answer = answers[which];
          const bool is_prefix =
              tokens.size() <= answer.size() && std::equal(tokens.begin(), tokens.end(), answer.begin());
          if (reason == FinishReason::kCancelled) {
            ++cancelled;
            if (!is_prefix) ++wrong;
          } else {
            ++completed;
            if (tokens != answer || reason != FinishReason::kLength) ++wrong;
          }
        }
      });
    }
    for (std::thread& client : clients) client.join();
  }
  CHECK(wrong == 0);
  CHECK(cancelled > 10);
  CHECK(completed > 50);
}

TEST_CASE("a stream that is broken off ends for its reader") {
  TokenStream stream(request_of(1, 1));
  TokenEvent event;
  event.text = "a";
  stream.push(event);
  stream.break_off();
  CHECK(stream.cancelled());
  CHECK_FALSE(stream.exhausted());
  CHECK(stream.pop_until(soon()));
  CHECK(stream.exhausted());
}
