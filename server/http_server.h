// SPDX-License-Identifier: Apache-2.0
// HTTP/1.1 over TCP or a Unix socket, with limits on everything a client decides. Boost is known
// to http_server.cpp and http_connection.* alone (docs/decisions/0011-http.md).
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "server/http.h"

namespace ttt::server {

struct HttpServerOptions {
  std::string host = "127.0.0.1";  // a numeric address or a name
  std::uint16_t port = 8080;       // 0: a free one
  std::string socket_path;         // if not empty: a Unix socket there, instead of TCP

  std::size_t max_body_bytes = std::size_t{32} << 20;
  // Of bodies, over all connections. The first bytes of each are not counted, so that large bodies cannot
  // keep small ones out: max_connections limits those.
  std::size_t max_inflight_bytes = std::size_t{256} << 20;
  std::size_t uncounted_bytes = 16 << 10;
  std::size_t max_header_bytes = 8 << 10;
  std::size_t max_header_fields = 100;
  std::size_t max_connections = 4096;
  // What may wait for a client that reads slowly before its stream is given up.
  std::size_t max_unsent_bytes = std::size_t{1} << 20;
  std::chrono::milliseconds header_timeout{10'000};
  // For a whole body, and beside it the time that what came of it takes at the least rate: a client that is
  // as fast is never late.
  std::chrono::milliseconds body_timeout{30'000};
  std::size_t min_body_rate = 64 << 10;             // bytes a second
  std::chrono::milliseconds write_timeout{30'000};  // without any progress
  std::chrono::milliseconds idle_timeout{60'000};   // between two requests
  std::size_t io_threads = 2;
  std::size_t worker_threads = 2;
};

// Throws std::system_error with the host in its text unless it is an address, or a name that stands for some.
void check_host(const std::string& host);

class HttpServer {
 public:
  // Listens and serves from now on. `handler` must outlive the server. Throws std::system_error with the
  // address in its text.
  HttpServer(HttpHandler& handler, const HttpServerOptions& options);
  // Breaks off what is still being answered.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  std::string address() const;  // "http://127.0.0.1:8080", "unix:/run/ttt.sock"
  std::uint16_t port() const;

  // Accepts no more connections and closes idle ones; what is being answered is answered to its end.
  void drain();
  std::size_t num_connections() const;
  // Runs short tasks on a thread of their own, one after another. It may outlive the server; then it does
  // nothing.
  std::function<void(std::function<void()>)> poster() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ttt::server
