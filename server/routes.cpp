// SPDX-License-Identifier: Apache-2.0
#include "server/routes.h"

namespace ttt::server {
namespace {

using Body = Route::Body;
using Answer = Route::Answer;

constexpr Route kRoutes[] = {
    {"/v1/completions", "POST", "Continue one or more prompts.", Body::kCompletion, Answer::kJsonOrStream},
    {"/v1/chat/completions", "POST", "Answer a conversation.", Body::kChat, Answer::kJsonOrStream},
    {"/v1/score", "POST", "Log-probabilities of given continuations of a prompt.", Body::kScore},
    {"/v1/models", "GET", "The names that are served."},
    {"/v1/models/", "GET", "One of them."},
    {"/v1/states", "GET", "The states that completions may go on from."},
    {"/tokenize", "POST", "The token ids of a text.", Body::kTokenize},
    {"/detokenize", "POST", "The text of token ids.", Body::kDetokenize},
    {"/tokenizer_info", "GET", "The special tokens."},
    {"/health", "GET", "Whether requests are taken.", Body::kNone, Answer::kJson, true},
    {"/health/live", "GET", "Whether the process answers.", Body::kNone, Answer::kJson, true},
    {"/health/ready", "GET", "Whether requests are taken.", Body::kNone, Answer::kJson, true},
    {"/ping", "GET", "Whether the process answers.", Body::kNone, Answer::kJson, true},
    {"/metrics", "GET", "Counts and times for Prometheus.", Body::kNone, Answer::kText},
    {"/version", "GET", "What runs here."},
    {"/v1/capacity", "GET", "Slots, running and waiting requests."},
    {"/v1/requests", "GET", "What runs now."},
    {"/v1/requests/", "DELETE", "End one request, by its id or its X-Request-Id."},
    {"/openapi.json", "GET", "This description."},
    {"/", "GET", "A page to try it.", Body::kNone, Answer::kPage, true},
};

}  // namespace

bool Route::takes_name() const {
  const std::string_view known = path;
  return known.size() > 1 && known.ends_with('/');
}

std::string Route::pattern() const { return takes_name() ? std::string(path) + "{id}" : path; }

std::span<const Route> all_routes() { return kRoutes; }

const Route* find_route(std::string_view path) {
  for (const Route& route : kRoutes) {
    const std::string_view known = route.path;
    if (route.takes_name() ? path.starts_with(known) && path.size() > known.size() : path == known) {
      return &route;
    }
  }
  return nullptr;
}

}  // namespace ttt::server
