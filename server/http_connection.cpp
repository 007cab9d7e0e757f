// SPDX-License-Identifier: Apache-2.0
#include "server/http_connection.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio.hpp>
#include <boost/beast/core/buffers_suffix.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <exception>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "server/exchange.h"

namespace ttt::server {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;

using Clock = std::chrono::steady_clock;
using asio::awaitable;
using boost::system::error_code;
using Timer = asio::steady_timer;

namespace {

constexpr std::size_t kReadAhead = 64 << 10;    // of pipelined requests, while one is being answered
constexpr std::size_t kDrainedBytes = 1 << 20;  // after an early refusal, so that the client reads it
constexpr std::chrono::milliseconds kDrainTime(2'000);
constexpr unsigned kClientGone = 499;  // no status that is sent: nobody is there
constexpr auto kNoThrow = asio::as_tuple(asio::use_awaitable);

// Bytes of a body, counted among those of all connections.
class CountedBytes {
 public:
  explicit CountedBytes(SharedByConnections& shared) : shared_(shared) {}
  ~CountedBytes() { shared_.inflight_bytes -= count_; }
  CountedBytes(const CountedBytes&) = delete;
  CountedBytes& operator=(const CountedBytes&) = delete;
  // False: that would be more than all may have; then none are counted any more.
  bool grow_to(std::size_t size) {
    const std::size_t count = size - std::min(size, shared_.options.uncounted_bytes);
    shared_.inflight_bytes += count - count_;
    count_ = count;
    if (shared_.inflight_bytes <= shared_.options.max_inflight_bytes) return true;
    shared_.inflight_bytes -= std::exchange(count_, 0);
    return false;
  }

 private:
  SharedByConnections& shared_;
  std::size_t count_ = 0;
};

struct Refusal {
  unsigned status;
  std::string_view code;
  std::string_view message;
};
constexpr Refusal kLate{408, "timeout", "the request did not come in time"};

// One client. Everything runs on its strand. Coroutines here take references, and what they are given has a
// name: g++ 12 destroys some temporaries and arguments of an expression that waits twice.
class HttpConnection final : public Connection, public std::enable_shared_from_this<HttpConnection> {
 public:
  HttpConnection(SharedByConnections& shared, Socket socket, Strand strand)
      : shared_(shared),
        strand_(std::move(strand)),
        socket_(std::move(socket)),
        changed_(strand_, Timer::time_point::max()),
        deadline_(strand_) {
    ++shared_.num_connections;
  }
  ~HttpConnection() override {
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

  void close_if_idle() override {
    asio::post(strand_, [self = shared_from_this()] {
      error_code ignored;
      if (self->idle_) self->socket_.cancel(ignored);
    });
  }
  void abort() override {
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
    if (timed_out_) return kLate;
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

  // How long a body may take of which so many bytes came.
  std::chrono::milliseconds body_time(std::size_t size) const {
    constexpr std::size_t kMilliseconds = 1000;
    const std::size_t earned = size * kMilliseconds / shared_.options.min_body_rate;
    return shared_.options.body_timeout + std::chrono::milliseconds(earned);
  }

  // Status 0: it is read.
  awaitable<Refusal> read_body(Parser& parser, CountedBytes& bytes) {
    if (equal_names(std::string_view(parser.get()[http::field::expect]), "100-continue")) {
      const bool sent = co_await send_continue();
      if (!sent) co_return Refusal{kClientGone, {}, {}};
    }
    const auto begin = Clock::now();
    while (!parser.is_done()) {
      const auto left = body_time(parser.get().body().size()) - (Clock::now() - begin);
      if (left <= Clock::duration::zero()) co_return kLate;
      arm(std::chrono::ceil<std::chrono::milliseconds>(left));
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

  SharedByConnections& shared_;  // outlives it: this is owned by what waits in the io_context there
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

}  // namespace

void start_connection(SharedByConnections& shared, Socket socket, const Strand& strand) {
  std::make_shared<HttpConnection>(shared, std::move(socket), strand)->start();
}

}  // namespace ttt::server
