// SPDX-License-Identifier: Apache-2.0
// The bundled model behind HTTP, on a free port of this machine.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "engine/engine.h"
#include "engine/model.h"
#include "http_client.h"
#include "server/api.h"
#include "server/http_server.h"
#include "tests/sanitized.h"
#include "tokenizer/tokenizer.h"
#include "weights/checkpoint.h"

namespace ttt::server {

using Json = nlohmann::ordered_json;

struct ServedOptions {
  ApiOptions api = {};
  HttpServerOptions http = {};
  std::size_t slots = 4;
  SchedulerOptions scheduling = {};
  bool ready = true;
  std::function<std::unique_ptr<Backend>(std::unique_ptr<Backend>)> wrap_backend = {};
  std::optional<tokenizer::ChatTemplate> chat_template = {};
  bool has_tokenizer = true;
};

// The error of an answer that is one, in OpenAI's shape, which is required.
Json error_of(const Answer& answer);

class Served {
 public:
  explicit Served(ServedOptions options = {});
  ~Served();

  std::uint16_t port() const { return http->port(); }
  // One request on a connection of its own.
  Answer answer(const std::string& request) const;
  // Status 200 is required; of a stream [DONE] too, which is left out.
  Json complete(const std::string& body, const std::string& path = "/v1/completions") const;
  std::vector<Json> stream(const std::string& body, const std::string& path = "/v1/completions") const;
  bool becomes_idle() const;  // within a second, on a machine that is not slow

  weights::Checkpoint checkpoint;
  Model model;
  std::optional<tokenizer::Tokenizer> tokenizer;
  std::unique_ptr<Backend> backend;
  ServedModel served;
  std::unique_ptr<Api> api;
  std::unique_ptr<HttpServer> http;
  std::unique_ptr<Engine> engine;
};

}  // namespace ttt::server
