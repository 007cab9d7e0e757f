// SPDX-License-Identifier: Apache-2.0
// The other routes, and who may use them.
#include "server/api.h"

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <memory>
#include <mutex>
#include <thread>

#include "served.h"

namespace ttt::server {

TEST_CASE("models are listed and told one by one") {
  const Served served;
  const Json list = Json::parse(served.answer(get("/v1/models")).body);
  CHECK(list["object"] == "list");
  REQUIRE(list["data"].size() == 2);
  CHECK(list["data"][0]["id"] == "demo");
  CHECK(list["data"][0]["root"] == "demo");
  CHECK(list["data"][0]["object"] == "model");
  CHECK(Json::parse(served.answer(get("/v1/models/other")).body)["id"] == "other");
  CHECK(Json::parse(served.answer(get("/v1/models/%6Fther")).body)["id"] == "other");
  const Answer missing = served.answer(get("/v1/models/gpt-4"));
  CHECK(missing.status == 404);
  CHECK(Json::parse(missing.body)["error"]["message"].get<std::string>().find("demo") != std::string::npos);
}

TEST_CASE("texts and ids are turned into each other") {
  const Served served;
  const Json plain = Json::parse(served.answer(post("/tokenize", R"({"prompt":"Once upon"})")).body);
  const Json bare = Json::parse(
      served.answer(post("/tokenize", R"({"content":"Once upon","add_special_tokens":false})")).body);
  CHECK(plain["count"].get<int>() == bare["count"].get<int>() + 1);
  CHECK(bare["tokens"] == Json(served.tokenizer->encode("Once upon")));
  const Json text =
      Json::parse(served.answer(post("/detokenize", Json{{"tokens", bare["tokens"]}}.dump())).body);
  CHECK(text["prompt"] == "Once upon");
  CHECK(text["content"] == "Once upon");
  // As evaluation harnesses ask for the end-of-text token.
  const Json eos =
      Json::parse(served.answer(post("/tokenize", R"({"prompt":"</s>","add_special_tokens":false})")).body);
  CHECK(eos["tokens"] == Json::array({*served.served.eos_id}));
  CHECK(Json::parse(served.answer(get("/tokenizer_info")).body)["eos_token"] == "</s>");
  for (const char* body :
       {"{", "[]", "{}", R"({"prompt":1})", R"({"prompt":["a"]})", R"({"prompt":{}})",
        R"({"prompt":"a","add_special_tokens":[]})", R"({"prompt":"a","with_pieces":1})"}) {
    CHECK(served.answer(post("/tokenize", body)).status == 400);
  }
  for (const char* body :
       {"{", "1", "{}", R"({"tokens":null})", R"({"tokens":1})", R"({"tokens":[-1]})",
        R"({"tokens":[99999999]})", R"({"tokens":[[1]]})", R"({"tokens":[{}]})", R"({"tokens":{"a":3}})"}) {
    CHECK(served.answer(post("/detokenize", body)).status == 400);
  }
}

TEST_CASE("paths that are not there and methods that do not fit are refused") {
  const Served served;
  CHECK(served.answer(get("/v2/completions")).status == 404);
  CHECK(served.answer(get("/v1/models/")).status == 404);
  const Answer wrong = served.answer(get("/v1/completions"));
  CHECK(wrong.status == 405);
  CHECK(wrong.headers.at("allow") == "POST");
  CHECK(served.answer(post("/v1/models", "{}")).status == 405);
  CHECK(served.answer("DELETE /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n").status == 405);
}

TEST_CASE("every answer names its request") {
  const Served served;
  CHECK(served.answer(get("/version", "X-Request-Id: mine-1\r\n")).headers.at("x-request-id") == "mine-1");
  CHECK(served.answer(get("/nothing", "X-Request-Id: mine-2\r\n")).headers.at("x-request-id") == "mine-2");
  const std::string made = served.answer(get("/version", "X-Request-Id: a b\r\n")).headers.at("x-request-id");
  CHECK(made.starts_with("req-"));
  CHECK(served.answer(get("/version")).headers.at("x-request-id") != made);
}

TEST_CASE("with keys set, every path but health needs one") {
  ServedOptions options;
  options.api.api_keys = {"first-key", "second-key"};
  const Served served(options);
  const std::string good = "Authorization: Bearer second-key\r\n";
  for (const char* path : {"/v1/models", "/v1/models/demo", "/tokenizer_info", "/metrics", "/version",
                           "/v1/capacity", "/v1/requests", "/openapi.json"}) {
    INFO(path);
    const Answer none = served.answer(get(path));
    CHECK(none.status == 401);
    CHECK(none.headers.at("www-authenticate") == "Bearer");
    CHECK(Json::parse(none.body)["error"]["type"] == "authentication_error");
    CHECK(served.answer(get(path, "Authorization: Bearer second-ke\r\n")).status == 401);
    CHECK(served.answer(get(path, "Authorization: Bearer \r\n")).status == 401);
    CHECK(served.answer(get(path, "Authorization: second-key\r\n")).status == 401);
    CHECK(served.answer(get(path, "Authorization: bearer second-key\r\n")).status == 200);
    CHECK(served.answer(get(path, "authorization: BEARER second-key\r\n")).status == 200);
    CHECK(served.answer(get(path, good)).status == 200);
  }
  for (const char* path :
       {"/v1/completions", "/v1/chat/completions", "/v1/score", "/tokenize", "/detokenize"}) {
    CHECK(served.answer(post(path, "{}")).status == 401);
  }
  for (const char* path : {"/health", "/health/live", "/health/ready", "/ping"}) {
    CHECK(served.answer(get(path)).status == 200);
  }
}

TEST_CASE("without keys an empty bearer is accepted") {
  const Served served;
  CHECK(served.answer(get("/v1/models", "Authorization: Bearer \r\n")).status == 200);
}

TEST_CASE("health is 503 while loading and while shutting down") {
  const Served loading({.ready = false});
  CHECK(loading.answer(get("/health")).status == 503);
  CHECK(loading.answer(get("/health/live")).status == 200);
  const Answer refused = loading.answer(post("/v1/completions", R"({"prompt":"a"})"));
  CHECK(refused.status == 503);
  CHECK(refused.headers.contains("retry-after"));
  CHECK(Json::parse(refused.body)["error"]["code"] == "loading");
  loading.api->set_ready(*loading.engine, loading.http->poster());
  CHECK(loading.answer(get("/health/ready")).status == 200);
  loading.api->drain();
  CHECK(loading.answer(get("/health/ready")).status == 503);
  CHECK(Json::parse(loading.answer(post("/v1/completions", R"({"prompt":"a"})")).body)["error"]["code"] ==
        "draining");
}

namespace {

// Computes until it is told that the device is gone.
class LosingBackend final : public Backend {
 public:
  explicit LosingBackend(std::unique_ptr<Backend> backend) : backend_(std::move(backend)) {}

