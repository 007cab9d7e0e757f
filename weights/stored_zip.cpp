// SPDX-License-Identifier: Apache-2.0
#include "weights/stored_zip.h"

#include <fmt/format.h>
#include <zip.h>

#include <algorithm>
#include <filesystem>
#include <stdexcept>
#include <utility>

#include "weights/checked.h"
#include "weights/checkpoint_error.h"
#include "weights/limits.h"
#include "weights/mapped_file.h"

namespace ttt::weights {
namespace {

constexpr std::string_view kZipRemedy = "The file is damaged or incomplete: download it again.";
constexpr std::string_view kHostile =
    "torch.save writes no such archive: download the file again from a source you trust.";

// What stands in the file for a member beside its bytes: fixed parts of local header and directory entry,
// each with the name.
constexpr std::uint64_t kLocalHeaderBytes = 30;
constexpr std::uint64_t kDirectoryEntryBytes = 46;
constexpr std::uint64_t kDirectoryEndBytes = 22;

// Takes its own text of the error along.
[[noreturn]] void refuse_archive(std::string_view path, std::string_view where, zip_error_t* error) {
  const std::string found = zip_error_strerror(error);
  zip_error_fini(error);
  refuse({.file = path,
          .where = where,
          .wanted = "a whole zip archive as torch.save writes it",
          .found = found,
          .remedy = kZipRemedy});
}

// A path of plain names below a folder.
bool is_safe_name(std::string_view name) {
  if (name.empty() || name.front() == '/' || name.find('\\') != std::string_view::npos) return false;
  while (!name.empty()) {
    const std::size_t slash = std::min(name.find('/'), name.size());
    const std::string_view part = name.substr(0, slash);
    if (part.empty() || part == "." || part == "..") return false;
    name.remove_prefix(std::min(slash + 1, name.size()));
  }
  return true;
}

// Opens and closes a member.
class MemberReader {
 public:
  MemberReader(const std::string& path, zip* archive, std::size_t member, const std::string& name)
      : path_(path), name_(name), file_(zip_fopen_index(archive, member, 0)) {
    if (file_ == nullptr) refuse_archive(path_, name_, zip_get_error(archive));
  }
  ~MemberReader() { zip_fclose(file_); }
  MemberReader(const MemberReader&) = delete;
  MemberReader& operator=(const MemberReader&) = delete;

  void seek(std::uint64_t offset) {
    if (zip_fseek(file_, static_cast<zip_int64_t>(offset), SEEK_SET) != 0) fail();
  }
  // Fills the buffer.
  void read(std::span<std::byte> buffer) {
    while (!buffer.empty()) {
      const zip_int64_t count = zip_fread(file_, buffer.data(), buffer.size());
      if (count < 0) fail();
      if (count == 0) {
        refuse({.file = path_,
                .where = name_,
                .wanted = fmt::format("{} more bytes", buffer.size()),
                .found = "the end of the member",
                .remedy = kZipRemedy});
      }
      buffer = buffer.subspan(static_cast<std::size_t>(count));
    }
  }
  // libzip compares the checksum when it is asked for more than there is.
  void finish() {
    std::byte none{};
    if (zip_fread(file_, &none, 1) != 0) fail();
  }

 private:
  [[noreturn]] void fail() {
    zip_error_t* const error = zip_file_get_error(file_);
    if (zip_error_code_zip(error) == ZIP_ER_CRC) {
      refuse({.file = path_,
              .where = name_,
              .wanted = "bytes that agree with their checksum",
              .found = "others",
              .remedy = "The file is damaged, or was saved with "
                        "torch.serialization.set_crc32_options(False): download it again or save it with "
                        "checksums."});
    }
    refuse_archive(path_, name_, error);
  }

