// SPDX-License-Identifier: Apache-2.0
// Clients of every kind at once, for as long as wanted: each is answered or has left, and nothing stays
// behind.
#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <thread>
#include <vector>

#include "served.h"
#include "tests/sanitized.h"

namespace ttt::server {
namespace {

constexpr int kClients = 4;

std::string completion(std::minstd_rand& random, bool streamed) {
  return fmt::format(R"({{"prompt":"Once","max_tokens":{},"n":{},"stream":{},"ignore_eos":true}})",
                     random() % 20, 1 + random() % 3, streamed);
}

// One client's request. True: it was answered as it should be; a client that leaves has nothing to expect.
bool send_one(std::uint16_t port, std::minstd_rand& random) {
  HttpClient client(port);
  const std::string request = post("/v1/completions", completion(random, random() % 2 == 0));
  switch (random() % 9) {
    case 0:  // leaves within the request
      client.send(request.substr(0, random() % request.size()));
      client.reset();
      return true;
    case 1:  // leaves while it is answered
      client.send(request);
      std::this_thread::sleep_for(std::chrono::milliseconds(random() % 5));
      random() % 2 == 0 ? client.reset() : client.close();
      return true;
    case 2: {  // sends three at once
      client.send(request + request + get("/health"));
      bool all = true;
      for (int i = 0; i < 3; ++i) all = client.read_answer().status == 200 && all;
      return all;
    }
    case 3:  // is wrong
      client.send(post("/v1/completions", "{\"prompt\": 1}"));
      return client.read_answer().status == 400;
    case 4:  // sends too much
      client.send(post("/v1/completions", fmt::format("{{\"prompt\": \"{}\"}}", std::string(80'000, 'x'))));
      return client.read_answer().status == 413;
    case 5:  // is slow to read
      client.send(request);
      std::this_thread::sleep_for(std::chrono::milliseconds(random() % 50));
      return client.read_answer().status == 200;
    case 6:  // sends no more
      client.send(request);
      client.half_close();
      return client.read_answer().status == 200;
    default:
      client.send(request);
      return client.read_answer().status == 200;
  }
}

// The number of requests that were not answered as they should be.
int storm(const Served& served, int requests_of_each, unsigned seed) {
  std::atomic<int> wrong = 0;
  std::vector<std::thread> clients;
  for (unsigned i = 0; i < kClients; ++i) {
    clients.emplace_back([&, i] {
      std::minstd_rand random(seed * kClients + i + 1);
      for (int k = 0; k < requests_of_each; ++k) wrong += send_one(served.port(), random) ? 0 : 1;
    });
  }
  for (std::thread& client : clients) client.join();
  return wrong;
}

void check_nothing_left(const Served& served) {
  CHECK(served.becomes_idle());
  for (int i = 0; i < 500 && (served.api->num_completions() > 0 || served.http->num_connections() > 0); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  CHECK(served.api->num_completions() == 0);
  CHECK(served.http->num_connections() == 0);
}

ServedOptions options() {
  ServedOptions options;
  options.http.max_body_bytes = 64 << 10;
  return options;
}

double resident_kibibytes() {
  std::ifstream file("/proc/self/statm");
  double total = 0.0, resident = 0.0;
  file >> total >> resident;
  return resident * static_cast<double>(::sysconf(_SC_PAGESIZE)) / 1024.0;
}

std::ptrdiff_t open_descriptors() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
}

}  // namespace

TEST_CASE("a storm of clients of every kind is answered, and leaves nothing behind") {
  const Served served(options());
  CHECK(storm(served, test::kSanitized ? 9 : 90, 1) == 0);
  check_nothing_left(served);
}

// Run by hand, see docs/testing.md.
TEST_CASE("memory and descriptors stay where they are over 10,000 requests", "[.soak]") {
  const Served served(options());
  constexpr int kRounds = 10, kRequests = 250;
  double first = 0.0, last = 0.0;
  std::ptrdiff_t descriptors = 0;
  for (int round = 0; round < kRounds; ++round) {
    CHECK(storm(served, kRequests, 2 + static_cast<unsigned>(round)) == 0);
    check_nothing_left(served);
    last = resident_kibibytes();
    if (round == 1) first = last;  // after the heap has found its size
    if (round == 0) descriptors = open_descriptors();
  }
  CHECK(open_descriptors() == descriptors);
  CHECK((last - first) / ((kRounds - 2) * kRequests * kClients) <= 0.5);
  CHECK(last - first <= 8 * 1024.0);
  WARN("10,000 requests; over the last 8,000 memory grew by " << last - first << " KiB");
}

}  // namespace ttt::server
