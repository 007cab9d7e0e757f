// SPDX-License-Identifier: Apache-2.0
// An answer that is an error, in OpenAI's shape.
#pragma once

#include <optional>
#include <stdexcept>
#include <string>

#include "server/http.h"
#include "weights/checkpoint_error.h"

namespace ttt::server {

struct ApiError : std::runtime_error {
  ApiError(unsigned status_code, std::string error_code, const std::string& message,
           std::optional<std::string> parameter = {})
      : std::runtime_error(message),
        status(status_code),
        code(std::move(error_code)),
        param(std::move(parameter)) {}

  unsigned status;
  std::string code;                  // "invalid_value"
  std::optional<std::string> param;  // the field at fault
};

// The engine runs nothing more; `fault` is its sentence.
ApiError device_lost(const std::string& fault);

// What is wrong with a text that is no JSON, without the JSON library's names for it.
std::string json_fault(const weights::CheckpointError& error);

// OpenAI's word for a class of errors: "invalid_request_error", ...
const char* error_type(unsigned status);

HttpResponse to_response(const ApiError& error);
// The object alone, on one line: {"error": ...}.
std::string to_json(const ApiError& error);

}  // namespace ttt::server