  const std::string& path_;
  const std::string& name_;
  zip_file_t* file_;
};

}  // namespace

StoredZip StoredZip::open(const std::string& path) {
  read_prefix(path, 1);  // refuses what is no regular file, and says why a file cannot be read
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t* const source = zip_source_file_create(path.c_str(), 0, -1, &error);
  if (source == nullptr) refuse_archive(path, "", &error);
  zip_t* const archive = zip_open_from_source(source, ZIP_RDONLY | ZIP_CHECKCONS, &error);
  if (archive == nullptr) {
    zip_source_free(source);
    refuse_archive(path, "", &error);
  }
  return StoredZip(path, Archive(archive, zip_discard), std::filesystem::file_size(path));
}

StoredZip StoredZip::parse(std::span<const std::byte> bytes, std::string_view name) {
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t* const source = zip_source_buffer_create(bytes.data(), bytes.size(), 0, &error);
  if (source == nullptr) refuse_archive(name, "", &error);
  zip_t* const archive = zip_open_from_source(source, ZIP_RDONLY | ZIP_CHECKCONS, &error);
  if (archive == nullptr) {
    zip_source_free(source);
    refuse_archive(name, "", &error);
  }
  return StoredZip(std::string(name), Archive(archive, zip_discard), bytes.size());
}

StoredZip::StoredZip(std::string path, Archive archive, std::uint64_t file_bytes)
    : path_(std::move(path)), archive_(std::move(archive)) {
  list_members(file_bytes);
  verified_.resize(members_.size());
}

void StoredZip::list_members(std::uint64_t file_bytes) {
  const auto count =
      static_cast<std::uint64_t>(std::max<zip_int64_t>(zip_get_num_entries(archive_.get(), 0), 0));
  const auto fail = [&](std::string_view where, std::string_view wanted, std::string_view found) {
    refuse({.file = path_, .where = where, .wanted = wanted, .found = found, .remedy = kHostile});
  };
  if (count == 0) fail("members", "at least one", "none");  // an empty file is an empty archive to libzip
  if (count > limits::kMaxZipMembers)
    fail("members", fmt::format("at most {}", limits::kMaxZipMembers), fmt::format("{}", count));
  std::optional<std::uint64_t> sum = kDirectoryEndBytes;
  for (std::uint64_t i = 0; i < count; ++i) {
    zip_stat_t status;
    zip_stat_init(&status);
    constexpr zip_uint64_t kNeeded = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE |
                                     ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD;
    if (zip_stat_index(archive_.get(), i, ZIP_FL_ENC_RAW, &status) != 0 ||
        (status.valid & kNeeded) != kNeeded)
      fail(fmt::format("member {}", i), "a name, a size and a method", "none");
    const std::string name = status.name;
    if (name.size() > limits::kMaxZipNameBytes || !is_safe_name(name))
      fail("a member's name", "a plain path inside the archive", name);
    if (status.comp_method != ZIP_CM_STORE || status.encryption_method != ZIP_EM_NONE)
      fail(name, "stored bytes", "compressed or encrypted ones");
    if (status.comp_size != status.size)
      fail(name, fmt::format("{} stored bytes", status.size), fmt::format("{}", status.comp_size));
    if (!index_.emplace(name, members_.size()).second) fail(name, "it once", "it twice");
    members_.push_back({.name = name, .bytes = status.size});
    const std::uint64_t beside = kLocalHeaderBytes + kDirectoryEntryBytes + 2 * name.size();
    sum = checked_add(*sum, beside);
    if (sum) sum = checked_add(*sum, status.size);
    if (!sum || *sum > file_bytes)
      fail("members", fmt::format("together at most the {} bytes of the file", file_bytes),
           "more, so that some overlap");
  }
}

std::optional<std::size_t> StoredZip::find(std::string_view name) const {
  const auto entry = index_.find(name);
  if (entry == index_.end()) return std::nullopt;
  return entry->second;
}

void StoredZip::read(std::size_t member, std::uint64_t begin, std::uint64_t end, const Sink& sink) const {
  const Member& what = members_.at(member);
  if (begin > end || end > what.bytes) throw std::logic_error("StoredZip::read: outside the member");
  const bool verify = !verified_[member];
  MemberReader reader(path_, archive_.get(), member, what.name);
  if (!verify) reader.seek(begin);
  const std::uint64_t stop = verify ? what.bytes : end;
  std::vector<std::byte> buffer(static_cast<std::size_t>(std::min<std::uint64_t>(kPieceBytes, what.bytes)));
  for (std::uint64_t at = verify ? 0 : begin; at < stop;) {
    const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), stop - at));
    const std::span<std::byte> piece = std::span(buffer).first(size);
    reader.read(piece);
    const std::uint64_t first = std::clamp(begin, at, at + size);
    const std::uint64_t last = std::clamp(end, at, at + size);
    if (first < last) {
      sink(first,
           piece.subspan(static_cast<std::size_t>(first - at), static_cast<std::size_t>(last - first)));
    }
    at += size;
  }
  if (verify) reader.finish();
  verified_[member] = true;
}

std::string StoredZip::read_all(std::size_t member, std::uint64_t max_bytes) const {
  const Member& what = members_.at(member);
  if (what.bytes > max_bytes) {
    refuse({.file = path_,
            .where = what.name,
            .wanted = fmt::format("at most {} bytes", max_bytes),
            .found = fmt::format("{}", what.bytes),
            .remedy = kHostile});
  }
  std::string text;
  read(member, 0, what.bytes, [&](std::uint64_t, std::span<const std::byte> piece) {
    text.append(reinterpret_cast<const char*>(piece.data()), piece.size());
  });
  return text;
}

}  // namespace ttt::weights
