// SPDX-License-Identifier: Apache-2.0
// What the server counts and times, in Prometheus' text format. Names follow vLLM's, with the prefix "ttt:",
// so that its dashboards can be used. Any thread.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "engine/engine.h"
#include "engine/token_stream.h"
#include "server/served_model.h"

namespace ttt::server {

class Metrics {
 public:
  explicit Metrics(const ServedModel& model);
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  void set_build_info(const ServedModel& model);  // once, when all of it is known
  void http_request(std::string_view path, std::string_view method, unsigned status);
  // Of each choice, when it has ended.
  void choice_finished(const Finish& finish, std::size_t prompt_tokens, std::size_t completion_tokens,
                       bool is_first_choice);
  void tokens_generated(std::size_t count);
  // So long after the choice's token before; several came together.
  void tokens_followed(double seconds, std::size_t count);
  void prompt_tokens_read(std::size_t count);

  // `load` is asked for the figures that change by themselves.
  std::string text(const Engine::Load& load) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ttt::server
