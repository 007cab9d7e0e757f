// SPDX-License-Identifier: Apache-2.0
// The blocks of packed_matrix.h as the products see them: 32 inputs of a panel at a time, for every block
// type and for inputs that were widened before. Compiled once per target.
#if defined(TTT_CPU_PANEL_BLOCKS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TTT_CPU_PANEL_BLOCKS_INL_H_
#undef TTT_CPU_PANEL_BLOCKS_INL_H_
#else
#define TTT_CPU_PANEL_BLOCKS_INL_H_
#endif

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "cpu/block_gemm.h"
#include "cpu/pairs-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ttt::cpu::HWY_NAMESPACE {

inline constexpr std::size_t kPanelVectors = kPanelOutputs / kLanes;
using Integers = hn::RebindToSigned<D>;

// Of 256 inputs of a panel, by blocks of 32.
struct PanelScales {
  float scales[QuantisedInputs::kBlocks][kPanelOutputs];
  float minimums[QuantisedInputs::kBlocks][kPanelOutputs];
};

// What all readers of stored blocks have:
//  * Stored, kInputs: one or two blocks as they lie together in the panel, and their inputs;
//  * Scales, unpack(): what is made once of 256 inputs' stored blocks;
//  * kHasMinimums: a weight is scale * quant - minimum;
//  * scale(v): of the sum of the 32 inputs, for the outputs of vector v;
//  * kParts: parts of the 32 inputs whose sums have factors of their own, 1 or 2;
//  * factor(part, v): of a part's sum, a whole number, where there are two.
// In pairs (Q8_0 and Q6_K without VNNI), which take an even and an odd one of each four inputs in turn:
//  * kPairs: of a group of inputs that lie together, 4 or 8;
//  * start(x, part): where the sum of a part begins, an offset of the quants times the sum of x;
//  * pair<j>(group, v): pair j of a group, without the offset;
//  * wide_pair<j>(group, v): the same with the offset, times the factor of the part, in 16 bits.
// In quads (Q4_0 and Q4_K, with VNNI all):
//  * kQuads: of a group of inputs that lie together, 2 or 4;
//  * kOffset: a weight is the quant less this;
//  * quad<j>(group, v): quad j of a group, without the offset.
struct NoScales {};

struct Q8Block {
  using Stored = PanelBlocksQ8_0;
  using Scales = NoScales;
  static constexpr std::size_t kInputs = Stored::kBlocks * weights::kBlockWeights;
  static constexpr bool kInQuads = kBytesInQuads;
  static constexpr std::size_t kParts = 1;
  static constexpr bool kHasMinimums = false;
  static void unpack(const Stored*, Scales&) {}

  Q8Block(const Stored* blocks, const Scales&, std::size_t b)
      : quants(blocks[b / Stored::kBlocks].quants[b % Stored::kBlocks]),
        scales(blocks[b / Stored::kBlocks].scales[b % Stored::kBlocks]) {}
#if HWY_TARGET == HWY_AVX3_DL
  static constexpr std::size_t kQuads = 2;
  static constexpr std::int32_t kOffset = kByteOffset;
  template <int j>
  HWY_INLINE Quads quad(std::size_t group, std::size_t v) const {
    return load_quads(&quants[2 * group + j][v * kLanes][0]);
  }
#else
  static constexpr std::size_t kPairs = 4;
  static std::int32_t start(const QuantisedInputs& x, std::size_t b) { return x.offsets[b]; }
  template <int j>
  HWY_INLINE Pairs pair(std::size_t group, std::size_t v) const {
    return load_half_quads<j % 2>(&quants[2 * group + j / 2][v * kLanes][0]);
  }
  template <int j>
  HWY_INLINE Pairs wide_pair(std::size_t group, std::size_t v) const {
    return subtract(pair<j>(group, v), kByteOffset);
  }
#endif
  HWY_INLINE V scale(std::size_t v) const { return load_f16(scales + v * kLanes); }

  const std::uint8_t (*quants)[kPanelOutputs][4];
  const std::uint16_t* scales;
};

struct Q4Block {
  using Stored = PanelBlocksQ4_0;
  using Scales = NoScales;
  static constexpr std::size_t kInputs = Stored::kBlocks * weights::kBlockWeights;
  static constexpr bool kInQuads = true;
  static constexpr std::size_t kParts = 1;
  static constexpr std::size_t kQuads = 2;
  static constexpr bool kHasMinimums = false;
  static void unpack(const Stored*, Scales&) {}

