// SPDX-License-Identifier: Apache-2.0
#include "server/api.h"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <random>
#include <utility>

#include "server/answers.h"
#include "server/openapi.h"
#include "server/page.h"
#include "server/routes.h"
#include "server/tokenizer_request.h"

namespace ttt::server {
namespace {

HttpResponse json_response(std::string body) {
  return {.status = 200, .headers = {{"Content-Type", "application/json"}}, .body = std::move(body)};
}

HttpResponse text_response(std::string body) {
  return {.status = 200, .headers = {{"Content-Type", "text/plain; charset=utf-8"}}, .body = std::move(body)};
}

std::string sha256(std::string_view text) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

// "/v1/models/a%2Fb" -> "a/b"; bytes that are no sound escape stay.
std::string percent_decoded(std::string_view text) {
  std::string decoded;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned value = 0;
    if (text[i] == '%' && i + 2 < text.size() &&
        std::from_chars(text.data() + i + 1, text.data() + i + 3, value, 16).ptr == text.data() + i + 3) {
      decoded += static_cast<char>(value);
      i += 2;
    } else {
      decoded += text[i];
    }
  }
  return decoded;
}

// "[::1]:8080" -> "::1", "Example.org:80" -> "example.org".
std::string host_name(std::string_view host) {
  if (host.starts_with('[')) {
    const std::size_t end = host.find(']');
    return std::string(host.substr(1, end == std::string_view::npos ? end : end - 1));
  }
  std::string name(host.substr(0, host.find(':')));
  std::ranges::transform(name, name.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; });
  return name;
}

// For a line of a log: what a stranger wrote cannot break it.
std::string printable(std::string_view text) {
  constexpr std::size_t kMaxShown = 200;
  std::string shown;
  for (const char c : text.substr(0, kMaxShown)) {
    const bool plain = c > 0x20 && c < 0x7F && c != '"' && c != '\\';
    shown += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return shown;
}

// The page loads nothing from elsewhere and sends nothing to elsewhere.
HttpResponse page_response() {
  return {.status = 200,
          .headers = {{"Content-Type", "text/html; charset=utf-8"},
                      {"Content-Security-Policy",
                       "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
                       "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
                      {"Cache-Control", "no-cache"}},
          .body = std::string(page_html())};
}

}  // namespace

Api::Api(const ServedModel& model, const ApiOptions& options)
    : model_(model), options_(options), metrics_(model), next_seed_(std::random_device{}()) {
  for (const std::string& key : options_.api_keys) key_hashes_.push_back(sha256(key));
}

Api::~Api() = default;

void Api::set_ready(Engine& engine, std::function<void(std::function<void()>)> post) {
  context_.reset(new CompletionContext{engine, model_, metrics_, std::move(post), options_.ping_time});
  metrics_.set_build_info(model_);
  ready_ = true;
}

void Api::drain() {
  const std::lock_guard lock(mutex_);
  draining_ = true;
}

std::vector<std::shared_ptr<Completion>> Api::completions() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<Completion>> all;
  for (const auto& [key, weak] : completions_) {
    if (auto completion = weak.lock()) all.push_back(std::move(completion));
  }
  return all;
}

std::size_t Api::num_completions() const {
  const std::lock_guard lock(mutex_);
  return num_completions_;
}

void Api::cancel_all(const std::string& reason) {
  for (const auto& completion : completions()) completion->cancel(reason);
}

// Health is answered without a key, so that whoever watches the process needs none.
HttpResponse Api::health(const std::string& path) const {
  if (path == "/health/live" || path == "/ping") return json_response(status_json("ok"));
  if (draining_) return to_response(ApiError(503, "draining", "this server is shutting down"));
  if (!ready_) return to_response(ApiError(503, "loading", "the model is being loaded"));
  const std::string fault = context_->engine.device_fault();
  return fault.empty() ? json_response(status_json("ok")) : to_response(device_lost(fault));
}

std::optional<HttpResponse> Api::answer_head(const HttpRequest& head) {
  try {
    check_caller(head);
    if (head.method == "OPTIONS" && allowed_origin(head) != nullptr) return preflight(head);
    const Route* const route = find_route(head.path);
    if (route == nullptr) {
      throw ApiError(404, "not_found", "there is no such path; GET /openapi.json tells what there is");
    }
    const std::string method = head.method == "HEAD" ? "GET" : head.method;
    if (method != route->method) {
      HttpResponse response = to_response(
          ApiError(405, "method_not_allowed", fmt::format("wanted {} for this path", route->method)));
      response.headers.push_back({"Allow", route->method});
      return with_cors(head, std::move(response));
    }
    if (head.path == "/") return page_response();
    if (route->is_public) return with_cors(head, health(head.path));
    if (!(options_.metrics_open && head.path == "/metrics")) check_key(head);
    if (draining_) throw ApiError(503, "draining", "this server is shutting down");
    if (!ready_) throw ApiError(503, "loading", "the model is being loaded");
    return std::nullopt;
  } catch (const ApiError& error) {
    return with_cors(head, to_response(error));
  }
}

