// SPDX-License-Identifier: Apache-2.0
#include "cli/load_client.h"

#include <curl/curl.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <new>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <utility>

#include "cli/answer_reader.h"
#include "cli/event_reader.h"
#include "cli/exit_code.h"
#include "cli/readable.h"
#include "cli/signals.h"

namespace ttt::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMaxErrorBytes = 64 << 10;  // of an answer that is no stream
constexpr int kPollMilliseconds = 100;            // how soon a signal is seen
constexpr long kOk200 = 200;

// What is used of libcurl, loaded when a load test begins: linked, its 28 libraries would cost every command
// 7 ms at its start.
struct Curl {
  decltype(&curl_global_init) global_init;
  decltype(&curl_easy_init) easy_init;
  decltype(&curl_easy_setopt) easy_setopt;
  decltype(&curl_easy_getinfo) easy_getinfo;
  decltype(&curl_easy_perform) easy_perform;
  decltype(&curl_easy_strerror) easy_strerror;
  decltype(&curl_easy_cleanup) easy_cleanup;
  decltype(&curl_multi_init) multi_init;
  decltype(&curl_multi_setopt) multi_setopt;
  decltype(&curl_multi_add_handle) multi_add_handle;
  decltype(&curl_multi_remove_handle) multi_remove_handle;
  decltype(&curl_multi_perform) multi_perform;
  decltype(&curl_multi_poll) multi_poll;
  decltype(&curl_multi_info_read) multi_info_read;
  decltype(&curl_multi_strerror) multi_strerror;
  decltype(&curl_multi_cleanup) multi_cleanup;
  decltype(&curl_slist_append) slist_append;
  decltype(&curl_slist_free_all) slist_free_all;
};

Curl load_curl() {
  constexpr const char* kLibrary = "libcurl.so.4";
  void* const library = ::dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);  // stays open to the end
  if (library == nullptr) {
    throw LoadError(
        fmt::format("a load test needs {}, which does not open here ({}); it is in Debian's package "
                    "libcurl4",
                    kLibrary, ::dlerror()));
  }
  Curl curl{};
  const auto find = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(::dlsym(library, name));
    if (function == nullptr) throw LoadError(fmt::format("{} has no {}; it is too old", kLibrary, name));
  };
  find(curl.global_init, "curl_global_init");
  find(curl.easy_init, "curl_easy_init");
  find(curl.easy_setopt, "curl_easy_setopt");
  find(curl.easy_getinfo, "curl_easy_getinfo");
  find(curl.easy_perform, "curl_easy_perform");
  find(curl.easy_strerror, "curl_easy_strerror");
  find(curl.easy_cleanup, "curl_easy_cleanup");
  find(curl.multi_init, "curl_multi_init");
  find(curl.multi_setopt, "curl_multi_setopt");
  find(curl.multi_add_handle, "curl_multi_add_handle");
  find(curl.multi_remove_handle, "curl_multi_remove_handle");
  find(curl.multi_perform, "curl_multi_perform");
  find(curl.multi_poll, "curl_multi_poll");
  find(curl.multi_info_read, "curl_multi_info_read");
  find(curl.multi_strerror, "curl_multi_strerror");
  find(curl.multi_cleanup, "curl_multi_cleanup");
  find(curl.slist_append, "curl_slist_append");
  find(curl.slist_free_all, "curl_slist_free_all");
  const CURLcode code = curl.global_init(CURL_GLOBAL_DEFAULT);
  if (code != CURLE_OK)
    throw LoadError(fmt::format("{} does not start: {}", kLibrary, curl.easy_strerror(code)));
  return curl;
}

const Curl& curl() {
  static const Curl functions = load_curl();
  return functions;
}

struct FreeEasy {
  void operator()(CURL* handle) const { curl().easy_cleanup(handle); }
};
struct FreeMulti {
  void operator()(CURLM* handle) const { curl().multi_cleanup(handle); }
};
struct FreeHeaders {
  void operator()(curl_slist* list) const { curl().slist_free_all(list); }
};
using Easy = std::unique_ptr<CURL, FreeEasy>;
using Multi = std::unique_ptr<CURLM, FreeMulti>;
using Headers = std::unique_ptr<curl_slist, FreeHeaders>;

template <typename T>
T* not_null(T* pointer) {
  if (pointer == nullptr) throw std::bad_alloc();
  return pointer;
}

template <typename Value>
void set(CURL* easy, CURLoption option, Value value) {
  const CURLcode code = curl().easy_setopt(easy, option, value);
  if (code == CURLE_OUT_OF_MEMORY) throw std::bad_alloc();
  if (code != CURLE_OK) throw LoadError(fmt::format("libcurl: {}", curl().easy_strerror(code)));
}

void append(Headers& headers, const std::string& line) {
  curl_slist* const longer = not_null(curl().slist_append(headers.get(), line.c_str()));
  headers.release();
  headers.reset(longer);
}

Headers common_headers(const LoadTarget& target) {
  Headers headers;
  append(headers, "Content-Type: application/json");
  append(headers, "Expect:");  // libcurl would ask before it sends a long body
  if (!target.api_key.empty()) append(headers, fmt::format("Authorization: Bearer {}", target.api_key));
  return headers;
}

