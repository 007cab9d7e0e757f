// SPDX-License-Identifier: Apache-2.0
// The one table of the fields of a request for completions: names, kinds, where their values go, and a few
// words for the interface's description. Reading them is completion_fields.cpp's.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "server/completion_fields.h"

namespace ttt::server {

struct Field {
  enum class Kind : std::uint8_t {
    kId,
    kPrompt,
    kMessages,
    kInteger,
    kNumber,
    kBool,
    kText,
    kIds,
    kTexts,
    kBiases,
    kStreamOptions,
    kAnything,  // accepted, without effect
    kOneWay,    // of what it can say, only `words`, and nothing, are done here; all else is refused
  };
  const char* name;
  Kind kind;
  std::uint8_t sets;  // of FieldSet, a bit for each
  const char* about;
  // Where the value goes, by kind.
  void (*set_integer)(CompletionFields& fields, std::int64_t value) = nullptr;
  float* (*number)(CompletionFields& fields) = nullptr;
  bool* (*flag)(CompletionFields& fields) = nullptr;
  std::string* (*text)(CompletionFields& fields) = nullptr;
  std::vector<TokenId>* (*ids)(CompletionFields& fields) = nullptr;
  std::vector<Prompt>* (*prompts)(CompletionFields& fields) = nullptr;
  std::vector<const char*> words = {};
  const char* limits = "";  // of a number, or of each text, as members of a JSON schema

  bool is_in(FieldSet set) const { return (sets >> static_cast<unsigned>(set) & 1U) != 0; }
  bool is_seed() const;
};

std::span<const Field> all_fields();

// "an integer", for messages.
const char* wanted(const Field& field, FieldSet set);

}  // namespace ttt::server
