// SPDX-License-Identifier: Apache-2.0
#include "server/http_server.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "server/http_connection.h"

namespace ttt::server {

namespace asio = boost::asio;

using boost::system::error_code;
using Timer = asio::steady_timer;

namespace {

[[noreturn]] void fail(const std::string& what, const error_code& error) {
  throw std::system_error(error ? std::error_code(error) : std::make_error_code(std::errc::invalid_argument),
                          what);
}

asio::ip::tcp::resolver::results_type resolve(asio::io_context& io, const std::string& host,
                                              std::uint16_t port) {
  asio::ip::tcp::resolver resolver(io);
  error_code error;
  const auto found = resolver.resolve(host, std::to_string(port), asio::ip::tcp::resolver::passive, error);
  if (error || found.empty()) fail(fmt::format("cannot find the address {}", host), error);
  return found;
}

// One address at which clients are accepted. Everything runs on its strand.
class Listener {
 public:
  Listener(SharedByConnections& shared, const asio::generic::stream_protocol::endpoint& endpoint)
      : shared_(shared),
        strand_(asio::make_strand(shared.io)),
        acceptor_(strand_, endpoint.protocol()),
        retry_(strand_) {
    const int family = endpoint.protocol().family();
    if (family != AF_UNIX) acceptor_.set_option(asio::socket_base::reuse_address(true));
  }

  // Of an IPv6 address that stands beside an IPv4 one, which has a listener of its own.
  void accept_v6_only() { acceptor_.set_option(asio::ip::v6_only(true)); }

  void listen(const asio::generic::stream_protocol::endpoint& endpoint) {
    acceptor_.bind(endpoint);
    acceptor_.listen(asio::socket_base::max_listen_connections);
  }

  std::uint16_t port() const {
    asio::ip::tcp::endpoint bound;
    const auto local = acceptor_.local_endpoint();
    bound.resize(local.size());
    std::copy_n(reinterpret_cast<const char*>(local.data()), local.size(),
                reinterpret_cast<char*>(bound.data()));
    return bound.port();
  }

  void start() {
    asio::post(strand_, [this] { accept_next(); });
  }
  void stop() {
    asio::post(strand_, [this] {
      error_code ignored;
      acceptor_.close(ignored);
      retry_.cancel();
    });
  }

 private:
  void accept_next() {
    if (!acceptor_.is_open()) return;
    Strand of_socket = asio::make_strand(shared_.io);
    acceptor_.async_accept(of_socket, [this, of_socket](error_code error, Socket socket) {
      if (error == asio::error::operation_aborted) return;
      if (error) {  // out of descriptors, most likely
        retry_.expires_after(std::chrono::milliseconds(100));
        retry_.async_wait([this](error_code stop) {
          if (!stop) accept_next();
        });
        return;
      }
      if (shared_.num_connections < shared_.options.max_connections) {
        if (shared_.options.socket_path.empty()) {
          const int on = 1;
          ::setsockopt(socket.native_handle(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        }
        start_connection(shared_, std::move(socket), of_socket);
      }
      accept_next();
    });
  }

  SharedByConnections& shared_;
  const Strand strand_;
  asio::basic_socket_acceptor<asio::generic::stream_protocol> acceptor_;
  Timer retry_;
};

}  // namespace

struct HttpServer::Impl {
  Impl(HttpHandler& handler, const HttpServerOptions& options) : shared(handler, options) {}

  SharedByConnections shared;
  std::vector<std::unique_ptr<Listener>> listeners;
  std::string address;
  std::uint16_t port = 0;
  std::vector<std::thread> threads;