void set_target(CURL* easy, const LoadTarget& target, const std::string& route, curl_slist* headers) {
  set(easy, CURLOPT_URL, (target.url + route).c_str());
  if (target.socket) set(easy, CURLOPT_UNIX_SOCKET_PATH, target.socket->c_str());
  set(easy, CURLOPT_HTTPHEADER, headers);
  set(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  set(easy, CURLOPT_PROXY, "");  // the server itself is measured, whatever the environment says
  set(easy, CURLOPT_NOSIGNAL, 1L);
  set(easy, CURLOPT_TCP_NODELAY, 1L);
  set(easy, CURLOPT_USERAGENT, "ttt-loadtest");
  set(easy, CURLOPT_TIMEOUT_MS, static_cast<long>(target.timeout * 1000.0));
}

// A request on its way. Its callbacks must not throw through libcurl.
class Transfer {
 public:
  Transfer(const LoadTarget& target, curl_slist* headers, std::string body, double planned,
           Clock::time_point begin)
      : easy_(not_null(curl().easy_init())), body_(std::move(body)), begin_(begin) {
    outcome_.planned = planned;
    set_target(easy_.get(), target, "/completions", headers);
    set(easy_.get(), CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body_.size()));
    set(easy_.get(), CURLOPT_POSTFIELDS, body_.c_str());
    set(easy_.get(), CURLOPT_WRITEFUNCTION, &Transfer::take_bytes);
    set(easy_.get(), CURLOPT_WRITEDATA, static_cast<void*>(this));
    outcome_.sent = now();
  }

  CURL* easy() const { return easy_.get(); }

  // After libcurl said that it has ended.
  LoadOutcome finish(CURLcode code) {
    long status = 0;
    curl().easy_getinfo(easy_.get(), CURLINFO_RESPONSE_CODE, &status);
    if (!failure_.empty()) {
      outcome_.error = failure_;
    } else if (code != CURLE_OK) {
      outcome_.error = curl().easy_strerror(code);
    } else if (status != kOk200) {
      outcome_.error = fmt::format("HTTP {}: {}", status, error_message(plain_));
    } else if (!done_) {
      outcome_.error = "the stream ended without [DONE]";
    } else if (num_chunks_ == 0) {
      outcome_.error = "the stream had no token";
    }
    if (outcome_.output_tokens == 0) outcome_.output_tokens = num_chunks_;
    return std::move(outcome_);
  }

 private:
  double now() const { return std::chrono::duration<double>(Clock::now() - begin_).count(); }

  static std::size_t take_bytes(char* bytes, std::size_t, std::size_t count, void* self) {
    try {
      return static_cast<Transfer*>(self)->take(std::string_view(bytes, count)) ? count : 0;
    } catch (const std::exception&) {
      return 0;  // libcurl ends the transfer with an error
    }
  }

  bool take(std::string_view bytes) {
    long status = 0;
    curl().easy_getinfo(easy_.get(), CURLINFO_RESPONSE_CODE, &status);
    if (status != kOk200) {
      if (plain_.size() < kMaxErrorBytes) plain_ += bytes;
      return true;
    }
    if (!reader_.feed(bytes, [this](std::string_view data) { take_event(data); })) {
      failure_ = "an event of the stream is too large";
    }
    return failure_.empty();
  }

  void take_event(std::string_view data) {
    if (data == "[DONE]") {
      done_ = true;
      return;
    }
    const AnswerChunk chunk = read_chunk(data);
    if (!chunk.error.empty()) {
      failure_ = chunk.error;
      return;
    }
    if (chunk.prompt_tokens) outcome_.prompt_tokens = *chunk.prompt_tokens;
    if (chunk.output_tokens) outcome_.output_tokens = *chunk.output_tokens;
    if (!chunk.is_token()) return;
    const double time = now();
    if (num_chunks_++ == 0) {
      outcome_.first_token = time;
    } else {
      outcome_.gaps.push_back(time - outcome_.last_token);
    }
    outcome_.last_token = time;
  }

  Easy easy_;
  const std::string body_;
  const Clock::time_point begin_;
  LoadOutcome outcome_;
  EventReader reader_;
  std::string plain_;
  std::string failure_;
  std::size_t num_chunks_ = 0;
  bool done_ = false;
};

