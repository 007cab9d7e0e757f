// SPDX-License-Identifier: Apache-2.0
#include "engine/compare_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "engine/tensor_pieces.h"
#include "weights/checkpoint_error.h"
#include "weights/element_type.h"
#include "weights/k_quantise.h"

namespace ttt {
namespace {

using weights::DType;
using weights::TensorView;

// One weight in both.
class Pair {
 public:
  Pair(const Model& source_model, const TensorView& source, const Model& written_model,
       const TensorView& written)
      : source_model_(source_model), source_(source), written_model_(written_model), written_(written) {}

  void check_kind(DType type) const {
    const auto describe = [](std::string_view name, DType dtype, const weights::Shape& shape) {
      return fmt::format("{} {} {}", name, weights::dtype_info(dtype).name, weights::to_string(shape));
    };
    const std::string wanted = describe(source_.name, type, source_.shape);
    const std::string found = describe(written_.name, written_.dtype, written_.shape);
    if (wanted != found) refuse(wanted, found);
  }

  void compare(WeightsComparison& result, const std::function<void(std::uint64_t)>& read) {
    std::vector<std::byte> fetched;
    const bool same_type = source_.dtype == written_.dtype;
    bool rounded = false;
    for_each_piece_as(with_bytes(source_model_, source_, fetched), written_.dtype,
                      [&](std::span<const std::byte> before, std::span<const std::byte> again) {
                        const auto found = written_.bytes.subspan(done_, again.size());
                        check_bytes(again, found);
                        if (!same_type) rounded |= compare_values(before, found, result);
                        if (source_model_.release) source_model_.release(before);
                        if (written_model_.release) written_model_.release(found);
                        done_ += again.size();
                        read(before.size());
                        return true;
                      });
    ++result.tensors;
    if (rounded) ++result.rounded;
  }

 private:
  void check_bytes(std::span<const std::byte> wanted, std::span<const std::byte> found) const {
    const auto [mine, other] = std::ranges::mismatch(wanted, found);
    if (mine == wanted.end()) return;
    const auto at = static_cast<std::size_t>(mine - wanted.begin());
    refuse(fmt::format("byte {:#04x} at {}", std::to_integer<unsigned>(*mine), done_ + at),
           fmt::format("{:#04x}", std::to_integer<unsigned>(*other)));
  }

  // True if a value is not the source's.
  bool compare_values(std::span<const std::byte> source, std::span<const std::byte> written,
                      WeightsComparison& result) {
    const weights::DTypeInfo& info = weights::dtype_info(source_.dtype);
    before_.resize(source.size() / info.block_bytes * info.block_elements);
    after_.resize(before_.size());
    weights::to_floats(source_.dtype, source, before_);
    weights::to_floats(written_.dtype, written, after_);
    const std::size_t block = weights::dtype_info(written_.dtype).block_elements;
    bool rounded = false;
    for (std::size_t first = 0; first < before_.size(); first += block) {
      double largest = 0.0;
      for (std::size_t i = first; i < first + block; ++i) {
        largest = std::max(largest, std::abs(static_cast<double>(before_[i])));
      }
      for (std::size_t i = first; i < first + block; ++i) {
        // NaN and infinity stay what they are in plain types; conversion refuses them in blocks.
        if (before_[i] == after_[i] || (std::isnan(before_[i]) && std::isnan(after_[i]))) continue;
        rounded = true;
        const auto value = static_cast<double>(before_[i]);
        const double bound = rounding_bound(written_.dtype, value, largest);
        const double error = std::abs(static_cast<double>(after_[i]) - value);
        if (!(error <= bound)) {
          refuse(fmt::format("{} within {:.3g}", before_[i], bound), fmt::format("{}", after_[i]));
        }
        result.worst_rounding = std::max(result.worst_rounding, error / bound);
      }
    }
    return rounded;
  }

  [[noreturn]] void refuse(std::string_view wanted, std::string_view found) const {
    weights::refuse({.file = written_model_.source,
                     .where = source_.name,
                     .wanted = wanted,
                     .found = found,
                     .remedy =
                         "The disk, the memory or this program is at fault: convert again, and report it "
                         "if it happens again."});
  }

  const Model& source_model_;
  const TensorView& source_;
  const Model& written_model_;
  const TensorView& written_;
  std::uint64_t done_ = 0;  // bytes of `written_`
  std::vector<float> before_, after_;
};

}  // namespace

double rounding_bound(DType type, double value, double largest) {
  constexpr double kF16 = 0x1p-11, kF16Smallest = 0x1p-25;  // half a step: relative, and of subnormal numbers
  switch (type) {
    case DType::kF16:
      return std::abs(value) * kF16 + kF16Smallest;
    case DType::kBF16:
      return std::abs(value) * 0x1p-8 + 0x1p-134;
    case DType::kQ8_0:  // steps of largest / 127, whose number is F16
      return largest / 254.0 + largest * kF16 + 127.0 * kF16Smallest;
    case DType::kQ4_0:  // steps of largest / 8 from -8 to 7: a whole one where +8 is wanted
      return largest / 8.0 + largest * kF16 + 8.0 * kF16Smallest;
    case DType::kQ4_K:
    case DType::kQ6_K:
      return weights::k_type_error(type, largest) * (1.0 + 0x1p-20);  // the search computes in fp32
    default:
      return 0.0;
  }
}

WeightsComparison compare_weights(const Model& source, const Model& written, const TensorTypes& types,
                                  const std::function<void(std::uint64_t)>& progress) {
  const std::vector<NamedTensor> sources = list_tensors(source);
  const std::vector<NamedTensor> found = list_tensors(written);
  if (sources.size() != found.size()) {
    weights::refuse({.file = written.source,
                     .wanted = fmt::format("{} weights", sources.size()),
                     .found = fmt::format("{}", found.size())});
  }
  WeightsComparison result;
  std::uint64_t read = 0;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    Pair pair(source, sources[i].view, written, found[i].view);
    pair.check_kind(stored_type(types, sources[i]));
    pair.compare(result, [&](std::uint64_t bytes) {
      read += bytes;
      if (progress) progress(read);
    });
  }
  return result;
}

}  // namespace ttt
