// SPDX-License-Identifier: Apache-2.0
#include "http_client.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cctype>
#include <cstring>

namespace ttt::server {

HttpClient::HttpClient(std::uint16_t port) : descriptor_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(::connect(descriptor_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
}

HttpClient::HttpClient(const std::string& socket_path)
    : descriptor_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, socket_path.c_str(), sizeof address.sun_path - 1);
  REQUIRE(::connect(descriptor_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
}

HttpClient::~HttpClient() { close(); }

void HttpClient::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(descriptor_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
}

void HttpClient::half_close() { ::shutdown(descriptor_, SHUT_WR); }

void HttpClient::close() {
  if (descriptor_ >= 0) ::close(descriptor_);
  descriptor_ = -1;
}

void HttpClient::reset() {
  const linger now{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(descriptor_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  close();
}

bool HttpClient::receive() {
  pollfd wanted{.fd = descriptor_, .events = POLLIN, .revents = 0};
  constexpr int kMilliseconds = 60'000;
  if (::poll(&wanted, 1, kMilliseconds) != 1) FAIL("a minute of silence; so far: " << received_);
  char buffer[16384];
  const ssize_t size = ::recv(descriptor_, buffer, sizeof buffer, 0);
  if (size <= 0) return false;
  received_.append(buffer, static_cast<std::size_t>(size));
  return true;
}

std::string HttpClient::take(std::size_t size) {
  while (received_.size() < size && receive()) {
  }
  std::string taken = received_.substr(0, size);
  received_.erase(0, taken.size());
  return taken;
}

std::string HttpClient::take_line() {
  std::size_t end = 0;
  while ((end = received_.find("\r\n")) == std::string::npos) {
    if (!receive()) return {};
  }
  std::string line = received_.substr(0, end);
  received_.erase(0, end + 2);
  return line;
}

std::string HttpClient::read_until(std::string_view text) {
  std::size_t at = 0;
  while ((at = received_.find(text)) == std::string::npos) {
    if (!receive()) FAIL("the connection ended; so far: " << received_);
  }
  return take(at + text.size());
}

bool HttpClient::at_end() {
  while (receive()) {
  }
  return true;
}

Answer HttpClient::read_answer() {
  Answer answer;
  do {
    const std::string line = take_line();
    if (!line.starts_with("HTTP/1.")) return answer;
    answer.status = static_cast<unsigned>(std::stoul(line.substr(9, 3)));
    answer.headers.clear();
    for (std::string header = take_line(); !header.empty(); header = take_line()) {
      const std::size_t colon = header.find(": ");
      std::string name = header.substr(0, colon);
      std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
      answer.headers[name] = header.substr(colon + 2);
    }
  } while (answer.status == 100);
  if (answer.headers.contains("content-length")) {
    answer.body = take(std::stoul(answer.headers["content-length"]));
  } else if (answer.headers.contains("transfer-encoding")) {
    for (std::size_t size = 0; (size = std::stoul("0" + take_line(), nullptr, 16)) > 0; take_line()) {
      answer.body += take(size);
    }
    take_line();
  } else if (answer.status != 204) {
    while (receive()) {
    }
    answer.body = std::move(received_);
    received_.clear();
  }
  return answer;
}

std::string post(std::string_view path, std::string_view body, std::string_view more_headers) {
  return fmt::format("POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n{}\r\n{}", path,
                     body.size(), more_headers, body);
}

std::string get(std::string_view path, std::string_view more_headers) {
  return fmt::format("GET {} HTTP/1.1\r\nHost: localhost\r\n{}\r\n", path, more_headers);
}

std::vector<std::string> events(std::string_view body) {
  std::vector<std::string> all;
  while (!body.empty()) {
    const std::size_t end = body.find("\n\n");
    const std::string_view event = body.substr(0, end);
    if (event.starts_with("data: ")) all.emplace_back(event.substr(6));
    if (end == std::string_view::npos) FAIL("an event without its empty line: " << event);
    body.remove_prefix(end + 2);
  }
  return all;
}

}  // namespace ttt::server
