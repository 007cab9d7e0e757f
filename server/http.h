// SPDX-License-Identifier: Apache-2.0
// HTTP as the rest of server/ sees it: a request that has been read whole, and the way to answer it. Knows
// nothing of sockets (http_server.h) nor of what is served (api.h).
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ttt::server {

struct HttpHeader {
  std::string name;
  std::string value;
};

bool equal_names(std::string_view a, std::string_view b);  // of headers and such: in any letter case

struct HttpRequest {
  std::string method;  // "GET"
  std::string path;    // "/v1/models": without the query, as it came
  std::string query;   // "deep=1"
  std::vector<HttpHeader> headers;
  std::string body = {};
  std::string id;  // for logs and x-request-id: the client's, if it is harmless, else made here

  // The first header of that name, in any letter case; null: there is none.
  const std::string* header(std::string_view name) const;
};

struct HttpResponse {
  unsigned status = 200;
  std::vector<HttpHeader> headers = {};  // without Content-Length and the like
  std::string body = {};
};

// One request's answer: whole, or a stream. Any thread. Exactly one of respond() and begin() is called, once.
class HttpExchange {
 public:
  virtual ~HttpExchange() = default;

  virtual void respond(HttpResponse response) = 0;

  // Sends the head (its body is empty); write() adds to the body, finish() ends it. `idle_text` is written
  // after each `idle_time` in which nothing else was.
  virtual void begin(HttpResponse head, std::string idle_text, std::chrono::milliseconds idle_time) = 0;
  // False: the client is gone, or reads so slowly that more than a limit waits for it; nothing was taken,
  // and the connection is being closed.
  virtual bool write(std::string text) = 0;
  virtual void finish() = 0;

  // `gone` is called once, soon, if the client goes away before the answer is complete; at once if it has
  // gone. From a thread of the server: it must return soon. Null ends that: afterwards no call is running.
  virtual void on_gone(std::function<void()> gone) = 0;
};

class HttpHandler {
 public:
  virtual ~HttpHandler() = default;

  // Called when the head of a request was read, its body not yet: a refusal, or an answer that needs neither
  // body nor time. From an I/O thread: must return soon.
  virtual std::optional<HttpResponse> answer_head(const HttpRequest& head) = 0;
  // Called with the whole request, from a worker thread: may take its time. What it throws becomes a 500.
  virtual void handle(HttpRequest request, std::shared_ptr<HttpExchange> exchange) = 0;
  // The answer to what is no sound request, or is too large or slow; of its head what was read. Must return
  // soon.
  virtual HttpResponse refuse(const HttpRequest& head, unsigned status, std::string_view code,
                              std::string_view message) = 0;
  // For logs and counts; after every answer, whole or broken off. `status` is 499 where the client went away.
  virtual void answered(const HttpRequest& request, unsigned status, std::chrono::nanoseconds took) = 0;
};

}  // namespace ttt::server
