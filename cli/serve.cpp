// SPDX-License-Identifier: Apache-2.0
#include "cli/serve.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/un.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <mutex>
#include <sstream>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

#include "cli/exit_code.h"
#include "cli/info.h"
#include "cli/readable.h"
#include "cli/service_manager.h"
#include "cli/signals.h"
#include "cli/standard_streams.h"
#include "cli/state_files.h"
#include "cli/version.h"
#include "engine/engine.h"
#include "engine/snapshot.h"
#include "engine/state_layout.h"
#include "server/api.h"
#include "server/http_server.h"
#include "weights/gguf.h"

namespace ttt::cli {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kMaxSlots = 64;
constexpr std::size_t kStepTokens = 512;
// What a client that reads its tokens waits for the prompts of others, in tokens of a step: at this many a
// step with prompts takes some five times one without.
constexpr std::size_t kPrefillBesideDecode = 128;
constexpr std::chrono::milliseconds kWatchTime(50);

std::chrono::milliseconds milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000.0));
}

bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

std::vector<std::string> read_keys(const ServeOptions& options) {
  std::vector<std::string> keys = options.api_keys;
  if (options.api_key_file) {
    std::istringstream lines(read_input(*options.api_key_file));
    for (std::string line; std::getline(lines, line);) {
      while (!line.empty() && (line.back() == '\r' || line.back() == ' ')) line.pop_back();
      if (!line.empty() && line.front() != '#') keys.push_back(line);
    }
    if (keys.size() == options.api_keys.size()) {
      throw UsageError(fmt::format("{} has no key in it: wanted one a line", *options.api_key_file));
    }
  }
  if (std::ranges::any_of(keys, [](const std::string& key) { return key.empty(); })) {
    throw UsageError("--api-key: wanted a key, found nothing");
  }
  return keys;
}

void check_socket(const ServeOptions& options) {
  constexpr std::size_t kMaxPath = sizeof(sockaddr_un::sun_path) - 1;
  if (options.socket->empty()) throw UsageError("--uds: wanted a path, found nothing");
  if (options.socket->size() > kMaxPath) {
    throw UsageError(fmt::format(
        "--uds: wanted a path of at most {} bytes, which is what the system takes, found one of {}", kMaxPath,
        options.socket->size()));
  }
  const ServeOptions defaults;
  if (options.port != defaults.port || options.host != defaults.host) {
    print_warning("--uds is listened on alone: --host and --port have no effect");
  }
}

void check_address(const ServeOptions& options) {
  if (options.socket) return check_socket(options);
  try {
    server::check_host(options.host);
  } catch (const std::system_error& error) {
    throw UsageError(fmt::format("--host: {}", error.what()));
  }
}

// As browsers send it; "null" comes from pages that are files.
bool is_origin(std::string_view text) {
  if (text == "*" || text == "null") return true;
  const std::size_t end = text.find("://");
  if (end == 0 || end == std::string_view::npos) return false;
  const std::string_view name = text.substr(end + 3);
  const auto is_small = [](char c) { return c > 0x20 && c < 0x7F && !(c >= 'A' && c <= 'Z'); };
  return !name.empty() && name.find_first_of("/?#@,*") == std::string_view::npos &&
         std::ranges::all_of(text, is_small);
}

void check_origins(const ServeOptions& options) {
  const auto wrong = std::ranges::find_if_not(options.cors_origins, is_origin);
  if (wrong == options.cors_origins.end()) return;
  throw UsageError(fmt::format(
      "--cors-origins: wanted *, or an origin as browsers send it, in small letters and without a "
      "path, such as https://example.org or http://localhost:3000, found '{}'",
      *wrong));
}

void check_exposure(const ServeOptions& options, bool has_keys) {
  if (options.socket || is_loopback(options.host) || has_keys || options.allow_unauthenticated) return;
  throw UsageError(fmt::format(
      "--host {} lets other machines in, and no key is asked of them: give --api-key-file FILE, or "
      "--allow-unauthenticated if that is meant",
      options.host));
}

std::vector<std::string> served_names(const ServeOptions& options) {
  std::vector<std::string> names = options.names;
  const bool has_name = std::ranges::any_of(names, [](const std::string& name) { return name != "*"; });
  if (!has_name) {
    const fs::path path = fs::absolute(options.model.model).lexically_normal();
    names.insert(names.begin(), (path.has_filename() ? path : path.parent_path()).stem().string());
  }
  std::ranges::stable_partition(names, [](const std::string& name) { return name != "*"; });
  return names;
}

