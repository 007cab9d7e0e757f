// SPDX-License-Identifier: Apache-2.0
// A client that sends bytes as they are and understands just enough HTTP to read the answers.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace ttt::server {

struct Answer {
  unsigned status = 0;                         // 0: the connection ended before there was an answer
  std::map<std::string, std::string> headers;  // names in small letters
  std::string body;
};

class HttpClient {
 public:
  explicit HttpClient(std::uint16_t port);
  explicit HttpClient(const std::string& socket_path);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  void send(std::string_view bytes);  // what the other side does not take is dropped
  void half_close();                  // sends no more
  void close();
  void reset();  // closes with a RST

  // The next answer, "100 Continue" skipped. Fails the test after a minute of silence.
  Answer read_answer();
  // Whatever comes until `text` was seen; fails the test after a minute of silence.
  std::string read_until(std::string_view text);
  bool at_end();  // waits for the other side to close

 private:
  bool receive();  // false: closed
  std::string take(std::size_t size);
  std::string take_line();
  int descriptor_ = -1;
  std::string received_;
};

// A whole request with Content-Length.
std::string post(std::string_view path, std::string_view body, std::string_view more_headers = {});
std::string get(std::string_view path, std::string_view more_headers = {});

// The data of each event of a stream, [DONE] included.
std::vector<std::string> events(std::string_view body);

}  // namespace ttt::server
