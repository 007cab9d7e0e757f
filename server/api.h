// SPDX-License-Identifier: Apache-2.0
// The routes of the HTTP interface, who may use them, and what runs. The server's main class; an HttpServer
// brings it requests. What there is: server/routes.cpp.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "server/api_error.h"
#include "server/completion.h"
#include "server/completion_request.h"
#include "server/http.h"
#include "server/metrics.h"
#include "server/served_model.h"

namespace ttt::server {

struct ApiOptions {
  RequestLimits limits;
  std::vector<std::string> api_keys;  // empty: everybody may do everything
  bool metrics_open = false;          // /metrics needs no key
  // Names and addresses by which clients may call the server (the Host header); empty: any. On a loopback
  // address this keeps web pages away whose name was made to resolve to it.
  std::vector<std::string> hosts;
  std::vector<std::string> origins;  // of web pages that may call; "*": all; empty: none
  std::chrono::milliseconds ping_time{15'000};
  // One line for each request, without prompts and keys; from any thread.
  std::function<void(const std::string& line)> log;
  bool log_json = false;
};

class Api : public HttpHandler {
 public:
  // All must outlive it. Until set_ready() every request but those for health is answered with 503.
  Api(const ServedModel& model, const ApiOptions& options);
  ~Api() override;

  // `post` runs a task on a worker thread.
  void set_ready(Engine& engine, std::function<void(std::function<void()>)> post);
  // New requests are answered with 503 from now on.
  void drain();
  std::size_t num_completions() const;
  // Ends all that still runs; each client is told.
  void cancel_all(const std::string& reason);

  std::optional<HttpResponse> answer_head(const HttpRequest& head) override;
  void handle(HttpRequest request, std::shared_ptr<HttpExchange> exchange) override;
  HttpResponse refuse(const HttpRequest& head, unsigned status, std::string_view code,
                      std::string_view message) override;
  void answered(const HttpRequest& request, unsigned status, std::chrono::nanoseconds took) override;

 private:
  HttpResponse health(const std::string& path) const;
  void check_caller(const HttpRequest& head) const;
  void check_key(const HttpRequest& head) const;
  const std::string* allowed_origin(const HttpRequest& head) const;
  HttpResponse preflight(const HttpRequest& head) const;
  HttpResponse with_cors(const HttpRequest& request, HttpResponse response) const;

  void complete(const HttpRequest& request, AnswerShape shape, const std::shared_ptr<HttpExchange>& exchange);
  HttpResponse answer(const HttpRequest& request);  // everything but completions
  HttpResponse one_model(const std::string& name) const;
  HttpResponse tokenize(const HttpRequest& request) const;
  HttpResponse detokenize(const HttpRequest& request) const;
  HttpResponse cancel_request(const std::string& id);
  std::vector<std::shared_ptr<Completion>> completions() const;

  const ServedModel& model_;
  const ApiOptions options_;
  std::vector<std::string> key_hashes_;  // what is compared, in constant time
  Metrics metrics_;
  std::unique_ptr<CompletionContext> context_;  // set by set_ready()
  std::atomic<bool> ready_ = false;
  std::atomic<bool> draining_ = false;
  std::atomic<std::uint64_t> next_seed_;
  mutable std::mutex mutex_;  // guards what follows
  std::map<const Completion*, std::weak_ptr<Completion>> completions_;
  std::size_t num_completions_ = 0;
};

}  // namespace ttt::server