void Api::check_caller(const HttpRequest& head) const {
  const std::string* const host = head.header("host");
  if (!options_.hosts.empty() && host != nullptr &&
      std::ranges::find(options_.hosts, host_name(*host)) == options_.hosts.end()) {
    throw ApiError(421, "wrong_host",
                   "this server does not go by the name in the Host header; --allowed-hosts adds names");
  }
  if (head.header("origin") != nullptr && allowed_origin(head) == nullptr) {
    throw ApiError(403, "origin_not_allowed",
                   "web pages may not call this server; --cors-origins allows some to");
  }
}

// A page that this server gave may call it: its origin is the server's own name.
const std::string* Api::allowed_origin(const HttpRequest& head) const {
  const std::string* const origin = head.header("origin");
  if (origin == nullptr) return nullptr;
  const std::string* const host = head.header("host");
  if (host != nullptr && (*origin == "http://" + *host || *origin == "https://" + *host)) return origin;
  const auto allows = [&](const std::string& allowed) { return allowed == "*" || allowed == *origin; };
  return std::ranges::any_of(options_.origins, allows) ? origin : nullptr;
}

HttpResponse Api::preflight(const HttpRequest& head) const {
  HttpResponse response = with_cors(head, {.status = 204});
  response.headers.push_back({"Access-Control-Allow-Methods", "GET, POST, DELETE"});
  const std::string* const wanted = head.header("access-control-request-headers");
  if (wanted != nullptr) response.headers.push_back({"Access-Control-Allow-Headers", *wanted});
  response.headers.push_back({"Access-Control-Max-Age", "600"});
  return response;
}

HttpResponse Api::with_cors(const HttpRequest& request, HttpResponse response) const {
  const std::string* const origin = allowed_origin(request);
  if (origin == nullptr) return response;
  response.headers.push_back({"Access-Control-Allow-Origin", *origin});
  response.headers.push_back({"Access-Control-Expose-Headers", "x-request-id, x-ttt-ignored-fields"});
  response.headers.push_back({"Vary", "Origin"});
  return response;
}

// Every key is compared, and all bytes of each: the time says nothing.
void Api::check_key(const HttpRequest& head) const {
  if (key_hashes_.empty()) return;
  static constexpr std::string_view kBearer = "Bearer ";
  const std::string* const given = head.header("authorization");
  std::string_view key = given != nullptr ? std::string_view(*given) : std::string_view();
  const bool is_bearer = equal_names(key.substr(0, kBearer.size()), kBearer);
  key = is_bearer ? key.substr(kBearer.size()) : std::string_view();
  const std::string hash = sha256(key);
  bool matches = false;
  for (const std::string& known : key_hashes_) {
    matches = (CRYPTO_memcmp(known.data(), hash.data(), hash.size()) == 0) || matches;
  }
  if (matches) return;
  throw ApiError(401, "invalid_api_key", "wanted a valid key: Authorization: Bearer KEY");
}

void Api::handle(HttpRequest request, std::shared_ptr<HttpExchange> exchange) {
  try {
    if (request.path == "/v1/completions") return complete(request, AnswerShape::kText, exchange);
    if (request.path == "/v1/chat/completions") return complete(request, AnswerShape::kChat, exchange);
    if (request.path == "/v1/score") return complete(request, AnswerShape::kScore, exchange);
    exchange->respond(with_cors(request, answer(request)));
  } catch (const ApiError& error) {
    exchange->respond(with_cors(request, to_response(error)));
  }
}

void Api::complete(const HttpRequest& request, AnswerShape shape,
                   const std::shared_ptr<HttpExchange>& exchange) {
  {  // counted before anything else, so that after drain() their number only falls
    const std::lock_guard lock(mutex_);
    if (draining_) throw ApiError(503, "draining", "this server is shutting down");
    ++num_completions_;
  }
  const auto forget = [this](const Completion* completion) {
    const std::lock_guard lock(mutex_);
    completions_.erase(completion);
    --num_completions_;
  };
  std::shared_ptr<Completion> completion;
  try {
    if (request.body.empty()) throw ApiError(400, "invalid_json", "the body is empty; send a JSON object");
    CompletionRequest parsed =
        parse_completion(request.body, shape, model_, options_.limits, next_seed_++ & 0xFFFFFFFF);
    HttpResponse head = with_cors(request, {});
    completion = Completion::start(*context_, std::move(parsed), request.id, exchange,
                                   std::move(head.headers), forget);
  } catch (...) {
    forget(nullptr);
    throw;
  }
  const std::lock_guard lock(mutex_);
  if (!completion->has_ended()) completions_[completion.get()] = completion;
}