// What was asked for, else the model's own; a model of which no template is known refuses chats.
std::optional<tokenizer::ChatTemplate> choose_chat_template(const ServeOptions& options,
                                                            const ModelFiles& files) {
  const std::string names = fmt::format("{}", fmt::join(tokenizer::chat_template_names(), ", "));
  if (options.chat_template) {
    if (const auto named = tokenizer::find_chat_template(*options.chat_template)) return named;
    if (!fs::is_regular_file(*options.chat_template)) {
      throw UsageError(
          fmt::format("--chat-template: wanted {}, or a file, found {}", names, *options.chat_template));
    }
    if (const auto read = tokenizer::find_chat_template(read_input(*options.chat_template))) return read;
    throw UsageError(
        fmt::format("--chat-template: {} holds none of the templates that are known here ({}); "
                    "give the name of the one that comes nearest",
                    *options.chat_template, names));
  }
  if (files.text.chat_template.empty()) return std::nullopt;
  const auto known = tokenizer::find_chat_template(files.text.chat_template);
  if (!known) {
    print_warning(
        fmt::format("the model's chat template is none of those known here ({}), so chats are "
                    "refused; --chat-template NAME uses one of them all the same",
                    names));
  }
  return known;
}

struct PreloadedState {
  std::string name, path;
  Snapshot snapshot = {};
};

PreloadedState parse_preloaded(const std::string& option) {
  constexpr std::size_t kMaxName = 64;
  constexpr std::string_view kLetters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._-";
  const std::size_t end = option.find('=');
  if (end == std::string::npos || end + 1 == option.size()) {
    throw UsageError(fmt::format("--preload-state: wanted NAME=FILE, found '{}'", option));
  }
  PreloadedState state{.name = option.substr(0, end), .path = option.substr(end + 1)};
  if (state.name.empty() || state.name.size() > kMaxName ||
      state.name.find_first_not_of(kLetters) != std::string::npos) {
    throw UsageError(
        fmt::format("--preload-state: wanted a name of 1 to {} letters, digits, '.', '_' and "
                    "'-', found '{}'",
                    kMaxName, state.name));
  }
  return state;
}

std::vector<PreloadedState> read_states(const ServeOptions& options) {
  std::vector<PreloadedState> states;
  for (const std::string& option : options.preloaded_states) {
    PreloadedState state = parse_preloaded(option);
    const auto has_name = [&](const PreloadedState& other) { return other.name == state.name; };
    if (std::ranges::any_of(states, has_name)) {
      throw UsageError(fmt::format("--preload-state: the name {} is given twice", state.name));
    }
    states.push_back(std::move(state));
  }
  for (PreloadedState& state : states) state.snapshot = read_snapshot(state.path);
  return states;
}

void check_states(const std::vector<PreloadedState>& states, const ModelFiles& files) {
  if (states.empty()) return;
  const std::string hash = hash_of(files);
  for (const PreloadedState& state : states) {
    check_snapshot(state.snapshot, state.path, files.model.config, hash);
  }
}

void add_states(std::vector<PreloadedState> states, const BackendInfo& backend, server::ServedModel& model) {
  for (PreloadedState& state : states) {
    Snapshot& snapshot = state.snapshot;
    print_notice(fmt::format("state {}: {}", state.name, readable_state(snapshot)));
    const std::size_t unread = snapshot.tokens.size() - static_cast<std::size_t>(snapshot.state->position);
    if (unread > 1) {
      print_warning(
          fmt::format("state {}: each request reads its last {} tokens again; 'ttt run MODEL "
                      "--state-in {} -n 0 --state-out FILE' reads them once",
                      state.name, unread, state.path));
    }
    compare_targets(snapshot, state.path, backend);
    model.states[state.name] = {std::move(snapshot.tokens), std::move(snapshot.state)};
  }
}

server::ServedModel describe(const ServeOptions& options, const ModelFiles& files) {
  const ModelInfo info = describe_model(files);
  const VersionInfo version = describe_version();
  server::ServedModel model;
  model.names = served_names(options);
  model.config = files.model.config;
  model.tokenizer = files.tokenizer ? &*files.tokenizer : nullptr;
  if (files.text.adds_bos) model.bos_id = files.bos_id();
  model.eos_id = files.eos_id();
  model.chat_template = choose_chat_template(options, files);
  model.num_parameters = info.parameters;
  model.weights_type = std::string(weights::dtype_info(files.model.layers.front().attn_v.dtype).name);
  model.weights_hash = info.stored_hash;
  model.version = version.version;
  model.created =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
          .count();
  return model;
}

// As many sequences as memory allows, or as were asked for.
BackendLimits choose_limits(const ServeOptions& options, const Model& model) {
  BackendLimits limits{.slots = kMaxSlots, .tokens = kStepTokens, .logits_rows = 1};
  if (options.max_num_seqs > 0) {
    limits.slots = static_cast<std::size_t>(options.max_num_seqs);
    limits.tokens = std::max(limits.tokens, limits.slots + kPrefillBesideDecode);
    return limits;
  }
  while (limits.slots > 1) {
    try {
      check_memory(model, options.model, limits);
      break;
    } catch (const MemoryError&) {
      limits.slots /= 2;
    }
  }
  return limits;
}