// All transfers of a run, on one connection pool.
class Run {
 public:
  Run(const LoadTarget& target, const LoadLimits& limits)
      : target_(target),
        limits_(limits),
        headers_(common_headers(target)),
        multi_(not_null(curl().multi_init())) {
    // Connections are kept for the next request, as many as may run at once.
    const std::size_t kept = limits.concurrency > 0 ? limits.concurrency : 1024;
    curl().multi_setopt(multi_.get(), CURLMOPT_MAXCONNECTS, static_cast<long>(kept));
  }
  ~Run() {
    for (auto& [easy, transfer] : transfers_) curl().multi_remove_handle(multi_.get(), easy);
  }
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  LoadClient::Result run(LoadPlan& plan, const LoadClient::MakeBody& make_body,
                         const std::function<void(std::size_t, std::size_t)>& progress) {
    PlannedRequest next = plan.next();
    std::size_t sent = 0;
    while (!interrupted()) {
      const double time = now();
      const bool over = (limits_.requests > 0 && sent == limits_.requests) ||
                        (limits_.seconds > 0.0 && time >= limits_.seconds);
      if (over && transfers_.empty()) break;
      const bool has_room = limits_.concurrency == 0 || transfers_.size() < limits_.concurrency;
      if (!over && has_room && next.seconds <= time) {
        // Without a rate a request is planned for the moment at which there is room for it.
        send(make_body(next), next.seconds > 0.0 ? next.seconds : time);
        ++sent;
        next = plan.next();
        continue;
      }
      step(over || !has_room ? 1.0 : next.seconds - time);
      progress(result_.outcomes.size(), transfers_.size());
    }
    result_.interrupted = interrupted();
    result_.seconds = now();
    return std::move(result_);
  }

 private:
  double now() const { return std::chrono::duration<double>(Clock::now() - begin_).count(); }

  void send(std::string body, double planned) {
    auto transfer = std::make_unique<Transfer>(target_, headers_.get(), std::move(body), planned, begin_);
    CURL* const easy = transfer->easy();
    check(curl().multi_add_handle(multi_.get(), easy));
    transfers_.emplace(easy, std::move(transfer));
    perform();
  }

  // Moves bytes, for at most `seconds` if there are none.
  void step(double seconds) {
    const double milliseconds = std::clamp(std::ceil(seconds * 1000.0), 0.0, double{kPollMilliseconds});
    check(curl().multi_poll(multi_.get(), nullptr, 0, static_cast<int>(milliseconds), nullptr));
    perform();
  }

  void perform() {
    int running = 0;
    check(curl().multi_perform(multi_.get(), &running));
    int left = 0;
    while (const CURLMsg* const message = curl().multi_info_read(multi_.get(), &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      CURL* const easy = message->easy_handle;
      const CURLcode code = message->data.result;
      check(curl().multi_remove_handle(multi_.get(), easy));
      result_.outcomes.push_back(transfers_.at(easy)->finish(code));
      transfers_.erase(easy);
    }
  }

  static void check(CURLMcode code) {
    if (code == CURLM_OUT_OF_MEMORY) throw std::bad_alloc();
    if (code != CURLM_OK) throw LoadError(fmt::format("libcurl: {}", curl().multi_strerror(code)));
  }

  const LoadTarget& target_;
  const LoadLimits limits_;
  const Headers headers_;
  const Multi multi_;
  const Clock::time_point begin_ = Clock::now();
  std::unordered_map<CURL*, std::unique_ptr<Transfer>> transfers_;
  LoadClient::Result result_;
};

std::size_t append_to(char* bytes, std::size_t, std::size_t count, void* text) {
  constexpr std::size_t kMaxListBytes = 1 << 20;
  std::string& to = *static_cast<std::string*>(text);
  if (to.size() + count > kMaxListBytes) return 0;
  to.append(bytes, count);
  return count;
}

}  // namespace

std::string api_url(std::string_view url) {
  if (!url.starts_with("http://") && !url.starts_with("https://")) {
    throw UsageError(fmt::format("--url: wanted http://HOST:PORT or https://..., found {}", escaped(url)));
  }
  while (url.ends_with('/')) url.remove_suffix(1);
  return url.ends_with("/v1") ? std::string(url) : fmt::format("{}/v1", url);
}

ListedModel first_model(const LoadTarget& target) {
  const Easy easy(not_null(curl().easy_init()));
  const Headers headers = common_headers(target);
  std::string text;
  set_target(easy.get(), target, "/models", headers.get());
  set(easy.get(), CURLOPT_CONNECTTIMEOUT, 10L);
  set(easy.get(), CURLOPT_WRITEFUNCTION, &append_to);
  set(easy.get(), CURLOPT_WRITEDATA, static_cast<void*>(&text));
  const CURLcode code = curl().easy_perform(easy.get());
  if (code != CURLE_OK) {
    throw LoadError(
        fmt::format("{}/models: {}; is the server running there?", target.url, curl().easy_strerror(code)));
  }
  long status = 0;
  curl().easy_getinfo(easy.get(), CURLINFO_RESPONSE_CODE, &status);
  if (status != kOk200) {
    throw LoadError(fmt::format("{}/models: HTTP {}: {}", target.url, status, error_message(text)));
  }
  const auto model = read_first_model(text);
  if (!model) {
    throw LoadError(
        fmt::format("{}/models: wanted a list of models, found something else; name one with "
                    "--model",
                    target.url));
  }
  return *model;
}

LoadClient::Result LoadClient::run(
    LoadPlan& plan, const LoadLimits& limits,
    const std::function<void(std::size_t ended, std::size_t running)>& progress) const {
  return Run(target_, limits).run(plan, make_body_, progress);
}

}  // namespace ttt::cli
