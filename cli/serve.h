// SPDX-License-Identifier: Apache-2.0
// `ttt serve`: a model behind HTTP, from start to shut-down.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/open_model.h"

namespace ttt::cli {

struct ServeOptions {
  ModelOptions model;
  std::string host = "127.0.0.1";
  std::int64_t port = 8080;
  std::optional<std::string> socket;          // a Unix socket instead of TCP
  std::vector<std::string> names;             // empty: the file's name without its ending
  std::vector<std::string> preloaded_states;  // "NAME=FILE" each
  std::optional<std::string> chat_template;   // a name, or a file with a known text; empty: the model's own
  std::vector<std::string> api_keys;
  std::optional<std::string> api_key_file;  // one a line
  bool allow_unauthenticated = false;
  bool metrics_open = false;
  std::vector<std::string> allowed_hosts;
  std::vector<std::string> cors_origins;

  std::int64_t max_num_seqs = 0;  // 0: as many as memory allows, 64 at most
  std::int64_t max_queue = 1024;
  std::int64_t max_prompt_tokens = 0;
  std::int64_t max_output_tokens = 0;
  std::int64_t max_logprobs = 20;
  std::int64_t max_stop = 16;
  std::int64_t max_body = 32 << 20;
  bool strict_fields = false;
  double request_timeout = 0.0;     // seconds; 0: none
  double shutdown_timeout = 30.0;   // seconds
  double sse_ping = 15.0;           // seconds
  std::string log_format = "text";  // "json", "none"
};

int serve(const ServeOptions& options);

}  // namespace ttt::cli
