// SPDX-License-Identifier: Apache-2.0
// One client of the HTTP server, from its first byte to its last. Private to server/http_*.cpp, which alone
// know Boost.
#pragma once

#include <atomic>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "server/http.h"
#include "server/http_server.h"

namespace ttt::server {

using Socket = boost::asio::generic::stream_protocol::socket;
using Strand = boost::asio::strand<boost::asio::io_context::executor_type>;

// What others may ask of a connection, from any thread. It lives as long as something waits for its client.
class Connection {
 public:
  virtual ~Connection() = default;
  virtual void close_if_idle() = 0;  // ends at once where it only waits for another request
  virtual void abort() = 0;
};

// What all connections share. Outlives them.
struct SharedByConnections {
  SharedByConnections(HttpHandler& handler_, const HttpServerOptions& options_)
      : handler(handler_), options(options_), workers(options_.worker_threads) {}

  HttpHandler& handler;
  const HttpServerOptions options;
  std::atomic<bool> draining = false;
  std::atomic<std::size_t> inflight_bytes = 0;
  std::atomic<std::size_t> num_connections = 0;
  std::atomic<std::uint64_t> next_request = 0;
  mutable std::mutex mutex;  // guards what follows
  std::unordered_map<const Connection*, std::weak_ptr<Connection>> connections;

  // What is posted, which is short: events of streams, cancellations. Others may hold it longer.
  const std::shared_ptr<boost::asio::thread_pool> tasks = std::make_shared<boost::asio::thread_pool>(1);
  boost::asio::thread_pool workers;  // handle requests, which may take long
  boost::asio::io_context io;        // last: what waits in it uses all of the above
};

// Serves the client of this socket until one of both ends it.
void start_connection(SharedByConnections& shared, Socket socket, const Strand& strand);

}  // namespace ttt::server
