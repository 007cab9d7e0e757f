// SPDX-License-Identifier: Apache-2.0
// `ttt loadtest` as a process, against `ttt serve` and against servers that go wrong.
#include "cli/loadtest.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "child.h"
#include "cli/exit_code.h"
#include "cli/load_client.h"

namespace ttt::cli {

using nlohmann::json;
using test::Child;
using test::Outcome;
using test::run_program;

namespace {

class Folder {
 public:
  Folder() { std::filesystem::create_directories(path); }
  ~Folder() { std::filesystem::remove_all(path); }
  const std::string path =
      (std::filesystem::temp_directory_path() / fmt::format("ttt-loadtest-{}", ::getpid())).string();
  std::string socket() const { return path + "/socket"; }
};

// Answers every request with the same bytes and closes.
class CannedServer {
 public:
  CannedServer(const std::string& socket_path, std::string answer) : answer_(std::move(answer)) {
    listener_ = ::socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, socket_path.c_str(), sizeof(address.sun_path) - 1);
    REQUIRE(::bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    REQUIRE(::listen(listener_, 16) == 0);
    thread_ = std::thread([this] { serve(); });
  }
  ~CannedServer() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
  }

 private:
  void serve() const {
    while (true) {
      const int connection = ::accept(listener_, nullptr, nullptr);
      if (connection < 0) return;
      read_request(connection);
      ::send(connection, answer_.data(), answer_.size(), MSG_NOSIGNAL);
      ::close(connection);
    }
  }

  static void read_request(int connection) {
    std::string text;
    char bytes[4096];
    while (true) {
      const std::size_t end = text.find("\r\n\r\n");
      const std::size_t length = text.find("Content-Length: ");
      if (end != std::string::npos) {
        const std::size_t body = length == std::string::npos ? 0 : std::stoul(text.substr(length + 16));
        if (text.size() >= end + 4 + body) return;
      }
      const ssize_t count = ::read(connection, bytes, sizeof bytes);
      if (count <= 0) return;
      text.append(bytes, static_cast<std::size_t>(count));
    }
  }

  const std::string answer_;
  int listener_ = -1;
  std::thread thread_;
};

std::string stream_of(const std::string& events) {
  return "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n" + events;
}

Outcome load(const Folder& folder, std::vector<std::string> more) {
  std::vector<std::string> arguments = {"loadtest", "--uds", folder.socket()};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return run_program(arguments);
}

// The test of a server that sends `answer` to everything.
Outcome load_canned(const std::string& answer) {
  const Folder folder;
  const CannedServer server(folder.socket(), answer);
  return load(folder, {"--model", "m", "--warmup", "0", "-n", "3", "--input-len", "4", "-o", "json"});
}

std::string only_error(const Outcome& outcome) {
  CHECK(outcome.code == kRuntimeError);
  const json report = json::parse(outcome.out);
  CHECK(report.at("completed") == 0);
  CHECK(report.at("failed") == 3);
  REQUIRE(report.at("errors").size() == 1);
  return report.at("errors").begin().key();
}

}  // namespace

TEST_CASE("loadtest measures a server, and its sums are right") {
  const Folder folder;
  Child server({"serve", TTT_MODELS "/demo-linear.gguf", "--uds", folder.socket(), "--parallel", "4"});
  REQUIRE(server.read_errors_until("serving"));

  const Outcome closed = load(folder, {"-n", "12", "-c", "6", "--input-len", "5-9", "--output-len", "8", "-o",
                                       "json", "--percentiles", "50,99.9", "--goodput", "ttft:0"});
  INFO(closed.err);
  REQUIRE(closed.code == kOk);
  const json report = json::parse(closed.out);
  CHECK(report.at("model_id") == "demo-linear");
  CHECK(report.at("completed") == 12);
  CHECK(report.at("failed") == 0);
  CHECK(report.at("total_output_tokens") == 12 * 8);
  CHECK(report.at("total_input_tokens") >= 12 * 5);
  CHECK(report.at("total_input_tokens") <= 12 * 9);
  CHECK(report.at("request_rate") == "inf");
  CHECK(report.at("max_concurrency") == 6);
  CHECK(report.at("request_goodput") == 0.0);  // nothing comes in no time
  CHECK(report.at("p50_ttft_ms") > 0.0);
  CHECK(report.at("p99.9_itl_ms") >= report.at("median_itl_ms"));
  CHECK(report.at("mean_e2el_ms") > report.at("mean_ttft_ms"));
  CHECK(report.at("output_throughput").get<double>() == Approx(12 * 8 / report.at("duration").get<double>()));

  const Outcome open = load(folder, {"--rate", "50", "-n", "10", "--input-len", "4", "--output-len", "2"});
  CHECK(open.code == kOk);
  CHECK(open.out.find("10 requests answered and 0 failed") != std::string::npos);
  CHECK(open.out.find("| to the first token |") != std::string::npos);

  std::ofstream(folder.path + "/prompts.txt") << "Once upon a time\nIt was \"late\"\n";
  const Outcome texts = load(folder, {"--prompts", folder.path + "/prompts.txt", "-n", "4", "-o", "json"});
  CHECK(texts.code == kOk);
  CHECK(json::parse(texts.out).at("completed") == 4);

  const Outcome unknown = load(folder, {"--model", "nobody", "-n", "2"});
  CHECK(unknown.code == kRuntimeError);
  CHECK(unknown.err.find("the first request failed, so nothing is measured: HTTP 404") != std::string::npos);
}