HttpResponse Api::answer(const HttpRequest& request) {
  const std::string& path = request.path;
  static constexpr std::string_view kModel = "/v1/models/";
  static constexpr std::string_view kRequest = "/v1/requests/";
  if (path == "/v1/models") return json_response(models_json(model_));
  if (path.starts_with(kModel)) return one_model(percent_decoded(path.substr(kModel.size())));
  if (path == "/v1/states") return json_response(states_json(model_));
  if (path == "/tokenize") return tokenize(request);
  if (path == "/detokenize") return detokenize(request);
  if (path == "/openapi.json") return json_response(openapi_json(model_.version));
  if (path == "/version") return json_response(version_json(model_));
  if (path == "/v1/capacity") return json_response(capacity_json(model_, context_->engine.load()));
  if (path == "/metrics") {
    HttpResponse response = text_response(metrics_.text(context_->engine.load()));
    response.headers = {{"Content-Type", "text/plain; version=0.0.4; charset=utf-8"}};
    return response;
  }
  if (path == "/tokenizer_info") {
    if (model_.tokenizer == nullptr) throw ApiError(404, "not_found", "this model has no tokenizer");
    return json_response(tokenizer_info_json(model_));
  }
  if (path == "/v1/requests") {
    std::vector<RunningRequest> running;
    for (const auto& completion : completions()) running.push_back(completion->describe());
    return json_response(requests_json(running));
  }
  return cancel_request(percent_decoded(path.substr(kRequest.size())));
}

HttpResponse Api::one_model(const std::string& name) const {
  check_model_name(model_, name);
  return json_response(model_json(model_, name));
}

HttpResponse Api::tokenize(const HttpRequest& request) const {
  if (model_.tokenizer == nullptr) throw ApiError(404, "not_found", "this model has no tokenizer");
  const TokenizeRequest parsed = parse_tokenize(request.body);
  try {
    std::vector<TokenId> ids = model_.tokenizer->encode(parsed.text, tokenizer::SpecialTokens::kParse);
    if (parsed.add_special_tokens && model_.bos_id) ids.insert(ids.begin(), *model_.bos_id);
    return json_response(tokens_json(model_, ids, parsed.with_texts));
  } catch (const tokenizer::TokenizerError& error) {
    throw ApiError(400, "invalid_value", fmt::format("prompt: {}", error.what()), "prompt");
  }
}

HttpResponse Api::detokenize(const HttpRequest& request) const {
  if (model_.tokenizer == nullptr) throw ApiError(404, "not_found", "this model has no tokenizer");
  const auto size = static_cast<std::size_t>(model_.tokenizer->vocab_size());
  return json_response(text_json(model_.tokenizer->decode(parse_detokenize(request.body, size))));
}

HttpResponse Api::cancel_request(const std::string& id) {
  for (const auto& completion : completions()) {
    const RunningRequest running = completion->describe();
    if (running.id != id && running.request_id != id) continue;
    completion->cancel("this request was cancelled through DELETE /v1/requests");
    return json_response(status_json("cancelled"));
  }
  throw ApiError(404, "not_found", "no request of that id is running");
}

HttpResponse Api::refuse(const HttpRequest& head, unsigned status, std::string_view code,
                         std::string_view message) {
  return with_cors(head, to_response(ApiError(status, std::string(code), std::string(message))));
}

void Api::answered(const HttpRequest& request, unsigned status, std::chrono::nanoseconds took) {
  metrics_.http_request(request.path, request.method, status);
  if (!options_.log) return;
  const double seconds = std::chrono::duration<double>(took).count();
  const std::string method = printable(request.method), path = printable(request.path);
  const std::string id = printable(request.id);
  options_.log(options_.log_json
                   ? fmt::format(R"({{"time":"{:%Y-%m-%dT%H:%M:%SZ}","method":"{}","path":"{}","status":{},)"
                                 R"("seconds":{:.4f},"request_id":"{}"}})",
                                 fmt::gmtime(std::time(nullptr)), method, path, status, seconds, id)
                   : fmt::format("{:%Y-%m-%d %H:%M:%S} {} {} {} {:.3f} s {}", fmt::gmtime(std::time(nullptr)),
                                 status, method, path, seconds, id));
}

}  // namespace ttt::server
