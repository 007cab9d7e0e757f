// SPDX-License-Identifier: Apache-2.0
#include "weights/strided_view.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>
#include <numeric>
#include <random>

namespace ttt::weights {
namespace {

constexpr std::uint64_t kHuge = std::uint64_t{1} << 63;

// The places of all elements, in dense order, straight from the definition.
std::vector<std::uint64_t> places_of(const StridedView& view) {
  std::vector<std::uint64_t> places = {view.offset};
  for (std::size_t axis = 0; axis < view.shape.size(); ++axis) {
    std::vector<std::uint64_t> longer;
    for (const std::uint64_t place : places) {
      for (std::uint64_t i = 0; i < view.shape[axis]; ++i) longer.push_back(place + i * view.strides[axis]);
    }
    places = longer;
  }
  return places;
}

template <typename Element>
void check_copy(const StridedView& view, std::mt19937& random) {
  std::vector<Element> storage(*end_of(view) + 3);
  std::iota(storage.begin(), storage.end(), Element{1});
  std::vector<Element> wanted;
  for (const std::uint64_t place : places_of(view)) wanted.push_back(storage[place]);
  std::vector<Element> found(wanted.size());
  for (std::size_t at = 0; at < storage.size();) {
    const std::size_t size =
        std::min(storage.size() - at, std::uniform_int_distribution<std::size_t>(1, 17)(random));
    copy_strided(view, sizeof(Element), at, std::as_bytes(std::span(storage).subspan(at, size)),
                 std::as_writable_bytes(std::span(found)));
    at += size;
  }
  CHECK(found == wanted);
}

TEST_CASE("strided view: any view is laid out as its definition says, in pieces of any size") {
  std::mt19937 random(7);
  const auto below = [&](int limit) { return std::uniform_int_distribution(0, limit - 1)(random); };
  int dense = 0;
  for (int round = 0; round < 300; ++round) {
    // A dense tensor of extents larger than the view's, its axes then permuted: slices and transpositions.
    StridedView view{.offset = static_cast<std::uint64_t>(below(9)), .shape = {}, .strides = {}};
    std::uint64_t stride = static_cast<std::uint64_t>(1 + below(4) / 3);
    for (int axis = below(5); axis > 0; --axis) {
      const auto extent = static_cast<std::uint64_t>(1 + below(6));
      view.shape.insert(view.shape.begin(), extent);
      view.strides.insert(view.strides.begin(), stride);
      stride *= extent + static_cast<std::uint64_t>(below(4) / 3);
    }
    for (std::size_t axis = view.shape.size(); axis > 1 && below(2) == 0; --axis) {
      const auto other = static_cast<std::size_t>(below(static_cast<int>(axis)));
      std::swap(view.shape[axis - 1], view.shape[other]);
      std::swap(view.strides[axis - 1], view.strides[other]);
    }
    CAPTURE(view.offset, view.shape, view.strides);
    const std::vector<std::uint64_t> places = places_of(view);
    REQUIRE(end_of(view));
    CHECK(*end_of(view) == *std::ranges::max_element(places) + 1);
    std::vector<std::uint64_t> consecutive(places.size());
    std::iota(consecutive.begin(), consecutive.end(), view.offset);
    CHECK(is_dense(view) == (places == consecutive));
    dense += is_dense(view) ? 1 : 0;
    check_copy<std::uint8_t>(view, random);
    check_copy<std::uint16_t>(view, random);
    check_copy<std::uint32_t>(view, random);
    check_copy<std::uint64_t>(view, random);
  }
  CHECK((dense > 20 && dense < 280));
}

TEST_CASE("strided view: a view without elements ends where it begins") {
  CHECK(end_of({5, {0}, {1}}) == 5U);
  CHECK(end_of({5, {kHuge, 0, kHuge}, {kHuge, kHuge, 0}}) == 5U);
  CHECK(end_of({5, {}, {}}) == 6U);  // a scalar has one
  copy_strided({0, {0}, {1}}, 4, 0, {}, {});
}

TEST_CASE("strided view: elements that share a place and places beyond 64 bits are refused") {
  CHECK_FALSE(end_of({0, {2}, {0}}));
  CHECK_FALSE(end_of({0, {kHuge}, {0}}));
  CHECK_FALSE(end_of({0, {3, 4}, {1, 1}}));
  CHECK_FALSE(end_of({0, {3, 4}, {3, 1}}));
  CHECK(end_of({0, {3, 4}, {4, 1}}) == 12U);
  CHECK(end_of({0, {1, 4}, {0, 1}}) == 4U);  // an axis of one has no step to take
  CHECK_FALSE(end_of({0, {2, 2}, {kHuge, kHuge}}));
  CHECK_FALSE(end_of({0, {3}, {kHuge}}));
  CHECK_FALSE(end_of({2, {2}, {~std::uint64_t{0} - 1}}));
  CHECK_FALSE(end_of({~std::uint64_t{0}, {}, {}}));
}

}  // namespace
}  // namespace ttt::weights
