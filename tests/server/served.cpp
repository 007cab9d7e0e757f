// SPDX-License-Identifier: Apache-2.0
#include "served.h"

#include <catch2/catch.hpp>
#include <chrono>
#include <thread>

#include "cpu/cpu_backend.h"
#include "engine/tokenizer_metadata.h"

namespace ttt::server {

Served::Served(ServedOptions options)
    : checkpoint(weights::Checkpoint::open(TTT_MODELS "/demo-linear.gguf")),
      model(load_model(checkpoint)),
      tokenizer(load_tokenizer(checkpoint, model.config.vocab_size)),
      backend(cpu::make_cpu_backend(model,
                                    {.num_slots = options.slots, .max_batch_tokens = 64, .num_threads = 1})) {
  if (options.wrap_backend) backend = options.wrap_backend(std::move(backend));
  served.names = {"demo", "other"};
  served.config = model.config;
  const tokenizer::Tokenizer* const known = options.has_tokenizer ? &*tokenizer : nullptr;
  served.tokenizer = known;
  served.bos_id = tokenizer->bos_id();
  served.eos_id = tokenizer->eos_id();
  served.chat_template = options.chat_template;
  served.version = "test";
  served.fingerprint = "ttt-test";
  served.slots = options.slots;
  options.http.port = 0;
  api = std::make_unique<Api>(served, options.api);
  http = std::make_unique<HttpServer>(*api, options.http);
  engine = std::make_unique<Engine>(*backend, model.config, known, options.scheduling);
  if (options.ready) api->set_ready(*engine, http->poster());
}

Served::~Served() {
  api->drain();
  api->cancel_all("the test is over");
  for (int i = 0; i < 500 && api->num_completions() > 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  http.reset();
}

Answer Served::answer(const std::string& request) const {
  HttpClient client(port());
  client.send(request);
  return client.read_answer();
}

Json error_of(const Answer& answer) {
  const Json object = Json::parse(answer.body);
  REQUIRE(object.contains("error"));
  const Json& error = object["error"];
  for (const char* key : {"message", "type", "param", "code"}) REQUIRE(error.contains(key));
  return error;
}

Json Served::complete(const std::string& body, const std::string& path) const {
  const Answer answered = answer(post(path, body));
  INFO(answered.body);
  REQUIRE(answered.status == 200);
  return Json::parse(answered.body);
}

std::vector<Json> Served::stream(const std::string& body, const std::string& path) const {
  const Answer answered = answer(post(path, body));
  INFO(answered.body);
  REQUIRE(answered.status == 200);
  REQUIRE(answered.headers.at("content-type") == "text/event-stream; charset=utf-8");
  std::vector<std::string> data = events(answered.body);
  REQUIRE(!data.empty());
  REQUIRE(data.back() == "[DONE]");
  data.pop_back();
  std::vector<Json> chunks;
  for (const std::string& chunk : data) chunks.push_back(Json::parse(chunk));
  return chunks;
}

bool Served::becomes_idle() const {
  for (int i = 0; i < (test::kSanitized ? 3000 : 100); ++i) {
    if (engine->load().running == 0 && engine->load().waiting == 0) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

}  // namespace ttt::server
