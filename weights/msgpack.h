// SPDX-License-Identifier: Apache-2.0
// Reads MessagePack from strangers, one header at a time. Allocates nothing: text is borrowed, and what is
// long (a tensor's bytes) is stepped over. No count and no length is believed that does not fit into the
// bytes left.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace ttt::weights {

inline constexpr std::size_t kMaxMsgpackDepth = 64;

enum class MsgpackType : std::uint8_t {
  kNil,
  kBool,
  kUnsigned,
  kNegative,
  kFloat,
  kString,
  kBinary,
  kArray,
  kMap,
  kExtension
};

std::string_view to_string(MsgpackType type);  // "an array", for messages

// A header. The bytes of a string, a binary or an extension follow it, and the values of an array or a map.
struct MsgpackItem {
  MsgpackType type = MsgpackType::kNil;
  std::uint64_t size = 0;     // bytes, values (kArray) or pairs (kMap) that follow
  std::uint64_t number = 0;   // kUnsigned; kNegative: its two's complement; kBool: 0 or 1
  double real = 0.0;          // kFloat
  std::int8_t extension = 0;  // kExtension: which one

  bool has_payload() const {
    return type == MsgpackType::kString || type == MsgpackType::kBinary || type == MsgpackType::kExtension;
  }
};

class MsgpackReader {
 public:
  // Reads the bytes [begin, end) of `file`, of which `window` holds the first ones: headers and text must lie
  // in it, what is skipped need not. `file` stands in messages.
  MsgpackReader(std::span<const std::byte> window, std::string_view file, std::uint64_t begin,
                std::uint64_t end);

  std::uint64_t position() const { return position_; }  // in the file
  std::uint64_t remaining() const { return end_ - position_; }

  // All throw CheckpointError that names the byte.
  MsgpackItem next();
  MsgpackItem next(MsgpackType wanted);               // refuses another type
  std::string_view payload(const MsgpackItem& item);  // of the header just read; borrowed from the window
  void skip_payload(const MsgpackItem& item);
  void skip_value();  // with all that it holds, down to kMaxMsgpackDepth
  // A reader of the payload alone. This one does not move.
  MsgpackReader inside(const MsgpackItem& item) const;

 private:
  std::uint64_t big_endian(std::size_t num_bytes);
  const std::byte* take(std::uint64_t num_bytes);
  void check_left(std::uint64_t wanted, std::string_view what) const;
  [[noreturn]] void fail(std::string_view wanted, std::string_view found) const;

  std::span<const std::byte> window_;
  std::string_view file_;
  std::uint64_t begin_ = 0;  // where the window lies in the file
  std::uint64_t position_ = 0;
  std::uint64_t end_ = 0;
};

}  // namespace ttt::weights
