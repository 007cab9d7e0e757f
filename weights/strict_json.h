// SPDX-License-Identifier: Apache-2.0
// JSON from strangers: depth at most limits::kMaxJsonDepth, no duplicate keys, finite numbers, valid UTF-8,
// and nothing after the end, not even behind a NUL. Integers that do not fit 64 bits are refused, never
// rounded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "weights/limits.h"

namespace ttt::weights {

using JsonScalar = std::variant<std::nullptr_t, bool, std::int64_t, std::uint64_t, double, std::string>;

// Told what stands in a text, in order, after the rules above were checked: memory for a large text is then
// the listener's business. A non-negative integer arrives as uint64, a negative one as int64.
class JsonListener {
 public:
  virtual ~JsonListener() = default;
  virtual void begin_object() = 0;
  virtual void begin_array() = 0;
  virtual void end() = 0;  // of the innermost open object or array
  virtual void key(std::string name) = 0;
  virtual void scalar(JsonScalar value) = 0;
};

struct JsonRules {
  std::size_t max_string_bytes = limits::kMaxJsonStringBytes;
  std::string_view remedy = "The file is damaged or not what its name says: download or write it again.";
};

// A text as a JSON string, in quotes. REQUIRES: UTF-8.
std::string json_quoted(std::string_view text);

// Throws CheckpointError naming `file` and the byte where it went wrong.
void parse_strict_json(std::string_view text, std::string_view file, JsonListener& listener,
                       const JsonRules& rules = {});

// Passes everything on to an object with the members of a JsonListener that is none, because its folder does
// not know this one.
template <typename Target>
class ForwardingListener final : public JsonListener {
 public:
  explicit ForwardingListener(Target& target) : target_(target) {}
  void begin_object() override { target_.begin_object(); }
  void begin_array() override { target_.begin_array(); }
  void end() override { target_.end(); }
  void key(std::string name) override { target_.key(std::move(name)); }
  void scalar(JsonScalar value) override { target_.scalar(std::move(value)); }

 private:
  Target& target_;
};

}  // namespace ttt::weights
