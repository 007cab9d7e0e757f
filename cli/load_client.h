// SPDX-License-Identifier: Apache-2.0
// Sends the requests of a load test to an OpenAI-style server, many at once on one thread, and notes when
// each token arrives. The only file that knows libcurl.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/answer_reader.h"
#include "cli/load_plan.h"
#include "cli/load_report.h"

namespace ttt::cli {

struct LoadTarget {
  std::string url;                         // up to and with "/v1"
  std::optional<std::string> socket = {};  // a Unix socket that leads there
  std::string api_key = {};                // empty: none is sent
  std::string model = {};
  double timeout = 600.0;  // seconds, of a request
};

// The server cannot be reached, or does not answer as such a server does.
class LoadError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// "http://host:8080", with or without "/v1" or a slash behind. Throws UsageError.
std::string api_url(std::string_view url);

// The first of GET /models. Throws LoadError.
ListedModel first_model(const LoadTarget& target);

struct LoadLimits {
  std::size_t requests = 0;     // 0: any number
  double seconds = 0.0;         // from which on none is sent; 0: none
  std::size_t concurrency = 0;  // 0: any
};

class LoadClient {
 public:
  // `make_body` writes a request as JSON.
  using MakeBody = std::function<std::string(const PlannedRequest&)>;
  explicit LoadClient(LoadTarget target, MakeBody make_body)
      : target_(std::move(target)), make_body_(std::move(make_body)) {}

  struct Result {
    std::vector<LoadOutcome> outcomes;  // in the order of their ends
    double seconds = 0.0;               // to the end of the last
    bool interrupted = false;           // what was running then is not among them
  };
  // `progress` is called often, with how many have ended and how many run.
  Result run(LoadPlan& plan, const LoadLimits& limits,
             const std::function<void(std::size_t ended, std::size_t running)>& progress) const;

 private:
  LoadTarget target_;
  MakeBody make_body_;
};

}  // namespace ttt::cli
