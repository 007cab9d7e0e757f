// SPDX-License-Identifier: Apache-2.0
// Size arithmetic that cannot wrap. Every count, offset and product that comes from a file goes
// through these; an empty result means "does not fit in 64 bits" and the caller refuses the file.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace ttt::weights {

inline std::optional<std::uint64_t> checked_add(std::uint64_t a, std::uint64_t b) {
  std::uint64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

inline std::optional<std::uint64_t> checked_mul(std::uint64_t a, std::uint64_t b) {
  std::uint64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

// Product of all extents; 1 for an empty list (a scalar).
inline std::optional<std::uint64_t> checked_product(std::span<const std::uint64_t> extents) {
  std::uint64_t product = 1;
  for (const std::uint64_t extent : extents) {
    if (__builtin_mul_overflow(product, extent, &product)) return std::nullopt;
  }
  return product;
}

// Smallest multiple of `alignment` that is >= value. REQUIRES: alignment is a power of two.
inline std::optional<std::uint64_t> checked_align_up(std::uint64_t value, std::uint64_t alignment) {
  const auto padded = checked_add(value, alignment - 1);
  if (!padded) return std::nullopt;
  return *padded & ~(alignment - 1);
}

// True if [offset, offset + size) lies inside [0, limit).
inline bool range_fits(std::uint64_t offset, std::uint64_t size, std::uint64_t limit) {
  return size <= limit && offset <= limit - size;
}

}  // namespace ttt::weights
