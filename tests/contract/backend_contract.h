// SPDX-License-Identifier: Apache-2.0
// The contract of engine/backend.h as a list of named checks, one per sentence, which run on any backend
// and any model. Programs that run them link allocation_counter.cpp.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/backend.h"
#include "engine/model.h"

namespace ttt::contract {

using BackendFactory = std::function<std::unique_ptr<Backend>(
    const Model& model, std::size_t num_slots, std::size_t max_batch_tokens, std::size_t max_logits_rows,
    std::size_t num_threads)>;

// What is checked: a kind of backend, on a model that outlives the check. A model that tells much has two
// layers, all switches on, and two ids with equal rows in the output head (then their logits tie).
struct Subject {
  const Model& model;
  BackendFactory make;
};

struct Check {
  std::string name;
  // Throws on the first violation; see first_violation().
  std::function<void(const Subject&)> run;
};

// Empty if the subject keeps the contract.
std::optional<std::string> first_violation(const Check& check, const Subject& subject);

const std::vector<Check>& all_checks();

// The preconditions of submit(), each broken by its check "refuses: <name>".
std::vector<std::string> submit_preconditions();

}  // namespace ttt::contract