  Q4Block(const Stored* blocks, const Scales&, std::size_t b)
      : quants(blocks[b / Stored::kBlocks].quants[b % Stored::kBlocks]),
        scales(blocks[b / Stored::kBlocks].scales[b % Stored::kBlocks]) {}
  static constexpr std::int32_t kOffset = 8;
  template <int j>
  HWY_INLINE Quads quad(std::size_t group, std::size_t v) const {
    return nibbles_of<j>(load_quads(&quants[group][v * kLanes][0]));
  }
  HWY_INLINE V scale(std::size_t v) const { return load_f16(scales + v * kLanes); }

  const std::uint8_t (*quants)[kPanelOutputs][4];
  const std::uint16_t* scales;
};

// The 6-bit numbers of 256 inputs become fp32 scales and minimums, exactly: 17 bits.
struct Q4KBlock {
  using Stored = PanelBlocksQ4_K;
  using Scales = PanelScales;
  static constexpr std::size_t kInputs = weights::kKBlockWeights;
  static constexpr bool kInQuads = true;
  static constexpr std::size_t kParts = 1;
  static constexpr std::size_t kQuads = 2;
  static constexpr bool kHasMinimums = true;
  static HWY_INLINE void unpack(const Stored* at, Scales& to) {
    TTT_UNROLL
    for (std::size_t v = 0; v < kPanelOutputs; v += kLanes) {
      unpack_half<0>(*at, v, to);
      unpack_half<1>(*at, v, to);
    }
  }

  Q4KBlock(const Stored* blocks, const Scales& panel_scales, std::size_t b)
      : at(&blocks->quants[b * (weights::kBlockWeights / 8)]), scales(panel_scales.scales[b]) {}
  static constexpr std::int32_t kOffset = 0;
  template <int j>
  HWY_INLINE Quads quad(std::size_t group, std::size_t v) const {
    return nibbles_of<j>(load_quads(&at[group][v * kLanes][0]));
  }
  HWY_INLINE V scale(std::size_t v) const { return hn::LoadU(D(), scales + v * kLanes); }

  const std::uint8_t (*at)[kPanelOutputs][4];
  const float* scales;

 private:
  template <std::size_t kHalf>
  static HWY_INLINE void unpack_half(const Stored& at, std::size_t output, Scales& to) {
    const Integers integers;
    const auto load_words = [&](std::size_t k) {
      return hn::PromoteTo(integers,
                           hn::LoadU(hn::Rebind<std::uint16_t, Integers>(), at.parts[kHalf][k] + output));
    };
    const auto first = load_words(0), second = load_words(1), third = load_words(2);
    const auto fourth = hn::Or(
        hn::ShiftRight<12>(first),
        hn::Or(hn::ShiftLeft<4>(hn::ShiftRight<12>(second)), hn::ShiftLeft<8>(hn::ShiftRight<12>(third))));
    unpack_part<4 * kHalf>(at, first, output, to);
    unpack_part<4 * kHalf + 1>(at, second, output, to);
    unpack_part<4 * kHalf + 2>(at, third, output, to);
    unpack_part<4 * kHalf + 3>(at, fourth, output, to);
  }
  template <std::size_t kPart>
  static HWY_INLINE void unpack_part(const Stored& at, hn::Vec<Integers> bits, std::size_t output,
                                     Scales& to) {
    const auto mask = hn::Set(Integers(), 0x3F);
    const V scale = hn::ConvertTo(D(), hn::And(bits, mask));
    const V minimum = hn::ConvertTo(D(), hn::And(hn::ShiftRight<6>(bits), mask));
    hn::StoreU(hn::Mul(load_f16(at.scales + output), scale), D(), to.scales[kPart] + output);
    hn::StoreU(hn::Mul(load_f16(at.minimums + output), minimum), D(), to.minimums[kPart] + output);
  }
};

struct Q6KBlock {
  using Stored = PanelBlocksQ6_K;
  using Scales = NoScales;
  static constexpr std::size_t kInputs = weights::kKBlockWeights;
  static constexpr bool kInQuads = kBytesInQuads;
  static constexpr std::size_t kParts = 2;
  static constexpr bool kHasMinimums = false;
  static void unpack(const Stored*, Scales&) {}

