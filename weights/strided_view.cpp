// SPDX-License-Identifier: Apache-2.0
#include "weights/strided_view.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "weights/checked.h"
#include "weights/limits.h"

namespace ttt::weights {
namespace {

struct Axis {
  std::uint64_t extent = 0;
  std::uint64_t stride = 0;  // in the storage
  std::uint64_t step = 0;    // in the dense tensor
  std::uint64_t inner = 0;   // how far the axes after this one reach in the storage
};

// Those that move, the widest stride first.
std::vector<Axis> axes_of(const StridedView& view) {
  std::vector<Axis> axes;
  std::uint64_t step = 1;
  for (std::size_t i = view.shape.size(); i-- > 0;) {
    if (view.shape[i] > 1) axes.push_back({view.shape[i], view.strides[i], step, 0});
    step *= view.shape[i];
  }
  std::ranges::stable_sort(axes, std::ranges::greater(), &Axis::stride);
  return axes;
}

bool has_elements(const StridedView& view) { return std::ranges::find(view.shape, 0U) == view.shape.end(); }

template <typename Element>
class Copier {
 public:
  Copier(std::vector<Axis> axes, std::uint64_t first, std::span<const std::byte> piece, std::byte* dense)
      : axes_(std::move(axes)),
        first_(first),
        end_(first + piece.size() / sizeof(Element)),
        piece_(piece.data()),
        dense_(dense) {
    std::uint64_t inner = 0;
    for (std::size_t i = axes_.size(); i-- > 0;) {
      axes_[i].inner = inner;
      inner += (axes_[i].extent - 1) * axes_[i].stride;
    }
  }

  // Axes from `level` on, at element `from` of the storage and `to` of the dense tensor.
  void copy(std::size_t level, std::uint64_t from, std::uint64_t to) const {
    if (level == axes_.size()) {
      if (from >= first_ && from < end_) copy_element(from, to);
      return;
    }
    const Axis& axis = axes_[level];
    if (from >= end_) return;
    // The indices whose elements [from + i stride, from + i stride + inner] meet the piece.
    const std::uint64_t reach = from + axis.inner;
    const std::uint64_t begin = reach >= first_ ? 0 : (first_ - reach + axis.stride - 1) / axis.stride;
    const std::uint64_t end = std::min(axis.extent, (end_ - 1 - from) / axis.stride + 1);
    const bool last = level + 1 == axes_.size();
    for (std::uint64_t i = begin; i < end; ++i) {
      const std::uint64_t place = from + i * axis.stride;
      const std::uint64_t dense = to + i * axis.step;
      if (last) {
        copy_element(place, dense);
      } else {
        copy(level + 1, place, dense);
      }
    }
  }

 private:
  void copy_element(std::uint64_t from, std::uint64_t to) const {
    std::memcpy(dense_ + to * sizeof(Element), piece_ + (from - first_) * sizeof(Element), sizeof(Element));
  }

  std::vector<Axis> axes_;
  std::uint64_t first_;
  std::uint64_t end_;
  const std::byte* piece_;
  std::byte* dense_;
};

template <typename Element>
void copy_elements(const StridedView& view, std::uint64_t first, std::span<const std::byte> piece,
                   std::span<std::byte> dense) {
  Copier<Element>(axes_of(view), first, piece, dense.data()).copy(0, view.offset, 0);
}

}  // namespace

std::optional<std::uint64_t> end_of(const StridedView& view) {
  if (!has_elements(view)) return view.offset;
  std::vector<Axis> axes = axes_of(view);
  std::uint64_t span = 0;
  for (std::size_t i = axes.size(); i-- > 0;) {
    if (axes[i].stride <= span) return std::nullopt;  // the next index comes before the inner axes have ended
    const auto reach = checked_mul(axes[i].extent - 1, axes[i].stride);
    const auto sum = reach ? checked_add(span, *reach) : std::nullopt;
    if (!sum) return std::nullopt;
    span = *sum;
  }
  const auto last = checked_add(view.offset, span);
  return last ? checked_add(*last, 1) : std::nullopt;
}

bool is_dense(const StridedView& view) {
  std::uint64_t step = 1;
  for (std::size_t i = view.shape.size(); i-- > 0;) {
    if (view.shape[i] > 1 && view.strides[i] != step) return false;
    step *= view.shape[i];
  }
  return true;
}

void copy_strided(const StridedView& view, std::size_t element_bytes, std::uint64_t first,
                  std::span<const std::byte> piece, std::span<std::byte> dense) {
  if (!has_elements(view)) return;
  switch (element_bytes) {
    case 1:
      return copy_elements<std::uint8_t>(view, first, piece, dense);
    case 2:
      return copy_elements<std::uint16_t>(view, first, piece, dense);
    case 4:
      return copy_elements<std::uint32_t>(view, first, piece, dense);
    default:
      return copy_elements<std::uint64_t>(view, first, piece, dense);
  }
}

}  // namespace ttt::weights
