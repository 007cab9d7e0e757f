// SPDX-License-Identifier: Apache-2.0
// A zip archive whose members are stored as they are, as torch.save writes it. Inflates nothing and creates
// no file: a member's name is only something to look up.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

struct zip;  // libzip's

namespace ttt::weights {

class StoredZip {
 public:
  struct Member {
    std::string name;
    std::uint64_t bytes = 0;
  };

  // Checks the directory against the local headers. Throws CheckpointError for an archive that is cut or
  // contradicts itself; for a member that is compressed or encrypted, stands twice, or has a name that could
  // lead out of a folder; and for members that are together larger than the file, so that some overlap.
  static StoredZip open(const std::string& path);
  // `bytes` must outlive the result. For tests and fuzzing.
  static StoredZip parse(std::span<const std::byte> bytes, std::string_view name);
  StoredZip(StoredZip&&) = default;

  const std::string& path() const { return path_; }
  const std::vector<Member>& members() const { return members_; }
  std::optional<std::size_t> find(std::string_view name) const;

  // Told where a piece stands in the member.
  using Sink = std::function<void(std::uint64_t offset, std::span<const std::byte> piece)>;
  static constexpr std::size_t kPieceBytes = std::size_t{1} << 20;

  // Bytes [begin, end) of a member, in order, in pieces of kPieceBytes that start at multiples of 8 from the
  // member's beginning or from `begin`; only the last may be shorter. A member is read whole the first time,
  // and its checksum compared. Throws CheckpointError. One thread at a time. REQUIRES: begin <= end <= bytes.
  void read(std::size_t member, std::uint64_t begin, std::uint64_t end, const Sink& sink) const;
  // The whole of a small member; throws CheckpointError if it is longer than max_bytes.
  std::string read_all(std::size_t member, std::uint64_t max_bytes) const;

 private:
  using Archive = std::unique_ptr<zip, void (*)(zip*)>;
  StoredZip(std::string path, Archive archive, std::uint64_t file_bytes);
  void list_members(std::uint64_t file_bytes);

  std::string path_;
  Archive archive_;
  std::vector<Member> members_;
  std::map<std::string, std::size_t, std::less<>> index_;
  mutable std::vector<bool> verified_;  // members whose checksum was compared
};

}  // namespace ttt::weights
