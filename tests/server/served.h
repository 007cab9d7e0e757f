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
};

class Served {
 public:
  explicit Served(ServedOptions options = {});
  ~Served();

  std::uint16_t port() const { return http->port(); }
  // One request on a connection of its own.
  Answer answer(const std::string& request) const;
  Json complete(const std::string& body) const;             // status 200 is required
  std::vector<Json> stream(const std::string& body) const;  // without [DONE], which is required
  bool becomes_idle() const;                                // within a second, on a machine that is not slow

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
