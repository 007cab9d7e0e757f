// SPDX-License-Identifier: Apache-2.0
// The protobuf wire format: a bounded walk over the fields of one message, and the few writers that a
// SentencePiece model needs. Knows no message type. Stricter than protobuf: see WireReader::next.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace ttt::tokenizer {

enum class WireType : std::uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

struct WireField {
  std::uint32_t number = 0;
  WireType type = WireType::kVarint;
  std::uint64_t value = 0;       // of a varint, a fixed32 or a fixed64
  std::string_view bytes;        // of kBytes
  std::size_t offset = 0;        // where the field lies in the file
  std::size_t bytes_offset = 0;  // where `bytes` lies in the file
};

class WireReader {
 public:
  // `base`: where `message` begins in the file, for messages. `model`: the file's name. Both outlive this.
  WireReader(std::string_view message, std::size_t base, std::string_view model);

  // The next field; nothing at the end of the message. Throws TokenizerError for a truncated field, a
  // group or another unknown wire type, a field number of 0 or above 2^29-1, and a varint that is longer
  // than 64 bits or than it need be (protobuf's writers make none, so it is damage or deceit).
  std::optional<WireField> next();

 private:
  std::uint64_t read_varint();
  std::uint64_t read_fixed(std::size_t size);
  std::string_view read_bytes(std::uint64_t size);
  [[noreturn]] void refuse_here(std::string_view wanted, std::string_view found) const;

  std::string_view message_;
  std::size_t base_;
  std::string_view model_;
  std::size_t position_ = 0;
};

void write_varint_field(std::string& out, std::uint32_t number, std::uint64_t value);
void write_float_field(std::string& out, std::uint32_t number, float value);
void write_bytes_field(std::string& out, std::uint32_t number, std::string_view bytes);

}  // namespace ttt::tokenizer
