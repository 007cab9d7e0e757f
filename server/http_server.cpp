// SPDX-License-Identifier: Apache-2.0
#include "server/http_server.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <boost/asio.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/beast/core/buffers_suffix.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <unordered_map>
#include <utility>

#include "server/exchange.h"

namespace ttt::server {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;

using Clock = std::chrono::steady_clock;
using asio::awaitable;
using boost::system::error_code;
using Socket = asio::generic::stream_protocol::socket;
using Strand = asio::strand<asio::io_context::executor_type>;
using Timer = asio::steady_timer;

namespace {

constexpr std::size_t kReadAhead = 64 << 10;    // of pipelined requests, while one is being answered
constexpr std::size_t kDrainedBytes = 1 << 20;  // after an early refusal, so that the client reads it
constexpr std::chrono::milliseconds kDrainTime(2'000);
constexpr unsigned kClientGone = 499;  // no status that is sent: nobody is there
constexpr auto kNoThrow = asio::as_tuple(asio::use_awaitable);

class Connection;

// What all connections share.
struct Shared {
  Shared(HttpHandler& handler_, const HttpServerOptions& options_)
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
  const std::shared_ptr<asio::thread_pool> tasks = std::make_shared<asio::thread_pool>(1);
  asio::thread_pool workers;  // handle requests, which may take long
  asio::io_context io;        // last: what waits in it uses all of the above
};

// Bytes of a body, counted among those of all connections.
class CountedBytes {
 public:
  explicit CountedBytes(Shared& shared) : shared_(shared) {}
  ~CountedBytes() { shared_.inflight_bytes -= count_; }
  CountedBytes(const CountedBytes&) = delete;
  CountedBytes& operator=(const CountedBytes&) = delete;
  // False: that would be more than all may have; then none are counted any more.
  bool grow_to(std::size_t count) {
    shared_.inflight_bytes += count - count_;
    count_ = count;
    if (shared_.inflight_bytes <= shared_.options.max_inflight_bytes) return true;
    shared_.inflight_bytes -= std::exchange(count_, 0);
    return false;
  }

 private:
  Shared& shared_;
  std::size_t count_ = 0;
};

struct Refusal {
  unsigned status;
  std::string_view code;
  std::string_view message;
};

// One client. Everything runs on its strand. Coroutines here take references, and what they are given has a
// name: g++ 12 destroys some temporaries and arguments of an expression that waits twice.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Shared& shared, Socket socket, Strand strand)
      : shared_(shared),
        strand_(std::move(strand)),
        socket_(std::move(socket)),
        changed_(strand_, Timer::time_point::max()),
        deadline_(strand_) {
    ++shared_.num_connections;
  }
  ~Connection() {
    --shared_.num_connections;
    const std::lock_guard lock(shared_.mutex);
    shared_.connections.erase(this);
  }

  void start() {
    {
      const std::lock_guard lock(shared_.mutex);
      shared_.connections[this] = weak_from_this();
    }
    asio::co_spawn(
        strand_, [self = shared_from_this()] { return self->run(); }, asio::detached);
  }

  // From any thread: ends at once where it only waits for another request.
  void close_if_idle() {
    asio::post(strand_, [self = shared_from_this()] {
      error_code ignored;
      if (self->idle_) self->socket_.cancel(ignored);
    });
  }
  void abort() {
    asio::post(strand_, [self = shared_from_this()] {
      self->lose();
      self->close();
    });
  }

 private:
  using Parser = http::request_parser<http::string_body>;

  awaitable<void> run() {
    try {
      while (co_await serve_one()) {
      }
    } catch (const std::exception&) {
      // Memory ran out on the way: this client is given up, the others are not.
    }
    if (exchange_) exchange_->set_gone();
    close();
  }

  // False: nothing follows on this connection.
  awaitable<bool> serve_one() {
    CountedBytes body_bytes(shared_);
    Parser parser;
    parser.header_limit(static_cast<std::uint32_t>(shared_.options.max_header_bytes));
    parser.body_limit(shared_.options.max_body_bytes);
    const bool has_head = co_await read_head(parser);
    if (!has_head) co_return false;
    started_ = Clock::now();
    HttpRequest request = request_of(parser);
    keep_alive_ = parser.get().keep_alive() && !shared_.draining;
    version_ = parser.get().version();
    if (const auto refusal = check_head(parser)) {
      co_await refuse(request, *refusal);
      co_return false;
    }
    if (auto early = shared_.handler.answer_head(request)) {
      co_await send_early(request, *early, !parser.is_done());
      co_return keep_alive_;
    }
    if (!parser.is_done()) {
      const Refusal refusal = co_await read_body(parser, body_bytes);
      if (refusal.status == kClientGone) co_return false;
      if (refusal.status != 0) {
        co_await refuse(request, refusal);
        co_return false;
      }
    }
    request.body = std::move(parser.get().body());
    co_await answer(request);
    co_return keep_alive_;
  }

  awaitable<bool> read_head(Parser& parser) {
    idle_ = buffer_.size() == 0;
    if (idle_ && shared_.draining) co_return false;
    if (idle_) {
      const bool came = co_await wait_for_bytes();
      if (!came) co_return false;
    }
    idle_ = false;
    arm(shared_.options.header_timeout);
    const auto [error, size] = co_await http::async_read_header(socket_, buffer_, parser, kNoThrow);
    disarm();
    if (!error) co_return true;
    const Refusal refusal = refusal_of(error, "this is no sound HTTP/1.1 request");
    if (refusal.status == kClientGone) co_return false;
    HttpRequest unread = request_of(parser);  // as far as it came
    if (unread.method.empty()) unread.method = "-";
    if (unread.path.empty()) unread.path = "-";
    started_ = Clock::now();
    co_await refuse(unread, refusal);
    co_return false;
  }

  // What to say about an error of the parser or the socket; kClientGone: nothing.
  Refusal refusal_of(const error_code& error, std::string_view what) const {
    static const auto& http_errors = http::make_error_code(http::error::bad_method).category();
    if (timed_out_) return {408, "timeout", "the request did not come in time"};
    if (error == http::error::header_limit) return {431, "header_too_large", "the head is too large"};
    if (error == http::error::body_limit) {
      return {413, "body_too_large", "the body of the request is larger than this server takes"};
    }
    const bool ended = error == http::error::end_of_stream || error == http::error::partial_message;
    if (ended || error.category() != http_errors) return {kClientGone, {}, {}};
    return {400, "invalid_http", what};
  }

  // Waits, between two requests, for the first bytes of the next.
  awaitable<bool> wait_for_bytes() {
    arm(shared_.options.idle_timeout);
    const auto [error, size] = co_await socket_.async_read_some(buffer_.prepare(4096), kNoThrow);
    disarm();
    if (error) co_return false;
    buffer_.commit(size);
    co_return true;
  }

  std::optional<Refusal> check_head(const Parser& parser) const {
    const auto& head = parser.get();
    if (head.version() != 11 && head.version() != 10) {
      return Refusal{505, "http_version", "this server speaks HTTP/1.1"};
    }
    std::size_t fields = 0, hosts = 0;
    for (const auto& field : head) {
      ++fields;
      if (field.name() == http::field::host) ++hosts;
    }
    if (fields > shared_.options.max_header_fields) {
      return Refusal{431, "header_too_large", "the request has too many header fields"};
    }
    if (hosts > 1 || (hosts == 0 && head.version() == 11)) {
      return Refusal{400, "invalid_http", "wanted one Host header"};
    }
    if (!head.target().starts_with('/')) {
      return Refusal{400, "invalid_http", "wanted a target that begins with /"};
    }
    const bool has_coding = head.find(http::field::transfer_encoding) != head.end();
    if (has_coding && (!parser.chunked() || head.version() == 10)) {
      return Refusal{400, "invalid_http", "wanted no Transfer-Encoding but chunked"};
    }
    if (head.find(http::field::content_encoding) != head.end()) {
      return Refusal{415, "unsupported_encoding", "wanted a body without Content-Encoding"};
    }
    return std::nullopt;
  }

  // Status 0: it is read.
  awaitable<Refusal> read_body(Parser& parser, CountedBytes& bytes) {
    if (equal_names(std::string_view(parser.get()[http::field::expect]), "100-continue")) {
      const bool sent = co_await send_continue();
      if (!sent) co_return Refusal{kClientGone, {}, {}};
    }
    while (!parser.is_done()) {
      arm(shared_.options.body_timeout);
      const auto [error, size] = co_await http::async_read_some(socket_, buffer_, parser, kNoThrow);
      disarm();
      if (error) co_return refusal_of(error, "this is no sound HTTP/1.1 body");
      if (!bytes.grow_to(parser.get().body().size())) {
        co_return Refusal{429, "too_many_bytes", "too many large requests at once; try again soon"};
      }
    }
    co_return Refusal{0, {}, {}};
  }

  // The handler answers, on other threads; this strand sends.
  awaitable<void> answer(HttpRequest& request) {
    const auto wake = [weak = weak_from_this()] {
      const auto self = weak.lock();
      if (self) asio::post(self->strand_, [self] { self->changed_.cancel(); });
    };
    const auto exchange = std::make_shared<Exchange>(wake, shared_.options.max_unsent_bytes);
    exchange_ = exchange;
    half_closed_ = probed_ = lost_ = false;
    HttpRequest head = request;  // for the log; the body goes to the handler
    head.body.clear();
    asio::post(shared_.workers, [&handler = shared_.handler, exchange, head,
                                 request = std::move(request)]() mutable {
      try {
        handler.handle(std::move(request), exchange);
      } catch (const std::exception&) {
        exchange->respond(handler.refuse(head, 500, "internal_error", "the server failed in this request"));
      }
    });
    watching_ = true;
    asio::co_spawn(
        strand_, [self = shared_from_this()] { return self->watch(); }, asio::detached);
    const unsigned status = co_await send_answer(head, *exchange);
    if (status == kClientGone) exchange->set_gone();
    exchange_.reset();
    while (watching_) {
      error_code ignored;
      socket_.cancel(ignored);
      co_await changed_.async_wait(kNoThrow);
    }
    shared_.handler.answered(head, status, Clock::now() - started_);
    const bool has_next = !half_closed_ || buffer_.size() > 0;  // pipelined before the client closed its side
    if (status == kClientGone || lost_ || !has_next) keep_alive_ = false;
  }

  awaitable<unsigned> send_answer(const HttpRequest& request, Exchange& exchange) {
    unsigned status = 0;
    bool streaming = false;
    while (true) {
      Exchange::Next next = exchange.take();
      if (lost_ || next.too_slow) co_return kClientGone;
      if (next.head) {
        status = next.head->status;
        if (!next.is_stream) {
          const bool sent = co_await write_whole(request, *next.head);
          co_return sent ? status : kClientGone;
        }
        streaming = true;
        const bool sent = co_await write_stream_head(request, *next.head);
        if (!sent) co_return kClientGone;
      }
      if (!next.text.empty()) {
        const bool sent = co_await write_part(next.text);
        if (!sent) co_return kClientGone;
      }
      if (next.finished) {
        const bool sent = co_await write_last_part();
        co_return sent ? status : kClientGone;
      }
      if (half_closed_ && !probed_) {
        probed_ = true;
        const bool sent = co_await probe(exchange, streaming);
        if (!sent) co_return kClientGone;
        continue;  // more may have come meanwhile
      }
      if (next.head || !next.text.empty()) continue;
      changed_.expires_at(streaming ? Clock::now() + exchange.idle_time() : Timer::time_point::max());
      const auto [error] = co_await changed_.async_wait(kNoThrow);
      if (error || !streaming) continue;
      const bool sent = co_await write_part(exchange.idle_text());
      if (!sent) co_return kClientGone;
    }
  }

  // A client that has closed its side may still read, or be gone: what is sent to one that is gone comes
  // back as a reset. Before an answer that may be another "100 Continue", which every client skips.
  awaitable<bool> probe(const Exchange& exchange, bool streaming) {
    if (streaming) co_return co_await write_part(exchange.idle_text());
    co_return co_await send_continue();
  }

  awaitable<bool> send_continue() {
    if (version_ != 11) co_return true;
    static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
    const auto buffer = asio::buffer(kContinue);
    co_return co_await write_all(buffer);
  }

  // Notices that the client goes away while its answer is being made. What it sends meanwhile is the next
  // request and stays in the buffer.
  awaitable<void> watch() {
    while (exchange_ && buffer_.size() < kReadAhead) {
      const auto [error, size] = co_await socket_.async_read_some(buffer_.prepare(4096), kNoThrow);
      if (!error) {
        buffer_.commit(size);
        continue;
      }
      if (error == asio::error::eof) {
        half_closed_ = true;
        changed_.cancel();
        const auto [wait_error] = co_await socket_.async_wait(Socket::wait_error, kNoThrow);
        if (!wait_error) lose();
      } else if (error != asio::error::operation_aborted) {
        lose();
      }
      break;
    }
    watching_ = false;
    changed_.cancel();
  }

  void lose() {
    lost_ = true;
    if (exchange_) exchange_->set_gone();
    changed_.cancel();
  }

  awaitable<void> refuse(const HttpRequest& request, const Refusal& refusal) {
    HttpResponse response = shared_.handler.refuse(request, refusal.status, refusal.code, refusal.message);
    co_await send_early(request, response, true);
  }

  // An answer for which the rest of the request is not read.
  awaitable<void> send_early(const HttpRequest& request, HttpResponse& response, bool bytes_unread) {
    if (bytes_unread) keep_alive_ = false;
    const unsigned status = response.status;
    const bool sent = co_await write_whole(request, response);
    shared_.handler.answered(request, sent ? status : kClientGone, Clock::now() - started_);
    if (bytes_unread) co_await linger();
    if (!sent) keep_alive_ = false;
  }

  template <class Body>
  http::response<Body> response_of(const HttpRequest& request, HttpResponse& head) const {
    http::response<Body> response;
    response.version(version_);
    response.result(head.status);
    response.set(http::field::server, "ttt");
    if (!request.id.empty()) response.set("x-request-id", request.id);
    for (const HttpHeader& header : head.headers) response.insert(header.name, header.value);
    return response;
  }

  awaitable<bool> write_whole(const HttpRequest& request, HttpResponse& head) {
    if (shared_.draining) keep_alive_ = false;
    auto response = response_of<http::string_body>(request, head);
    response.body() = std::move(head.body);
    response.keep_alive(keep_alive_);
    response.prepare_payload();
    constexpr unsigned kNoContent = 204;
    if (head.status == kNoContent) response.erase(http::field::content_length);
    if (request.method == "HEAD") response.body().clear();
    http::response_serializer<http::string_body> serializer(response);
    while (!serializer.is_done()) {
      arm(shared_.options.write_timeout);
      const auto [error, size] = co_await http::async_write_some(socket_, serializer, kNoThrow);
      disarm();
      if (error) co_return false;
    }
    co_return true;
  }

  awaitable<bool> write_stream_head(const HttpRequest& request, HttpResponse& head) {
    if (shared_.draining || version_ == 10) keep_alive_ = false;
    chunked_ = version_ == 11;
    auto response = response_of<http::empty_body>(request, head);
    response.keep_alive(keep_alive_);
    response.chunked(chunked_);
    http::response_serializer<http::empty_body> serializer(response);
    arm(shared_.options.write_timeout);
    const auto [error, size] = co_await http::async_write_header(socket_, serializer, kNoThrow);
    disarm();
    co_return !error;
  }

  awaitable<bool> write_part(const std::string& text) {
    const auto plain = asio::buffer(text);
    if (!chunked_) co_return co_await write_all(plain);
    const auto chunk = http::make_chunk(plain);
    co_return co_await write_all(chunk);
  }
  awaitable<bool> write_last_part() {
    if (!chunked_) co_return true;
    const auto chunk = http::make_chunk_last();
    co_return co_await write_all(chunk);
  }

  template <class Buffers>
  awaitable<bool> write_all(const Buffers& buffers) {
    beast::buffers_suffix<Buffers> rest(buffers);
    while (asio::buffer_size(rest) > 0) {
      arm(shared_.options.write_timeout);
      const auto [error, size] = co_await socket_.async_write_some(rest, kNoThrow);
      disarm();
      if (error) co_return false;
      rest.consume(size);
    }
    co_return true;
  }

  // A client that is still sending would lose the answer to a reset if the connection were closed now.
  awaitable<void> linger() {
    error_code ignored;
    socket_.shutdown(Socket::shutdown_send, ignored);
    arm(kDrainTime);
    std::size_t drained = 0;
    while (drained < kDrainedBytes) {
      buffer_.clear();
      const auto [error, size] = co_await socket_.async_read_some(buffer_.prepare(16 << 10), kNoThrow);
      if (error) break;
      drained += size;
    }
    disarm();
  }

  // From now until disarm(): when the time is over, what the socket is doing ends with an error.
  void arm(std::chrono::milliseconds time) {
    timed_out_ = false;
    ++deadline_turn_;
    wait_for_deadline(time);
  }
  // An operation of several reads or writes may be between two of them, where there is nothing to cancel: so
  // again and again, until disarm().
  void wait_for_deadline(std::chrono::milliseconds time) {
    constexpr std::chrono::milliseconds kAgain(50);
    deadline_.expires_after(time);
    deadline_.async_wait([self = weak_from_this(), turn = deadline_turn_](error_code error) {
      const auto connection = self.lock();
      if (error || !connection || connection->deadline_turn_ != turn) return;
      connection->timed_out_ = true;
      error_code ignored;
      connection->socket_.cancel(ignored);
      connection->wait_for_deadline(kAgain);
    });
  }
  void disarm() {
    ++deadline_turn_;
    deadline_.cancel();
  }

  void close() {
    error_code ignored;
    socket_.shutdown(Socket::shutdown_both, ignored);
    socket_.close(ignored);
    changed_.cancel();
  }

  HttpRequest request_of(const Parser& parser) const {
    const auto& head = parser.get();
    HttpRequest request;
    request.method = std::string(head.method_string());
    const std::string_view target(head.target().data(), head.target().size());
    const std::size_t question = target.find('?');
    request.path = std::string(target.substr(0, question));
    if (question != std::string_view::npos) request.query = std::string(target.substr(question + 1));
    for (const auto& field : head) {
      request.headers.push_back({std::string(field.name_string()), std::string(field.value())});
    }
    request.id = request_id(request);
    return request;
  }

  std::string request_id(const HttpRequest& request) const {
    constexpr std::size_t kMaxLength = 128;
    const std::string* const given = request.header("x-request-id");
    const auto harmless = [](char c) { return c > 0x20 && c < 0x7F; };
    if (given != nullptr && !given->empty() && given->size() <= kMaxLength &&
        std::ranges::all_of(*given, harmless)) {
      return *given;
    }
    return fmt::format("req-{:x}-{:x}", ::getpid(), ++shared_.next_request);
  }

  Shared& shared_;  // outlives it: this is owned by what waits in the io_context there
  const Strand strand_;
  Socket socket_;
  beast::flat_buffer buffer_;  // read, and not yet understood
  Timer changed_;              // never fires by itself: cancelled when the exchange or the client changes
  Timer deadline_;
  std::uint64_t deadline_turn_ = 0;
  bool timed_out_ = false;
  bool idle_ = true;

  // Of the request being served.
  Clock::time_point started_;
  unsigned version_ = 11;
  bool keep_alive_ = false;
  bool chunked_ = false;
  std::shared_ptr<Exchange> exchange_;
  bool watching_ = false;
  bool half_closed_ = false;  // the client sends no more
  bool probed_ = false;
  bool lost_ = false;  // the client is gone
};

// One address at which clients are accepted. Everything runs on its strand.
class Listener {
 public:
  Listener(Shared& shared, const asio::generic::stream_protocol::endpoint& endpoint)
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
        std::make_shared<Connection>(shared_, std::move(socket), of_socket)->start();
      }
      accept_next();
    });
  }

  Shared& shared_;
  const Strand strand_;
  asio::basic_socket_acceptor<asio::generic::stream_protocol> acceptor_;
  Timer retry_;
};

}  // namespace

struct HttpServer::Impl {
  Impl(HttpHandler& handler, const HttpServerOptions& options) : shared(handler, options) {}

  Shared shared;
  std::vector<std::unique_ptr<Listener>> listeners;
  std::string address;
  std::uint16_t port = 0;
  std::vector<std::thread> threads;

  // A name may stand for several addresses ("localhost": IPv4 and IPv6): all of them, at one port, but for
  // those that this machine does not have.
  void listen_tcp() {
    const HttpServerOptions& options = shared.options;
    asio::ip::tcp::resolver resolver(shared.io);
    error_code error;
    const auto found =
        resolver.resolve(options.host, std::to_string(options.port), asio::ip::tcp::resolver::passive, error);
    if (error || found.empty()) fail(fmt::format("cannot find the address {}", options.host), error);
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

  [[noreturn]] static void fail(const std::string& what, const error_code& error) {
    throw std::system_error(
        error ? std::error_code(error) : std::make_error_code(std::errc::invalid_argument), what);
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
