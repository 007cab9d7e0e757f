// SPDX-License-Identifier: Apache-2.0
// Comparing long rows of numbers bit by bit. Catch2 prints both sides of a comparison of vectors, which takes
// it minutes where they are long; of this one it prints a line:
//   CHECK(test::same_bits(found, wanted));
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <ostream>
#include <span>
#include <sstream>
#include <string>
#include <type_traits>
#include <utility>

namespace ttt::test {

// True where nothing differs; prints what does.
class SameBits {
 public:
  explicit SameBits(std::string difference) : difference_(std::move(difference)) {}
  operator bool() const { return difference_.empty(); }
  friend std::ostream& operator<<(std::ostream& out, const SameBits& same) {
    return out << (same ? "the same bits" : same.difference_);
  }

 private:
  std::string difference_;
};

namespace detail {

template <typename T>
void print_value(std::ostream& out, const T& value) {
  if constexpr (std::is_floating_point_v<T>) {
    out.precision(std::numeric_limits<T>::max_digits10);
    out << value;
  } else {
    out << static_cast<long long>(value);  // also a byte
  }
}

// Of `num_different` elements, the first of which is number `first`.
template <typename T>
std::string describe(std::span<const T> found, std::span<const T> wanted, std::size_t num_different,
                     std::size_t first) {
  std::ostringstream text;
  text << num_different << " of " << wanted.size() << " differ, the first is number " << first;
  if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T>) {
    text << ": ";
    print_value(text, found[first]);
    text << ", not ";
    print_value(text, wanted[first]);
  }
  if constexpr (std::is_floating_point_v<T>) {
    double largest = 0.0;  // NaN beside a number is as far as can be
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      if (std::memcmp(&found[i], &wanted[i], sizeof(T)) == 0) continue;
      const double difference = std::abs(static_cast<double>(found[i]) - static_cast<double>(wanted[i]));
      largest =
          std::isnan(difference) ? std::numeric_limits<double>::infinity() : std::max(largest, difference);
    }
    text << "; by at most " << largest;
  }
  return text.str();
}

template <typename T>
SameBits compare_bits(std::span<const T> found, std::span<const T> wanted) {
  if (found.size() != wanted.size()) {
    return SameBits(std::to_string(found.size()) + " elements, not " + std::to_string(wanted.size()));
  }
  std::size_t num_different = 0, first = 0;
  for (std::size_t i = wanted.size(); i-- > 0;) {
    if (std::memcmp(&found[i], &wanted[i], sizeof(T)) == 0) continue;
    ++num_different;
    first = i;
  }
  return SameBits(num_different == 0 ? std::string() : describe(found, wanted, num_different, first));
}

}  // namespace detail

// NaN of the same bits equals itself, 0 differs from -0. Elements are numbers, bytes or structs without
// padding.
template <typename Found, typename Wanted>
SameBits same_bits(const Found& found, const Wanted& wanted) {
  const std::span found_span(found);
  const std::span wanted_span(wanted);
  using T = std::remove_const_t<typename decltype(wanted_span)::element_type>;
  static_assert(std::is_same_v<T, std::remove_const_t<typename decltype(found_span)::element_type>>);
  static_assert(std::is_trivially_copyable_v<T>);
  return detail::compare_bits<T>(found_span, wanted_span);
}

}  // namespace ttt::test