server::ApiOptions api_options(const ServeOptions& options, std::vector<std::string> keys) {
  server::ApiOptions api;
  api.limits.max_prompt_tokens = options.max_prompt_tokens;
  api.limits.max_output_tokens = options.max_output_tokens;
  api.limits.max_logprobs = options.max_logprobs;
  api.limits.max_stop = static_cast<std::size_t>(options.max_stop);
  api.limits.time_limit = milliseconds(options.request_timeout);
  api.limits.strict_fields = options.strict_fields;
  api.api_keys = std::move(keys);
  api.metrics_open = options.metrics_open;
  api.origins = options.cors_origins;
  api.ping_time = milliseconds(options.sse_ping);
  if (!options.socket && is_loopback(options.host)) {
    api.hosts = {"localhost", "127.0.0.1", "::1", options.host};
    for (std::string host : options.allowed_hosts) {
      std::ranges::transform(host, host.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; });
      api.hosts.push_back(std::move(host));
    }
  }
  api.log_json = options.log_format == "json";
  if (options.log_format != "none") {
    api.log = [](const std::string& line) {
      static std::mutex mutex;
      const std::lock_guard lock(mutex);
      fmt::print(stderr, "{}\n", line);
    };
  }
  return api;
}

server::HttpServerOptions http_options(const ServeOptions& options) {
  server::HttpServerOptions http;
  http.host = options.host;
  http.port = static_cast<std::uint16_t>(options.port);
  http.socket_path = options.socket.value_or("");
  http.max_body_bytes = static_cast<std::size_t>(options.max_body);
  http.max_inflight_bytes = std::max(http.max_inflight_bytes, 2 * http.max_body_bytes);
  return http;
}

// Null where a signal asks for the end meanwhile.
std::unique_ptr<Backend> load(const ModelFiles& files, const std::vector<PreloadedState>& states,
                              const ModelOptions& options, const BackendLimits& limits) {
  try {
    check_states(states, files);
    return make_backend(files.model, options, limits);
  } catch (const Interrupted&) {
    print_notice("ended before the model was loaded");
    return nullptr;
  }
}

// Waits until no completion runs. False: the time was over first.
bool wait_until_idle(const server::Api& api, Clock::time_point deadline) {
  while (api.num_completions() > 0) {
    if (Clock::now() >= deadline) return false;
    std::this_thread::sleep_for(kWatchTime);
  }
  return true;
}

void shut_down(server::Api& api, server::HttpServer& http, const ServeOptions& options) {
  api.drain();
  http.drain();
  notify_service_manager("STOPPING=1");
  const std::size_t running = api.num_completions();
  if (running > 0) {
    print_notice(fmt::format("shutting down: {} requests have {} to finish; a second signal ends at once",
                             running, readable_seconds(options.shutdown_timeout)));
  }
  if (!wait_until_idle(api, Clock::now() + milliseconds(options.shutdown_timeout))) {
    api.cancel_all("the server is shutting down");
    constexpr std::chrono::seconds kCancelTime(5);
    wait_until_idle(api, Clock::now() + kCancelTime);
  }
  // What was answered is still being sent.
  constexpr std::chrono::seconds kSendTime(10);
  const Clock::time_point deadline = Clock::now() + kSendTime;
  while (http.num_connections() > 0 && Clock::now() < deadline) std::this_thread::sleep_for(kWatchTime);
}

}  // namespace

int serve(const ServeOptions& options) {
  require_model(options.model.model);
  check_device(options.model);
  std::vector<std::string> keys = read_keys(options);
  check_address(options);
  check_origins(options);
  check_exposure(options, !keys.empty());
  std::vector<PreloadedState> states = read_states(options);
  const ModelFiles files(options.model.model, file_access(options.model));
  for (const std::string& warning : files.model.warnings) print_warning(warning);
  if (!files.tokenizer) {
    print_warning(
        "this model has no tokenizer: clients can send token ids only, and get some with return_token_ids");
  }
  const BackendLimits limits = choose_limits(options, files.model);
  server::ServedModel model = describe(options, files);
  model.slots = limits.slots;
  model.slot_bytes = max_state_bytes(files.model.config);

  server::Api api(model, api_options(options, std::move(keys)));
  auto http = std::make_unique<server::HttpServer>(api, http_options(options));
  print_notice(fmt::format("loading {}", options.model.model));
  const auto begin = Clock::now();
  const std::unique_ptr<Backend> backend = load(files, states, options.model, limits);
  if (backend == nullptr) return kOk;
  const BackendInfo& info = backend->info();
  model.device = info.device;
  model.fingerprint = fmt::format("ttt-{}-{}-{}-{}", model.version, info.device, info.dispatch_target,
                                  model.weights_hash.substr(0, 8));
  add_states(std::move(states), info, model);
  const SchedulerOptions scheduling{.prefill_beside_decode = kPrefillBesideDecode,
                                    .max_waiting = static_cast<std::size_t>(options.max_queue)};
  Engine engine(*backend, files.model.config, model.tokenizer, scheduling);
  api.set_ready(engine, http->poster());
  notify_service_manager("READY=1");
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  print_notice(fmt::format("serving {} at {} after {}: {} sequences at once, {} each", model.names.front(),
                           http->address(), readable_seconds(seconds), limits.slots,
                           readable_bytes(info.slot_bytes)));
  while (!interrupted()) std::this_thread::sleep_for(kWatchTime);
  shut_down(api, *http, options);
  http.reset();  // before the engine, which its threads may be asking
  return kOk;
}

}  // namespace ttt::cli