  // A name may stand for several addresses ("localhost": IPv4 and IPv6): all of them, at one port, but for
  // those that this machine does not have.
  void listen_tcp() {
    const HttpServerOptions& options = shared.options;
    const auto found = resolve(shared.io, options.host, options.port);
    error_code error;
    port = options.port;
    for (const auto& entry : found) {
      asio::ip::tcp::endpoint endpoint = entry.endpoint();
      endpoint.port(port);
      listen(endpoint, found.size() > 1 && endpoint.address().is_v6(), error);
      if (error && !is_missing(error)) break;
      if (error || listeners.size() > 1) continue;
      port = listeners.front()->port();
      const bool numeric_v6 = options.host.find(':') != std::string::npos;
      address = fmt::format("http://{}:{}", numeric_v6 ? "[" + options.host + "]" : options.host, port);
    }
    if (listeners.empty() || (error && !is_missing(error))) {
      fail(fmt::format("cannot listen on {}:{}", options.host, port), error);
    }
  }

  void listen_unix() {
    const std::string& path = shared.options.socket_path;
    struct stat status {};
    if (::lstat(path.c_str(), &status) == 0) {
      if (!S_ISSOCK(status.st_mode)) {
        fail(fmt::format("{} exists and is no socket", path), error_code());
      }
      ::unlink(path.c_str());
    }
    error_code error;
    listen(asio::local::stream_protocol::endpoint(path), false, error);
    if (error) fail(fmt::format("cannot listen on {}", path), error);
    address = "unix:" + path;
  }

  void listen(const asio::generic::stream_protocol::endpoint& endpoint, bool v6_only, error_code& error) {
    error.clear();
    try {
      auto listener = std::make_unique<Listener>(shared, endpoint);
      if (v6_only) listener->accept_v6_only();
      listener->listen(endpoint);
      listeners.push_back(std::move(listener));
    } catch (const boost::system::system_error& failed) {
      error = failed.code();
    }
  }

  static bool is_missing(const error_code& error) {
    return error == boost::system::errc::address_not_available ||
           error == boost::system::errc::address_family_not_supported;
  }

  std::vector<std::shared_ptr<Connection>> connections() const {
    const std::lock_guard lock(shared.mutex);
    std::vector<std::shared_ptr<Connection>> all;
    for (const auto& [key, weak] : shared.connections) {
      if (auto connection = weak.lock()) all.push_back(std::move(connection));
    }
    return all;
  }
};

void check_host(const std::string& host) {
  asio::io_context io;
  resolve(io, host, 0);
}

HttpServer::HttpServer(HttpHandler& handler, const HttpServerOptions& options)
    : impl_(std::make_unique<Impl>(handler, options)) {
  if (options.socket_path.empty()) {
    impl_->listen_tcp();
  } else {
    impl_->listen_unix();
  }
  for (const auto& listener : impl_->listeners) listener->start();
  for (std::size_t i = 0; i < options.io_threads; ++i) {
    impl_->threads.emplace_back([io = &impl_->shared.io] { io->run(); });
  }
}

HttpServer::~HttpServer() {
  drain();
  for (const auto& connection : impl_->connections()) connection->abort();
  // What connections still have to do on their strands is little. Their ends post tasks, and so do the
  // requests that are being handled: the order of the joins.
  for (int i = 0; i < 1000 && impl_->shared.num_connections > 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  impl_->shared.workers.join();
  impl_->shared.tasks->join();
  impl_->shared.io.stop();
  for (std::thread& thread : impl_->threads) thread.join();
  if (!impl_->shared.options.socket_path.empty()) ::unlink(impl_->shared.options.socket_path.c_str());
}

std::string HttpServer::address() const { return impl_->address; }
std::uint16_t HttpServer::port() const { return impl_->port; }
std::size_t HttpServer::num_connections() const { return impl_->shared.num_connections; }

void HttpServer::drain() {
  if (impl_->shared.draining.exchange(true)) return;
  for (const auto& listener : impl_->listeners) listener->stop();
  for (const auto& connection : impl_->connections()) connection->close_if_idle();
}

std::function<void(std::function<void()>)> HttpServer::poster() const {
  return [tasks = impl_->shared.tasks](std::function<void()> task) { asio::post(*tasks, std::move(task)); };
}

}  // namespace ttt::server