TEST_CASE("loadtest ends at a signal with the report of what was answered") {
  const Folder folder;
  Child server({"serve", TTT_MODELS "/demo-linear.gguf", "--uds", folder.socket(), "--parallel", "2"});
  REQUIRE(server.read_errors_until("serving"));
  Child test({"loadtest", "--uds", folder.socket(), "--duration", "600", "-c", "2", "--input-len", "4",
              "--output-len", "4", "-o", "json"});
  std::this_thread::sleep_for(std::chrono::seconds(2));
  test.signal(SIGINT);
  const Outcome outcome = test.wait();
  CHECK(outcome.code == kInterrupted);
  const json report = json::parse(outcome.out);
  CHECK(report.at("interrupted") == true);
  CHECK(report.at("completed") > 0);
  CHECK(report.at("failed") == 0);
}

TEST_CASE("loadtest tells what a server did wrong") {
  CHECK(only_error(load_canned("HTTP/1.1 429 Too Many Requests\r\nContent-Length: 31\r\n\r\n"
                               R"({"error":{"message":"too busy"}})")) == "HTTP 429: too busy");
  CHECK(only_error(load_canned(stream_of("data: {\"error\":{\"message\":\"broken\"}}\n\n"))) == "broken");
  CHECK(only_error(load_canned(stream_of("data: {\"choices\":[{\"text\":\"a\"}]}\n\n"))) ==
        "the stream ended without [DONE]");
  CHECK(only_error(load_canned(stream_of("data: [DONE]\n\n"))) == "the stream had no token");
  CHECK(only_error(load_canned(stream_of("data: {]\n\n"))) == "an event that is no JSON: {]");
  CHECK(only_error(load_canned("nonsense")) == "Unsupported protocol");  // no status line
  const Outcome good =
      load_canned(stream_of("data: {\"choices\":[{\"text\":\"a\"}]}\n\ndata: "
                            "{\"choices\":[{\"text\":\"b\"}]}\n\ndata: [DONE]\n\n"));
  CHECK(good.code == kOk);
  CHECK(json::parse(good.out).at("total_output_tokens") == 6);  // no usage: chunks are counted
}

TEST_CASE("loadtest says that no server is there") {
  const Folder folder;
  const Outcome outcome = load(folder, {});
  CHECK(outcome.code == kRuntimeError);
  CHECK(outcome.err.find("is the server running there?") != std::string::npos);
}

TEST_CASE("options of loadtest are refused by name") {
  CHECK(api_url("http://h:1") == "http://h:1/v1");
  CHECK(api_url("https://h/v1/") == "https://h/v1");
  CHECK_THROWS_WITH(api_url("h:1"), Catch::Contains("--url") && Catch::Contains("h:1"));
  CHECK(parse_length("--input-len", "2k").max == 2000);
  CHECK(parse_length("--input-len", "3-5").min == 3);
  for (const char* text : {"", "0", "5-3", "1-", "-2", "x"}) {
    CHECK_THROWS_WITH(parse_length("--input-len", text), Catch::Contains("--input-len"));
  }
  CHECK(parse_goodput("ttft:200,e2el:1.5").e2el == 1.5);
  CHECK_FALSE(parse_goodput("").is_set());
  for (const char* text : {"ttft", "ttft:x", "slow:3", "ttft:1,"}) {
    CHECK_THROWS_WITH(parse_goodput(text), Catch::Contains("--goodput"));
  }
}

}  // namespace ttt::cli
