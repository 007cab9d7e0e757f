// SPDX-License-Identifier: Apache-2.0
// JAX checkpoints byte by byte, as Flax and msgpack-python encode them.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ttt::test {

// The header of a string, binary or extension value of this many bytes, in the shortest form.
inline std::string msgpack_sized(std::uint64_t size, std::uint8_t lead_8, std::uint8_t lead_16,
                                 std::uint8_t lead_32) {
  const int width = size <= 0xff ? 1 : size <= 0xffff ? 2 : 4;
  std::string bytes(1, static_cast<char>(width == 1 ? lead_8 : width == 2 ? lead_16 : lead_32));
  for (int i = width - 1; i >= 0; --i) bytes.push_back(static_cast<char>(size >> (8 * i)));
  return bytes;
}
inline std::string msgpack_binary(std::string_view content) {
  return msgpack_sized(content.size(), 0xc4, 0xc5, 0xc6) + std::string(content);
}
inline std::string msgpack_extension(std::int8_t kind, std::string_view content) {
  return msgpack_sized(content.size(), 0xc7, 0xc8, 0xc9) + std::string(1, static_cast<char>(kind)) +
         std::string(content);
}
inline std::string msgpack_string(std::string_view text) {
  if (text.size() < 32) return std::string(1, static_cast<char>(0xa0 | text.size())) + std::string(text);
  return msgpack_sized(text.size(), 0xd9, 0xda, 0xdb) + std::string(text);
}
inline std::string msgpack_unsigned(std::uint64_t value) {
  if (value < 128) return std::string(1, static_cast<char>(value));
  std::string bytes(1, '\xcf');
  for (int i = 7; i >= 0; --i) bytes.push_back(static_cast<char>(value >> (8 * i)));
  return bytes;
}
// Up to 15 values or pairs.
inline std::string msgpack_array(const std::vector<std::string>& values) {
  if (values.size() > 15) throw std::invalid_argument("msgpack_array: too long");
  std::string bytes(1, static_cast<char>(0x90 | values.size()));
  for (const std::string& value : values) bytes += value;
  return bytes;
}
inline std::string msgpack_map(const std::vector<std::pair<std::string, std::string>>& pairs) {
  if (pairs.size() > 15) throw std::invalid_argument("msgpack_map: too long");
  std::string bytes(1, static_cast<char>(0x80 | pairs.size()));
  for (const auto& [key, value] : pairs) bytes += msgpack_string(key) + value;
  return bytes;
}

// An array as Flax writes it: extension 1 of shape, type and bytes.
inline std::string jax_array(const std::vector<std::uint64_t>& shape, std::string_view dtype,
                             std::string_view data) {
  std::vector<std::string> extents;
  for (const std::uint64_t extent : shape) extents.push_back(msgpack_unsigned(extent));
  return msgpack_extension(
      1, msgpack_array({msgpack_array(extents), msgpack_string(dtype), msgpack_binary(data)}));
}

inline std::string jax_record(const std::vector<std::string>& path, std::string_view payload) {
  std::vector<std::string> components;
  for (const std::string& component : path) components.push_back(msgpack_string(component));
  return msgpack_array({msgpack_array(components), msgpack_binary(payload)});
}

// A train state of three parameters (one of them in chunks), a step count and an optimizer's moments.
inline std::string sample_jax_stream() {
  const std::string chunked =
      msgpack_map({{"__msgpack_chunked_array__", "\xc3"},
                   {"shape", msgpack_map({{"0", "\x02"}, {"1", "\x03"}})},
                   {"chunks", msgpack_map({{"1", jax_array({2}, "float32", std::string(8, 'b'))},
                                           {"0", jax_array({4}, "float32", std::string(16, 'a'))}})}});
  return jax_record({"step"}, jax_array({}, "int32", std::string("\x03\0\0\0", 4))) +
         jax_record({"params", "params", "model", "h", "0", "norm/scale"},
                    jax_array({2, 3}, "bfloat16", "0123456789ab")) +
         jax_record({"params", "params", "model", "wte"}, chunked) +
         jax_record({"params", "params", "model", "z"}, jax_array({0, 5}, "int64", "")) +
         jax_record({"opt_state", "1", "0", "mu", "params", "model", "wte"},
                    jax_array({2}, "float32", "moments."));
}

}  // namespace ttt::test
