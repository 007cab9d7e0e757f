// SPDX-License-Identifier: Apache-2.0
// The one table of what the HTTP interface has: used to find a route, to count its requests, and to describe
// it in GET /openapi.json.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace ttt::server {

struct Route {
  enum class Body : std::uint8_t { kNone, kCompletion, kChat, kScore, kTokenize, kDetokenize };
  enum class Answer : std::uint8_t { kJson, kJsonOrStream, kText, kPage };
  const char* path;  // ends with '/': the rest is a name
  const char* method;
  const char* about;
  Body body = Body::kNone;
  Answer answer = Answer::kJson;
  bool is_public = false;  // asks for no key

  bool takes_name() const;
  std::string pattern() const;  // "/v1/models/{id}"
};

std::span<const Route> all_routes();
const Route* find_route(std::string_view path);  // null: there is none

}  // namespace ttt::server
