// SPDX-License-Identifier: Apache-2.0
// A fault in what a client asked for, as opposed to a broken file or a bug: it is told to the client, with
// the name of the parameter.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace ttt {

class RequestError : public std::runtime_error {
 public:
  RequestError(std::string parameter_name, const std::string& message)
      : std::runtime_error(message), parameter(std::move(parameter_name)) {}

  std::string parameter;  // "top_p"
};

}  // namespace ttt
