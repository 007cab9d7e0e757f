// SPDX-License-Identifier: Apache-2.0
// Raw bytes against the HTTP layer: what breaks servers of this kind.
#include "server/http_server.h"

#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "http_client.h"

namespace ttt::server {
namespace {

// Answers with what it got, on "/throw" with an exception, on "/refuse" from the head.
class Echo : public HttpHandler {
 public:
  std::optional<HttpResponse> answer_head(const HttpRequest& head) override {
    if (head.path == "/refuse") return HttpResponse{.status = 401, .headers = {}, .body = "no"};
    return std::nullopt;
  }
  void handle(HttpRequest request, std::shared_ptr<HttpExchange> exchange) override {
    if (request.path == "/throw") throw std::runtime_error("a secret of the server");
    if (request.path == "/stream") {
      exchange->begin({}, ": ping\n\n", std::chrono::milliseconds(50));
      for (int i = 0; i < 3; ++i) exchange->write(fmt::format("part {}\n", i));
      if (request.query == "pause") std::this_thread::sleep_for(std::chrono::milliseconds(220));
      return exchange->finish();
    }
    exchange->respond({.status = 200,
                       .headers = {},
                       .body = fmt::format("{} {} {}", request.method, request.path, request.body.size())});
  }
  HttpResponse refuse(const HttpRequest&, unsigned status, std::string_view code,
                      std::string_view message) override {
    return {.status = status, .headers = {}, .body = fmt::format("{}: {}", code, message)};
  }
  void answered(const HttpRequest& /*request*/, unsigned /*status*/,
                std::chrono::nanoseconds /*took*/) override {
    ++num_answered;
  }
  std::atomic<int> num_answered = 0;
};

HttpServerOptions quick() {
  HttpServerOptions options;
  options.port = 0;
  options.max_body_bytes = 64 << 10;
  options.header_timeout = std::chrono::milliseconds(300);
  options.body_timeout = std::chrono::milliseconds(300);
  options.idle_timeout = std::chrono::milliseconds(600);
  return options;
}

}  // namespace

TEST_CASE("a sound request is answered, and the connection serves the next one") {
  Echo echo;
  const HttpServer server(echo, quick());
  HttpClient client(server.port());
  for (int i = 0; i < 3; ++i) {
    client.send(post("/echo", "hello"));
    const Answer answer = client.read_answer();
    CHECK(answer.status == 200);
    CHECK(answer.body == "POST /echo 5");
  }
  client.send("HEAD /echo HTTP/1.1\r\nHost: a\r\n\r\n");
  CHECK(client.read_until("\r\n\r\n").find("Content-Length: 12") != std::string::npos);
  client.send("GET /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  CHECK(client.read_answer().headers.at("connection") == "close");
  CHECK(client.at_end());
}

TEST_CASE("a body may come in chunks, however small, with any extension and trailer") {
  Echo echo;
  HttpServerOptions options = quick();
  options.body_timeout = std::chrono::minutes(1);  // a sanitizer on a busy machine takes a second for them
  const HttpServer server(echo, options);
  HttpClient client(server.port());
  std::string request = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 5000; ++i) request += "1;a=b\r\nx\r\n";
  client.send(request + "0\r\nTrailer: 1\r\n\r\n");
  CHECK(client.read_answer().body == "POST /echo 5000");
}

TEST_CASE("what is no sound request is refused, and the connection closed") {
  Echo echo;
  const HttpServer server(echo, quick());
  struct Case {
    const char* name;
    std::string bytes;
    unsigned status;
  };
  const std::string head = "POST /echo HTTP/1.1\r\nHost: a\r\n";
  const std::vector<Case> cases = {
      {"no HTTP", "hello\r\n\r\n", 400},
      {"HTTP/0.9", "GET /\r\n\r\n", 400},
      {"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400},
      {"no host", "GET / HTTP/1.1\r\n\r\n", 400},
      {"two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
      {"a target that is no path", "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
      {"length and chunked", head + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc", 400},
      {"two lengths", head + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400},
      {"a length that is no number", head + "Content-Length: abc\r\n\r\n", 400},
      {"a negative length", head + "Content-Length: -5\r\n\r\n", 400},
      {"a length beyond 64 bits", head + "Content-Length: 99999999999999999999999\r\n\r\n", 400},
      {"space before the colon", head + "X : 1\r\n\r\n", 400},
      {"NUL in a value", head + std::string("X: a\0b\r\n\r\n", 10), 400},
      {"bare LF", "GET / HTTP/1.1\nHost: a\n\n", 400},
      {"a transfer coding that is not chunked", head + "Transfer-Encoding: gzip\r\n\r\n", 400},
      {"a negative chunk", head + "Transfer-Encoding: chunked\r\n\r\n-2\r\nab\r\n0\r\n\r\n", 400},
      {"a chunk size beyond 64 bits", head + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nab",
       400},
      {"a body that is too large", head + "Content-Length: 1000000000\r\n\r\n", 413},
      {"chunks that are too large",
       head + "Transfer-Encoding: chunked\r\n\r\n20000\r\n" + std::string(0x20000, 'x'), 413},
      {"a compressed body", head + "Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc", 415},
      {"a long field", head + "X: " + std::string(9000, 'x') + "\r\n\r\n", 431},
      {"a long target", "GET /" + std::string(9000, 'x') + " HTTP/1.1\r\nHost: a\r\n\r\n", 431},
      {"many fields",
       [&] {
         std::string fields = head;
         for (int i = 0; i < 200; ++i) fields += fmt::format("X{}: 1\r\n", i);
         return fields + "\r\n";
       }(),
       431},
  };
  for (const Case& each : cases) {
    INFO(each.name);
    HttpClient client(server.port());
    client.send(each.bytes);
    const Answer answer = client.read_answer();
    CHECK(answer.status == each.status);
    if (answer.status != 0) CHECK(answer.headers.at("connection") == "close");
    CHECK(client.at_end());
  }
  CHECK(HttpClient(server.port()).at_end());  // it still lives, and closes what is silent
}

TEST_CASE("slow clients are let go of, others are served meanwhile") {
  Echo echo;
  const HttpServer server(echo, quick());
  std::vector<std::unique_ptr<HttpClient>> slow;
  for (int i = 0; i < 50; ++i) {
    slow.push_back(std::make_unique<HttpClient>(server.port()));
    slow.back()->send(i % 2 == 0 ? "POST /echo HTTP/1.1\r\nHos"
                                 : "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc");
  }
  HttpClient quick_one(server.port());
  quick_one.send(post("/echo", "x"));
  CHECK(quick_one.read_answer().status == 200);
  for (const auto& client : slow) {
    CHECK(client->read_answer().status == 408);
    CHECK(client->at_end());
  }
}

TEST_CASE("an idle connection is closed without a word") {
  Echo echo;
  const HttpServer server(echo, quick());
  HttpClient client(server.port());
  client.send(post("/echo", "x"));
  CHECK(client.read_answer().status == 200);
  CHECK(client.read_answer().status == 0);
}

TEST_CASE("a refusal comes before the body, which is not asked for") {
  Echo echo;
  const HttpServer server(echo, quick());
  HttpClient client(server.port());
  client.send("POST /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
  const std::string head = client.read_until("\r\n\r\n");
  CHECK(head.starts_with("HTTP/1.1 401"));
  CHECK(client.at_end());

  HttpClient accepted(server.port());
  accepted.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
  CHECK(accepted.read_until("\r\n\r\n") == "HTTP/1.1 100 Continue\r\n\r\n");
  accepted.send("hello");
  CHECK(accepted.read_answer().body == "POST /echo 5");
}

TEST_CASE("a client that sends on after a refusal can still read it") {
  Echo echo;
  const HttpServer server(echo, quick());
  HttpClient client(server.port());
  client.send("POST /refuse HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n");
  client.send(std::string(60000, 'x'));
  CHECK(client.read_answer().status == 401);
}

TEST_CASE("what a handler throws is a 500 that tells nothing") {
  Echo echo;
  const HttpServer server(echo, quick());
  HttpClient client(server.port());
  client.send(get("/throw"));
  const Answer answer = client.read_answer();
  CHECK(answer.status == 500);
  CHECK(answer.body.find("secret") == std::string::npos);
}

TEST_CASE("a stream is chunked for HTTP/1.1 and ends with the connection for HTTP/1.0") {
  Echo echo;
  const HttpServer server(echo, quick());
  HttpClient client(server.port());
  client.send(get("/stream"));
  CHECK(client.read_answer().body == "part 0\npart 1\npart 2\n");
  client.send(get("/stream"));  // the connection is still good
  CHECK(client.read_answer().status == 200);
  HttpClient old(server.port());
  old.send("GET /stream HTTP/1.0\r\n\r\n");
  const Answer answer = old.read_answer();
  CHECK(!answer.headers.contains("transfer-encoding"));
  CHECK(answer.body == "part 0\npart 1\npart 2\n");
}

TEST_CASE("a silent stream is filled with comments") {
  Echo echo;
  const HttpServer server(echo, quick());
  HttpClient client(server.port());
  client.send(get("/stream?pause"));
  const std::string body = client.read_answer().body;
  CHECK(body.find(": ping\n\n: ping\n\n") != std::string::npos);
}

TEST_CASE("bodies that are read at once are limited over all connections") {
  Echo echo;
  HttpServerOptions options = quick();
  options.max_inflight_bytes = 100'000;
  options.body_timeout = std::chrono::seconds(60);
  options.uncounted_bytes = 0;
  const HttpServer server(echo, options);
  HttpClient first(server.port()), second(server.port());
  const std::string head = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 65000\r\n\r\n";
  first.send(head + std::string(64'000, 'x'));
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  second.send(head + std::string(64'000, 'x'));
  CHECK(second.read_answer().status == 429);
  first.send(std::string(1000, 'x'));
  CHECK(first.read_answer().status == 200);
  // Its bytes are given back a moment after its answer is there.
  unsigned status = 0;
  for (int i = 0; i < 100 && status != 200; ++i) {
    HttpClient third(server.port());
    third.send(head + std::string(65'000, 'x'));
    status = third.read_answer().status;
  }
  CHECK(status == 200);
}

TEST_CASE("small bodies are read however many bytes large ones hold") {
  Echo echo;
  HttpServerOptions options = quick();
  options.max_inflight_bytes = 64'000;
  options.body_timeout = std::chrono::seconds(60);
  const HttpServer server(echo, options);
  const std::string head = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 65000\r\n\r\n";
  HttpClient first(server.port()), second(server.port()), small(server.port());
  first.send(head + std::string(64'000, 'x'));
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  second.send(head + std::string(64'000, 'x'));
  CHECK(second.read_answer().status == 429);
  small.send(post("/echo", std::string(options.uncounted_bytes, 'x')));
  CHECK(small.read_answer().status == 200);
}

TEST_CASE("a body that trickles is let go of, one that comes at the least rate is read") {
  Echo echo;
  HttpServerOptions options = quick();
  options.body_timeout = std::chrono::milliseconds(1'000);
  options.min_body_rate = 10'000;
  const HttpServer server(echo, options);
  constexpr int kParts = 30;
  const auto status_of = [&](std::size_t part_bytes) {
    HttpClient client(server.port());
    client.send(
        fmt::format("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", kParts * part_bytes));
    for (int i = 0; i < kParts; ++i) {
      client.send(std::string(part_bytes, 'x'));
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    return client.read_answer().status;
  };
  CHECK(status_of(1) == 408);
  CHECK(status_of(2'000) == 200);
}

TEST_CASE("a host that is no address and no name is told as such") {
  CHECK_NOTHROW(check_host("localhost"));
  CHECK_NOTHROW(check_host("::1"));
  CHECK_THROWS_WITH(check_host("no such host"), Catch::Contains("no such host"));
}

TEST_CASE("a Unix socket serves, and is gone afterwards") {
  const std::string path =
      (std::filesystem::temp_directory_path() / fmt::format("ttt-test-{}.sock", ::getpid())).string();
  Echo echo;
  HttpServerOptions options = quick();
  options.socket_path = path;
  {
    const HttpServer server(echo, options);
    CHECK(server.address() == "unix:" + path);
    HttpClient client(path);
    client.send(post("/echo", "abc"));
    CHECK(client.read_answer().body == "POST /echo 3");
  }
  CHECK(!std::filesystem::exists(path));
}

TEST_CASE("an address that is taken is a system_error that names it") {
  Echo echo;
  const HttpServer server(echo, quick());
  HttpServerOptions options = quick();
  options.port = server.port();
  CHECK_THROWS_WITH(HttpServer(echo, options), Catch::Contains(std::to_string(server.port())));
}

TEST_CASE("a name is served at every address that it has here") {
  Echo echo;
  HttpServerOptions options = quick();
  options.host = "localhost";
  const HttpServer server(echo, options);
  CHECK(server.address() == fmt::format("http://localhost:{}", server.port()));
  addrinfo wanted{};
  wanted.ai_flags = AI_NUMERICSERV;
  wanted.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  REQUIRE(::getaddrinfo("localhost", std::to_string(server.port()).c_str(), &wanted, &found) == 0);
  std::size_t num_served = 0;
  for (const addrinfo* entry = found; entry != nullptr; entry = entry->ai_next) {
    const int probe = ::socket(entry->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_storage any{};
    std::memcpy(&any, entry->ai_addr, entry->ai_addrlen);
    auto& port = entry->ai_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(any).sin6_port
                                              : reinterpret_cast<sockaddr_in&>(any).sin_port;
    port = 0;
    const bool is_here = ::bind(probe, reinterpret_cast<sockaddr*>(&any), entry->ai_addrlen) == 0;
    ::close(probe);
    if (!is_here) continue;  // an address of the name that this machine does not have
    const int client = ::socket(entry->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CAPTURE(entry->ai_family);
    CHECK(::connect(client, entry->ai_addr, entry->ai_addrlen) == 0);
    ::close(client);
    ++num_served;
  }
  ::freeaddrinfo(found);
  CHECK(num_served > 0);
}

TEST_CASE("draining closes idle connections, accepts none, and finishes what runs") {
  Echo echo;
  HttpServer server(echo, quick());
  HttpClient idle(server.port()), busy(server.port());
  idle.send(post("/echo", "x"));
  CHECK(idle.read_answer().status == 200);
  busy.send(get("/stream?pause"));
  busy.read_until("part 2");
  server.drain();
  CHECK(idle.at_end());
  busy.read_until("0\r\n\r\n");
  CHECK(busy.at_end());
  for (int i = 0; i < 100 && server.num_connections() > 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  CHECK(server.num_connections() == 0);
}

TEST_CASE("thousands of connections leave nothing behind") {
  Echo echo;
  const HttpServer server(echo, quick());
  const auto descriptors = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"),
                         std::filesystem::directory_iterator());
  };
  const auto before = descriptors();
  for (int i = 0; i < 2000; ++i) {
    HttpClient client(server.port());
    client.send(i % 3 == 0 ? get("/stream") : post("/echo", "x"));
    if (i % 4 == 1) client.reset();
    if (i % 4 == 2) client.read_answer();
  }
  for (int i = 0; i < 300 && (descriptors() != before || server.num_connections() > 0); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  CHECK(server.num_connections() == 0);
  CHECK(descriptors() == before);
}

}  // namespace ttt::server
