// SPDX-License-Identifier: Apache-2.0
#include "tests/contract/backend_contract.h"

#include <exception>

#include "tests/contract/driver.h"

namespace ttt::contract {

const std::vector<Check>& all_checks() {
  static const std::vector<Check> checks = [] {
    std::vector<Check> all;
    for (const auto& list :
         {state_checks, exactness_checks, result_checks, refusal_checks, allocation_checks}) {
      for (Check& check : list()) all.push_back(std::move(check));
    }
    return all;
  }();
  return checks;
}

std::optional<std::string> first_violation(const Check& check, const Subject& subject) {
  try {
    check.run(subject);
    return std::nullopt;
  } catch (const Violation& violation) {
    return violation.what();
  } catch (const std::exception& error) {
    return fmt::format("unexpected exception: {}", error.what());
  }
}

}  // namespace ttt::contract