  const BackendInfo& info() const override { return backend_->info(); }
  void reset(SlotId slot) override { backend_->reset(slot); }
  void copy(SlotId from, SlotId to, std::int64_t position) override { backend_->copy(from, to, position); }
  void rewind(SlotId slot, std::int64_t from, std::int64_t to) override { backend_->rewind(slot, from, to); }
  void save(SlotId slot, std::int64_t position, std::span<std::byte> bytes) const override {
    backend_->save(slot, position, bytes);
  }
  void load(SlotId slot, std::int64_t position, std::span<const std::byte> bytes) override {
    backend_->load(slot, position, bytes);
  }
  void submit(std::span<const Segment> batch) override { backend_->submit(batch); }
  std::span<const SegmentResult> wait() override {
    const std::span<const SegmentResult> results = backend_->wait();
    if (lost) throw DeviceLost("the device is gone: restart the program");
    return results;
  }

  std::atomic<bool> lost = false;

 private:
  std::unique_ptr<Backend> backend_;
};

}  // namespace

TEST_CASE("a server whose device is gone is alive and not ready, and refuses to compute, with the reason") {
  LosingBackend* backend = nullptr;
  const Served served({.wrap_backend = [&](std::unique_ptr<Backend> inner) {
    auto losing = std::make_unique<LosingBackend>(std::move(inner));
    backend = losing.get();
    return losing;
  }});
  const auto check_refused = [](const Answer& answer) {
    CHECK(answer.status == 503);
    const Json error = error_of(answer);
    CHECK(error["code"] == "device_lost");
    CHECK(error["message"] == "the device is gone: restart the program");
  };
  CHECK(served.answer(get("/health/ready")).status == 200);
  served.complete(R"({"prompt":"a","max_tokens":1})");
  backend->lost = true;
  check_refused(served.answer(post("/v1/completions", R"({"prompt":"a"})")));  // its step failed
  check_refused(served.answer(get("/health/ready")));
  check_refused(served.answer(get("/health")));
  check_refused(served.answer(post("/v1/completions", R"({"prompt":"a"})")));  // nothing is tried any more
  check_refused(served.answer(post("/v1/completions", R"({"prompt":"a","stream":true})")));
  check_refused(served.answer(post("/v1/score", R"({"prompt":"a","completions":["b"]})")));
  CHECK(served.answer(get("/health/live")).status == 200);
  CHECK(served.answer(get("/metrics")).status == 200);
}

TEST_CASE("web pages are kept away unless they are allowed") {
  const Served closed;
  CHECK(closed.answer(get("/v1/models", "Origin: https://evil.example\r\n")).status == 403);
  CHECK(closed.answer(get("/v1/models", "Origin: http://localhost\r\n")).status == 200);  // its own page
  ServedOptions options;
  options.api.origins = {"https://good.example"};
  options.api.hosts = {"localhost", "127.0.0.1"};
  const Served open(options);
  CHECK(open.answer(get("/v1/models", "Origin: https://evil.example\r\n")).status == 403);
  const Answer allowed = open.answer(get("/v1/models", "Origin: https://good.example\r\n"));
  CHECK(allowed.status == 200);
  CHECK(allowed.headers.at("access-control-allow-origin") == "https://good.example");
  const Answer preflight = open.answer(
      "OPTIONS /v1/completions HTTP/1.1\r\nHost: localhost\r\nOrigin: https://good.example\r\n"
      "Access-Control-Request-Method: POST\r\n"
      "Access-Control-Request-Headers: authorization,x-stainless-os\r\n\r\n");
  CHECK(preflight.status == 204);
  CHECK(preflight.headers.at("access-control-allow-headers") == "authorization,x-stainless-os");
  const Answer rebound = open.answer("GET /v1/models HTTP/1.1\r\nHost: evil.example:8080\r\n\r\n");
  CHECK(rebound.status == 421);
  CHECK(open.answer("GET /v1/models HTTP/1.1\r\nHost: LOCALHOST:8080\r\n\r\n").status == 200);
}

TEST_CASE("a web page that may call can read refusals and health too") {
  ServedOptions options;
  options.api.origins = {"https://good.example"};
  options.api.api_keys = {"key"};
  options.http.max_body_bytes = 1000;
  const Served served(options);
  const std::string origin = "Origin: https://good.example\r\n", key = "Authorization: Bearer key\r\n";
  const auto check = [&](const std::string& request, unsigned status) {
    INFO(request.substr(0, 60));
    Answer answer = served.answer(request);
    CHECK(answer.status == status);
    CHECK(answer.headers["access-control-allow-origin"] == "https://good.example");
    CHECK(answer.headers["vary"] == "Origin");
  };
  check(get("/health", origin), 200);
  check(get("/health/live", origin), 200);
  check(get("/v1/models", origin), 401);
  check(get("/v1/completions", origin), 405);
  check(get("/nothing", origin), 404);
  check(post("/v1/completions", "{", origin + key), 400);
  check(post("/v1/completions", std::string(2000, ' '), origin + key), 413);
  CHECK(!served.answer(get("/health")).headers.contains("access-control-allow-origin"));
}

TEST_CASE("running requests are listed and can be cancelled") {
  const Served served;
  HttpClient client(served.port());
  client.send(post("/v1/completions", R"({"prompt":"Once","max_tokens":1000000,"ignore_eos":true})",
                   "X-Request-Id: to-cancel\r\n"));
  Json list;
  for (int i = 0; i < 500; ++i) {
    list = Json::parse(served.answer(get("/v1/requests")).body)["data"];
    if (!list.empty()) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  REQUIRE(list.size() == 1);
  CHECK(list[0]["request_id"] == "to-cancel");
  CHECK(served.answer("DELETE /v1/requests/nobody HTTP/1.1\r\nHost: localhost\r\n\r\n").status == 404);
  CHECK(served.answer("DELETE /v1/requests/to-cancel HTTP/1.1\r\nHost: localhost\r\n\r\n").status == 200);
  const Answer answer = client.read_answer();
  CHECK(answer.status == 503);
  CHECK(Json::parse(answer.body)["error"]["code"] == "cancelled");
  CHECK(served.becomes_idle());
}

TEST_CASE("what was done is counted") {
  const Served served;
  served.complete(R"({"prompt":"Once upon","max_tokens":5,"ignore_eos":true})");
  served.answer(get("/secret-path-of-a-stranger"));
  CHECK(served.becomes_idle());  // the slot is free a moment after the answer is there
  Answer metrics;
  const auto is_counted = [&](const char* line) { return metrics.body.find(line) != std::string::npos; };
  constexpr const char* kLines[] = {
      "ttt:generation_tokens_total 5",
      "ttt:num_requests_running 0",
      "ttt:request_success_total{finished_reason=\"length\"} 1",
      "ttt:time_to_first_token_seconds_count 1",
      "ttt:inter_token_latency_seconds_count 4",
      "ttt:http_requests_total{handler=\"/v1/completions\",method=\"POST\",status=\"200\"} 1",
      "ttt:http_requests_total{handler=\"other\",method=\"GET\",status=\"404\"} 1"};
  // An answer is counted a moment after the client has it.
  for (int i = 0; i < 6000 && !std::ranges::all_of(kLines, is_counted); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    metrics = served.answer(get("/metrics"));
  }
  CHECK(metrics.headers.at("content-type").starts_with("text/plain; version=0.0.4"));
  for (const char* line : kLines) {
    INFO(metrics.body);
    CHECK(is_counted(line));
  }
  CHECK(metrics.body.find("stranger") == std::string::npos);
}

TEST_CASE("a line is logged for each request, without prompts, keys and what could break it") {
  std::mutex mutex;
  std::string log;
  ServedOptions options;
  options.api.api_keys = {"the-key"};
  options.api.log_json = true;
  options.api.log = [&](const std::string& line) {
    const std::lock_guard lock(mutex);
    log += line + "\n";
  };
  {
    const Served served(options);
    served.answer(post("/v1/completions", R"({"prompt":"the-prompt","max_tokens":1})",
                       "Authorization: Bearer the-key\r\n"));
    served.answer("GET /a\x1b[31m\"\\\x9b HTTP/1.1\r\nHost: localhost\r\n\r\n");
    served.answer(get("/" + std::string(5000, 'x')));
  }
  std::size_t lines = 0;
  for (std::size_t begin = 0; begin < log.size(); ++lines) {
    const std::size_t end = log.find('\n', begin);
    CHECK(end - begin < 4096);
    CHECK(Json::parse(log.substr(begin, end - begin)).contains("status"));
    begin = end + 1;
  }
  CHECK(lines == 3);
  CHECK(log.find("the-prompt") == std::string::npos);
  CHECK(log.find("the-key") == std::string::npos);
  CHECK(log.find('\x1b') == std::string::npos);
}

}  // namespace ttt::server