  Q6KBlock(const Stored* blocks, const Scales&, std::size_t b)
      : at(&blocks->quants[kParts * b]),
        part_scales(blocks->part_scales[kParts * b]),
        scales(blocks->scales) {}
#if HWY_TARGET == HWY_AVX3_DL
  static constexpr std::size_t kQuads = 4;
  static constexpr std::int32_t kOffset = 32;
  template <int j>
  HWY_INLINE Quads quad(std::size_t group, std::size_t v) const {
    return join(pair<2 * j>(group, v), pair<2 * j + 1>(group, v));
  }
#else
  static constexpr std::size_t kPairs = 8;
  static std::int32_t start(const QuantisedInputs& x, std::size_t part) {
    return x.half_offsets[part] / (kByteOffset / 32);
  }
  template <int j>
  HWY_INLINE Pairs wide_pair(std::size_t group, std::size_t v) const {
    return multiply(subtract(pair<j>(group, v), 32),
                    load_for_both(part_scales + group * kPanelOutputs + v * kLanes));
  }
#endif
  template <int j>
  HWY_INLINE Pairs pair(std::size_t group, std::size_t v) const {
    if constexpr (j < 6) {
      return load_sixes<j % 2 * 6>(&at[group][j / 2][v * kLanes][0]);
    } else {
      return load_split_sixes<(j - 6) * 6>(&at[group][0][v * kLanes][0], 2 * kPanelOutputs);
    }
  }
  HWY_INLINE V factor(std::size_t part, std::size_t v) const {
    const hn::RebindToSigned<D> integers;
    const hn::Rebind<std::int8_t, decltype(integers)> bytes;
    return hn::ConvertTo(
        D(), hn::PromoteTo(integers, hn::LoadU(bytes, part_scales + part * kPanelOutputs + v * kLanes)));
  }
  HWY_INLINE V scale(std::size_t v) const { return load_f16(scales + v * kLanes); }

  const std::uint16_t (*at)[3][kPanelOutputs][2];
  const std::int8_t* part_scales;
  const std::uint16_t* scales;
};

// 256 inputs of a panel widened once for many rows, by wide_pair() or quad() (with the offset of WideQuads),
// and by scale().
struct alignas(64) WidePanel {
  union {
    std::int16_t pairs[kBlockInputs / 2][kPanelOutputs][2];
    std::uint8_t quads[kBlockInputs / 4][kPanelOutputs][4];
  };
  PanelScales scales;
  float factors[QuantisedInputs::kBlocks][2][kPanelOutputs];  // where a block has two parts
};

// Block `b` of panels side by side, whose vectors are counted through.
struct WideBlock {
  using Source = const WidePanel*;
  static constexpr bool kFetchesFirst = false;
  HWY_INLINE const WidePanel& panel_of(std::size_t v) const { return panels[v / kPanelVectors]; }
  static HWY_INLINE std::size_t first_output(std::size_t v) { return v % kPanelVectors * kLanes; }
  HWY_INLINE V scale(std::size_t v) const {
    return hn::LoadU(D(), panel_of(v).scales.scales[b] + first_output(v));
  }

  const WidePanel* panels;
  std::size_t b;
};

struct WidePairs : WideBlock {
  static constexpr bool kHasMinimums = false;
  static constexpr bool kInQuads = false;
  static constexpr std::size_t kParts = 1;
  static constexpr std::size_t kPairs = 4;
  static std::int32_t start(const QuantisedInputs&, std::size_t) { return 0; }
  template <int j>
  HWY_INLINE Pairs pair(std::size_t group, std::size_t v) const {
    const auto* const pairs = panel_of(v).pairs + b * (weights::kBlockWeights / 2);
    return load_pairs(&pairs[4 * group + j][first_output(v)][0]);
  }
};

template <class Block>
struct WideQuads : WideBlock {
  static constexpr bool kHasMinimums = Block::kHasMinimums;
  static constexpr bool kInQuads = true;
  static constexpr std::size_t kParts = Block::kParts;
  // Where bytes are multiplied all have the same: an offset of x that needs no arithmetic.
  static constexpr std::int32_t kOffset = kBytesInQuads ? kByteOffset : Block::kOffset;
  static constexpr std::size_t kQuads = 2;
  template <int j>
  HWY_INLINE Quads quad(std::size_t group, std::size_t v) const {
    const auto* const quads = panel_of(v).quads + b * (weights::kBlockWeights / 4);
    return load_quads(&quads[2 * group + j][first_output(v)][0]);
  }
  HWY_INLINE V minimum(std::size_t v) const {
    return hn::LoadU(D(), panel_of(v).scales.minimums[b] + first_output(v));
  }
  HWY_INLINE V factor(std::size_t part, std::size_t v) const {
    return hn::LoadU(D(), panel_of(v).factors[b][part] + first_output(v));
  }
};

