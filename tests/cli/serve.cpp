// SPDX-License-Identifier: Apache-2.0
// `ttt serve` as a process: start, exposure, shut-down. What it answers is tested in tests/server.
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "child.h"
#include "http_client.h"

namespace ttt::cli {

using server::Answer;
using server::get;
using server::HttpClient;
using server::post;
using test::Child;
using test::run_program;

namespace {

const std::string kModel = TTT_MODELS "/demo-linear.gguf";

class Folder {
 public:
  Folder() { std::filesystem::create_directories(path); }
  ~Folder() { std::filesystem::remove_all(path); }
  const std::string path =
      (std::filesystem::temp_directory_path() / fmt::format("ttt-serve-{}", ::getpid())).string();
  std::string socket() const { return path + "/socket"; }
};

std::vector<std::string> serve(const Folder& folder, const std::vector<std::string>& more = {}) {
  std::vector<std::string> arguments = {"serve", kModel, "--uds", folder.socket(), "--parallel", "4"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

std::string endless(bool stream) {
  return post(
      "/v1/completions",
      fmt::format(R"({{"prompt":"Once","max_tokens":10000000,"ignore_eos":true,"stream":{}}})", stream));
}

// SIGTERM comes at another moment in each round.
void check_endings(int rounds) {
  const Folder folder;
  for (int round = 0; round < rounds; ++round) {
    Child child(serve(folder, {"--shutdown-timeout", "0.1"}));
    REQUIRE(child.read_errors_until("serving"));
    std::vector<std::unique_ptr<HttpClient>> clients;
    for (int i = 0; i < 8; ++i) {  // four run, four wait
      clients.push_back(std::make_unique<HttpClient>(folder.socket()));
      clients.back()->send(endless(i % 2 == 0));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(17 * round % 500));
    child.signal(SIGTERM);
    for (const auto& client : clients) {
      const Answer answer = client->read_answer();
      const bool never_taken = answer.status == 0 || answer.status == 503;
      const bool told = answer.body.find("\"error\"") != std::string::npos;
      CHECK((never_taken || told));
    }
    CHECK(child.wait().code == 0);
  }
}

}  // namespace

TEST_CASE("serve answers, and ends with 0 on SIGTERM when nothing runs") {
  const Folder folder;
  Child child(serve(folder));
  REQUIRE(child.read_errors_until("serving demo-linear at unix:"));
  HttpClient client(folder.socket());
  client.send(post("/v1/completions", R"({"prompt":"It was late","max_tokens":4})"));
  CHECK(client.read_answer().status == 200);
  child.signal(SIGTERM);
  const test::Outcome outcome = child.wait();
  CHECK(outcome.code == 0);
  CHECK(outcome.out.empty());
  CHECK(outcome.err.find("200 POST /v1/completions") != std::string::npos);
  CHECK(outcome.err.find("It was late") == std::string::npos);
  CHECK_FALSE(std::filesystem::exists(folder.socket()));
}

TEST_CASE("serve lets a running request finish after SIGTERM and takes no new one") {
  const Folder folder;
  Child child(serve(folder, {"--shutdown-timeout", "600"}));
  REQUIRE(child.read_errors_until("serving"));
  HttpClient running(folder.socket()), next(folder.socket());
  running.send(
      post("/v1/completions", R"({"prompt":"Once","max_tokens":300,"ignore_eos":true,"stream":true})"));
  running.read_until("data: ");
  next.send(get("/health"));
  CHECK(next.read_answer().status == 200);
  child.signal(SIGTERM);
  CHECK(next.at_end());
  CHECK(running.read_until("data: [DONE]\n\n").find("\"error\"") == std::string::npos);
  CHECK(child.wait().code == 0);
}

TEST_CASE("serve gives every client an ending, whenever SIGTERM comes") { check_endings(6); }

// Run by hand, see docs/testing.md.
TEST_CASE("serve gives every client an ending, whenever one of a hundred SIGTERM comes", "[.soak]") {
  check_endings(100);
}

TEST_CASE("a second signal ends serve at once") {
  const Folder folder;
  Child child(serve(folder));
  REQUIRE(child.read_errors_until("serving"));
  HttpClient client(folder.socket());
  client.send(endless(true));
  client.read_until("data: ");
  child.signal(SIGTERM);
  REQUIRE(child.read_errors_until("a second signal ends at once"));
  child.signal(SIGTERM);
  CHECK(child.ends_within(1000));
}

TEST_CASE("serve is not reached from other machines without a key, unless that is meant") {
  const test::Outcome open = run_program({"serve", kModel, "--host", "0.0.0.0", "--port", "0"});
  CHECK(open.code == 2);
  CHECK(open.err.find("--api-key-file") != std::string::npos);
  Child meant({"serve", kModel, "--host", "0.0.0.0", "--port", "0", "--allow-unauthenticated"});
  CHECK(meant.read_errors_until("serving"));
}

TEST_CASE("serve reads keys from a file, and refuses one without") {
  const Folder folder;
  const std::string keys = folder.path + "/keys";
  std::ofstream(keys) << "\n# none\n";
  CHECK(run_program(serve(folder, {"--api-key-file", keys})).code == 2);
  std::ofstream(keys) << "#comment\nfirst \r\nsecond\n";
  Child child(serve(folder, {"--api-key-file", keys}));
  REQUIRE(child.read_errors_until("serving"));
  HttpClient client(folder.socket());
  client.send(get("/v1/models", "Authorization: Bearer first\r\n"));
  CHECK(client.read_answer().status == 200);
  for (const char* wrong : {"third", "#comment"}) {
    client.send(get("/v1/models", fmt::format("Authorization: Bearer {}\r\n", wrong)));
    CHECK(client.read_answer().status == 401);
  }
}

TEST_CASE("serve refuses addresses and origins that cannot be, and says which option is meant") {
  const auto check_refused = [](const std::vector<std::string>& more, const std::string& sentence) {
    std::vector<std::string> arguments = {"serve", kModel, "--port", "0"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const test::Outcome refused = run_program(arguments);
    INFO(refused.err);
    CHECK(refused.code == 2);
    CHECK(refused.err.find(sentence) != std::string::npos);
  };
  check_refused({"--uds", std::string(120, 'x')}, "--uds: wanted a path of at most 107 bytes");
  check_refused({"--uds", ""}, "--uds: wanted a path");
  check_refused({"--host", "no such host"}, "--host: cannot find the address no such host");
  for (const char* origin : {"foo", "https://", "https://example.org/", "https://Example.org",
                             "https://a.example,https://b.example"}) {
    check_refused({"--cors-origins", origin}, "--cors-origins: wanted");
  }
}

TEST_CASE("serve takes origins of every kind, and says that a socket has no port") {
  const Folder folder;
  Child child(serve(folder, {"--port", "9", "--cors-origins", "http://localhost:3000", "--cors-origins",
                             "null", "--cors-origins", "http://[::1]:8080", "--cors-origins", "*"}));
  REQUIRE(child.read_errors_until("serving"));
  child.signal(SIGTERM);
  CHECK(child.wait().err.find("--port have no effect") != std::string::npos);
}

TEST_CASE("serve chats with the template that it is told, by name or from a file that is known") {
  const Folder folder;
  const std::string file = folder.path + "/template";
  const std::string chat =
      post("/v1/chat/completions", R"({"messages":[{"role":"user","content":"Hi"}],"max_tokens":2})");
  const auto status_with = [&](const std::vector<std::string>& more) {
    Child child(serve(folder, more));
    REQUIRE(child.read_errors_until("serving"));
    HttpClient client(folder.socket());
    client.send(chat);
    const unsigned status = client.read_answer().status;
    child.signal(SIGTERM);
    CHECK(child.wait().code == 0);
    return status;
  };
  CHECK(status_with({}) == 400);  // the model has none of its own
  CHECK(status_with({"--chat-template", "plain"}) == 200);
  std::ofstream(file) << "chatml\n";
  CHECK(status_with({"--chat-template", file}) == 200);
  std::ofstream(file) << "{{ messages }}\n";
  for (const std::string& unknown : {file, std::string("nonsense")}) {
    const test::Outcome refused = run_program(serve(folder, {"--chat-template", unknown}));
    CHECK(refused.code == 2);
    CHECK(refused.err.find("llama2") != std::string::npos);
  }
}

TEST_CASE("serve goes on from states that run saved, and tells what it has") {
  const Folder folder;
  const std::string file = folder.path + "/a=b.tttstate";
  const test::Outcome saved =
      run_program({"run", kModel, "--tokens", "1,2,3,4,5", "-n", "0", "--state-out", file});
  REQUIRE(saved.code == 0);
  Child child(serve(folder, {"--preload-state", "story=" + file, "--preload-state", "A.b_c-9=" + file}));
  REQUIRE(child.read_errors_until("serving"));
  const auto answer = [&](const std::string& request) {
    HttpClient client(folder.socket());
    client.send(request);
    return client.read_answer().body;
  };
  const std::string list = answer(get("/v1/states"));
  CHECK(list.find(R"("id":"A.b_c-9","object":"state","tokens":5,"tokens_read":4)") != std::string::npos);
  const auto text = [&](const std::string& from) {
    const std::string body = answer(post("/v1/completions", fmt::format(R"({{{},"seed":1}})", from)));
    const std::size_t begin = body.find(R"("text":)");
    REQUIRE(begin != std::string::npos);
    return body.substr(begin, body.find(R"("logprobs")") - begin);
  };
  CHECK(text(R"("state":"story")") == text(R"("prompt":[1,2,3,4,5])"));
  child.signal(SIGTERM);
  const test::Outcome outcome = child.wait();
  CHECK(outcome.code == 0);
  CHECK(outcome.err.find("state story: 4 of 5 tokens read, ") != std::string::npos);
  CHECK(outcome.err.find("goes on by") == std::string::npos);
}

TEST_CASE("serve says that a state was computed by other kernels") {
  const Folder folder;
  const std::string file = folder.path + "/other.tttstate";
  const test::Outcome saved =
      run_program({"run", kModel, "--tokens", "1,2,3", "-n", "0", "--state-out", file, "--device", "cuda"},
                  {.failing_kernel = 0});
  REQUIRE(saved.code == 0);
  Child child(serve(folder, {"--preload-state", "other=" + file}));
  REQUIRE(child.read_errors_until("serving"));
  child.signal(SIGTERM);
  CHECK(child.wait().err.find(file + ": computed by sm_90") != std::string::npos);
}

TEST_CASE("serve refuses states that it cannot have, and says why") {
  const Folder folder;
  const std::string file = folder.path + "/sequence.tttstate", other = folder.path + "/other.tttstate",
                    damaged = folder.path + "/damaged.tttstate", none = folder.path + "/none";
  const auto save = [](const std::string& model, const std::string& to) {
    REQUIRE(run_program({"run", model, "--tokens", "1,2,3", "-n", "0", "--state-out", to}).code == 0);
  };
  save(kModel, file);
  save(TTT_MODELS "/demo-mlp.gguf", other);
  std::filesystem::copy_file(file, damaged);
  std::filesystem::resize_file(damaged, std::filesystem::file_size(damaged) - 1);
  struct Case {
    std::vector<std::string> states;
    int code;
    std::string sentence;
  };
  const std::string good = "a=" + file;
  for (const Case& each : std::vector<Case>{
           {{file}, 2, "--preload-state: wanted NAME=FILE"},
           {{"a="}, 2, "--preload-state: wanted NAME=FILE"},
           {{"=" + file}, 2, "--preload-state: wanted a name of 1 to 64"},
           {{"a b=" + file}, 2, "found 'a b'"},
           {{"\u00e4=" + file}, 2, "--preload-state: wanted a name"},
           {{std::string(65, 'a') + "=" + file}, 2, "--preload-state: wanted a name"},
           {{good, good}, 2, "--preload-state: the name a is given twice"},
           {{good, "b=" + none}, 3, none},
           {{good, "b=" + damaged}, 3, damaged},
           {{good, "b=" + kModel}, 3, "a saved state, which begins with TTTSTATE"},
           {{good, "b=" + other}, 3, other + ": weights hash"},
       }) {
    std::vector<std::string> more;
    for (const std::string& state : each.states) {
      more.emplace_back("--preload-state");
      more.push_back(state);
    }
    const test::Outcome outcome = run_program(serve(folder, more));
    INFO(outcome.err);
    CHECK(outcome.code == each.code);
    CHECK(outcome.err.find(each.sentence) != std::string::npos);
    CHECK(outcome.err.find("serving") == std::string::npos);
    CHECK_FALSE(std::filesystem::exists(folder.socket()));
  }
}

TEST_CASE("serve refuses an address that is taken and a socket's place that is a file") {
  const Folder folder;
  std::ofstream(folder.socket()) << "precious";
  const test::Outcome outcome = run_program(serve(folder));
  CHECK(outcome.code == 1);
  CHECK(outcome.err.find("no socket") != std::string::npos);
  CHECK(std::filesystem::file_size(folder.socket()) == 8);
}

}  // namespace ttt::cli
