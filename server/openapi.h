// SPDX-License-Identifier: Apache-2.0
// The description of the HTTP interface that GET /openapi.json gives, made of the tables that serve it.
#pragma once

#include <string>
#include <string_view>

namespace ttt::server {

// OpenAPI 3.1. `version`: of the program.
std::string openapi_json(std::string_view version);

}  // namespace ttt::server