// The same of Q8_0 as it is stored, with VNNI.
template <std::size_t kPanels>
struct StoredQuads {
  struct Source {
    const PanelBlocksQ8_0* panels[kPanels];
  };
  struct Place {
    const Source& source;
    std::size_t b;
  };
  static constexpr bool kFetchesFirst = false;
  static constexpr bool kHasMinimums = false;
  static constexpr bool kInQuads = true;
  static constexpr std::size_t kParts = 1;
  static constexpr std::size_t kQuads = 2;
  static constexpr std::int32_t kOffset = kByteOffset;

  HWY_INLINE Q8Block block(std::size_t v) const {
    return {place.source.panels[v / kPanelVectors], NoScales(), place.b};
  }
  template <int j>
  HWY_INLINE Quads quad(std::size_t group, std::size_t v) const {
    return block(v).template quad<j>(group, v % kPanelVectors);
  }
  HWY_INLINE V scale(std::size_t v) const { return block(v).scale(v % kPanelVectors); }

  Place place;
};

// The product of a scale of the weights and one of x.
HWY_INLINE V times(V scale, const float& x_scale) { return hn::Mul(scale, set(x_scale)); }

// The same without a multiplication. A scale of x is one of eight numbers from 1 to 2 times a power of two:
// here are the scales of a panel's 256 inputs times each of the eight, and the power is added to their
// exponents. REQUIRES: scales of x as quantised_inputs.h makes them.
class ScaleProducts {
 public:
  struct Row {
    const std::int32_t (*bits)[kPanelOutputs];
    std::size_t first_output;
  };

  // Of block b's scales. Returns whether all products will be right: a scale that is zero, as those of
  // outputs that do not exist, or not finite has no exponent that can grow.
  bool set_block(std::size_t b, std::size_t first_output, V scales) {
    const Integers integers;
    for (std::size_t i = 0; i < kMantissas; ++i) {
      const auto factor = 1.0F + static_cast<float>(i) / kMantissas;
      const auto product = hn::BitCast(integers, hn::Mul(scales, set(factor)));
      // Less the bits of the factor, which the scale of x brings.
      hn::StoreU(hn::Sub(product, hn::Set(integers, std::bit_cast<std::int32_t>(factor))), integers,
                 bits_[b][i] + first_output);
    }
    const V magnitudes = hn::Abs(scales);
    return hn::AllTrue(D(), hn::And(hn::Gt(magnitudes, set(0.0F)), hn::Lt(magnitudes, set(0x1p100F))));
  }

  HWY_INLINE Row row(std::size_t b, std::size_t first_output) const { return {bits_[b], first_output}; }

 private:
  static constexpr std::size_t kMantissas = std::size_t{1} << kScaleBits;
  alignas(64) std::int32_t bits_[QuantisedInputs::kBlocks][kMantissas][kPanelOutputs];

  friend HWY_INLINE V times(const Row& row, const float& x_scale) {
    std::uint32_t bits;
    std::memcpy(&bits, &x_scale, sizeof(bits));
    const std::size_t mantissa = bits >> (23 - kScaleBits) & (kMantissas - 1);
    const Integers integers;
    return hn::BitCast(D(), hn::Add(hn::LoadU(integers, row.bits[mantissa] + row.first_output),
                                    hn::BitCast(integers, set(x_scale))));
  }
};

// Widened or stored blocks, with the products of scales of their panels.
template <class Wide>
struct WithScaleProducts : Wide {
  struct Source {
    typename Wide::Source blocks;
    const ScaleProducts* products;  // of each panel
  };
  struct Place {
    const Source& source;
    std::size_t b;
  };
  // Many rows are many tiles, of which each has few weights to fetch: all before its blocks. Pointers that
  // live through the loop over blocks take registers from it.
  static constexpr bool kFetchesFirst = true;

  HWY_INLINE WithScaleProducts(Place place)
      : Wide{{place.source.blocks, place.b}}, products(place.source.products), block(place.b) {}
  HWY_INLINE ScaleProducts::Row scale(std::size_t v) const {
    return products[v / kPanelVectors].row(block, v % kPanelVectors * kLanes);
  }

  const ScaleProducts* products;
  std::size_t block;
};

}  // namespace ttt::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // TTT_CPU_PANEL_BLOCKS_INL_H_
