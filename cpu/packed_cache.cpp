// SPDX-License-Identifier: Apache-2.0
#include "cpu/packed_cache.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <exception>
#include <filesystem>
#include <system_error>
#include <utility>

#include "engine/tensor_pieces.h"
#include "engine/weights_hash.h"
#include "weights/atomic_file.h"

namespace ttt::cpu {
namespace {

namespace fs = std::filesystem;
using weights::TensorView;

// Raise it when a panel's layout changes, or the order of matrices.
constexpr std::uint32_t kLayoutVersion = 3;
constexpr std::string_view kExtension = ".packed";
constexpr std::size_t kKeyDigits = 32;
// What a killed process left behind is nobody's after this time.
constexpr std::chrono::hours kTemporaryLifetime{1};

// The file: this, the checksum of each matrix, and the matrices, each aligned to kMatrixAlignment.
struct Header {
  char magic[8] = {'T', 'T', 'T', 'P', 'A', 'C', 'K', 0};
  std::uint32_t layout_version = kLayoutVersion;
  std::uint32_t byte_order = 0x01020304;
  char key[kKeyDigits] = {};
  std::uint64_t num_matrices = 0;
  std::uint64_t checksum = 0;  // XXH3-64 of the table of checksums
};
static_assert(sizeof(Header) == 64);

std::uint64_t checksum_of(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

std::uint64_t table_end(std::size_t num_matrices) {
  return sizeof(Header) + num_matrices * sizeof(std::uint64_t);
}

Header header_for(const std::string& key, std::span<const std::uint64_t> checksums) {
  Header header;
  std::memcpy(header.key, key.data(), kKeyDigits);
  header.num_matrices = checksums.size();
  header.checksum = checksum_of(std::as_bytes(checksums));
  return header;
}

bool is_digits(std::string_view text) {
  return text.size() == kKeyDigits && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// Two files of equal weights may hold small matrices in other types: then they are packed apart.
std::string key_of(std::string_view weights_hash, std::span<const TensorView> tensors) {
  std::string text = fmt::format("layout {}\nweights {}\n", kLayoutVersion, weights_hash);
  for (const TensorView& tensor : tensors) {
    text += fmt::format("{} {}\n", weights::dtype_info(tensor.dtype).name, weights::to_string(tensor.shape));
  }
  const XXH128_hash_t key = XXH3_128bits(text.data(), text.size());
  return fmt::format("{:016x}{:016x}", key.high64, key.low64);
}

bool is_cache_file(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.ends_with(kExtension) && is_digits(name.substr(0, name.size() - kExtension.size()));
}

bool is_temporary(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.starts_with(".ttt-") && name.ends_with(".tmp");
}

// The last panel's outputs alone.
TensorView last_panel_of(const TensorView& tensor) {
  const std::size_t outputs = tensor.shape.front();
  const std::size_t first = (outputs - 1) / kPanelOutputs * kPanelOutputs;
  const std::size_t row_bytes = tensor.bytes.size() / outputs;
  TensorView last = tensor;
  last.shape.front() = outputs - first;
  last.bytes = tensor.bytes.subspan(first * row_bytes);
  return last;
}

struct CachedFile {
  fs::path path;
  std::uint64_t bytes = 0;
  fs::file_time_type last_use;
};

// The cache's files, those first that were used longest ago. What is abandoned is removed.
std::vector<CachedFile> list_files(const std::string& folder) {
  std::vector<CachedFile> files;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    std::error_code gone;  // another process may remove it meanwhile
    const CachedFile file{entry->path(), entry->file_size(gone), entry->last_write_time(gone)};
    if (gone || !entry->is_regular_file(gone)) continue;
    if (is_cache_file(file.path)) files.push_back(file);
    if (is_temporary(file.path) && fs::file_time_type::clock::now() - file.last_use > kTemporaryLifetime) {
      fs::remove(file.path, gone);
    }
  }
  std::ranges::sort(files, {}, &CachedFile::last_use);
  return files;
}

}  // namespace

PackedMatrix PackedFile::next(const TensorView& tensor) {
  PackedMatrix matrix(tensor, file_.bytes().subspan(next_, PackedMatrix::planned_bytes(tensor)));
  next_ = aligned(next_ + matrix.bytes());
  return matrix;
}

PackedCache::PackedCache(const PackedCacheOptions& options, const Model& model,
                         std::vector<TensorView> tensors)
    : options_(options),
      model_(model),
      tensors_(std::move(tensors)),
      key_(key_of(is_digits(model.stated_hash) ? model.stated_hash : weights_hash(model), tensors_)),
      path_((fs::path(options.folder) / key_).string().append(kExtension)) {}

std::uint64_t PackedCache::file_bytes() const {
  std::uint64_t end = table_end(tensors_.size());
  for (const TensorView& tensor : tensors_) end = aligned(end) + PackedMatrix::planned_bytes(tensor);
  return end;
}

// Sizes and places follow from the model alone: nothing that the file says is used as one.
std::optional<std::string> PackedCache::fault_of(const weights::MappedFile& mapped, ThreadPool& pool) const {
  const std::span<const std::byte> bytes = mapped.bytes();
  if (bytes.size() != file_bytes()) return fmt::format("{} bytes instead of {}", bytes.size(), file_bytes());
  std::vector<std::uint64_t> checksums(tensors_.size());
  std::memcpy(checksums.data(), bytes.data() + sizeof(Header), checksums.size() * sizeof(std::uint64_t));
  const Header wanted = header_for(key_, checksums);
  if (std::memcmp(bytes.data(), &wanted, sizeof(wanted)) != 0) return "another header";

  std::vector<std::span<const std::byte>> parts;
  std::uint64_t offset = table_end(tensors_.size());
  for (const TensorView& tensor : tensors_) {
    offset = aligned(offset);
    parts.push_back(bytes.subspan(offset, PackedMatrix::planned_bytes(tensor)));
    offset += parts.back().size();
  }
  std::atomic<bool> intact = true;
  pool.for_tasks(parts.size(), bytes.size() / parts.size(), [&](std::size_t i, std::size_t) {
    if (checksum_of(parts[i]) != checksums[i]) intact = false;
  });
  if (!intact) return "damaged bytes";
  std::vector<std::byte> fetched;
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    const PackedMatrix sample(with_bytes(model_, last_panel_of(tensors_[i]), fetched), pool);
    const auto packed = parts[i].last(sample.bytes());
    if (!std::ranges::equal(sample.packed(), packed)) {
      return fmt::format("other weights than {} in {}", tensors_[i].name, model_.source);
    }
  }
  return std::nullopt;
}

std::optional<PackedFile> PackedCache::find(ThreadPool& pool) {
  std::error_code error;
  if (!fs::exists(path_, error)) {
    prepare_to_store();
    return std::nullopt;
  }
  std::optional<std::string> fault;
  try {
    PackedFile file{weights::MappedFile(path_, options_.access)};
    fault = fault_of(file.file_, pool);
    if (!fault) {
      file.next_ = aligned(table_end(tensors_.size()));
      ::utimensat(AT_FDCWD, path_.c_str(), nullptr, 0);  // used now, where the folder can be written
      options_.inform(fmt::format("packed weights come from {}", path_));
      return file;
    }
  } catch (const std::exception& problem) {
    fault = problem.what();
  }
  options_.warn(
      fmt::format("--packed-cache: {} is not used ({}): the weights are packed anew", path_, *fault));
  prepare_to_store();
  return std::nullopt;
}

// Before the matrices are packed: then their pages are let go. A hash that only the model's file states is
// not believed, else one model could put its weights in another's place.
void PackedCache::prepare_to_store() {
  if (file_bytes() > options_.max_bytes) {
    options_.warn(
        fmt::format("--packed-cache: {} bytes of packed weights are more than the limit of {}: not stored",
                    file_bytes(), options_.max_bytes));
    return;
  }
  may_store_ = !is_digits(model_.stated_hash) || weights_hash(model_) == model_.stated_hash;
  if (may_store_) return;
  options_.warn(
      fmt::format("--packed-cache: {} states another hash than its weights have (`ttt info --check` tells "
                  "more): not stored",
                  model_.source));
}

void PackedCache::make_room() const {
  std::vector<CachedFile> files = list_files(options_.folder);
  std::erase_if(files, [&](const CachedFile& file) { return file.path == path_; });  // will be replaced
  std::uint64_t total = file_bytes();
  for (const CachedFile& file : files) total += file.bytes;
  for (const CachedFile& file : files) {
    if (total <= options_.max_bytes) return;
    std::error_code error;
    if (!fs::remove(file.path, error)) continue;
    total -= file.bytes;
    options_.inform(fmt::format("removed {} to stay within the limit", file.path.string()));
  }
}

void PackedCache::store(std::span<const PackedMatrix* const> matrices) const {
  if (!may_store_) return;
  try {
    fs::create_directories(options_.folder);
    make_room();
    weights::AtomicFile file(path_);
    static constexpr std::array<std::byte, kMatrixAlignment> kZeros = {};
    const auto pad = [&] { file.write(std::span(kZeros).first(aligned(file.size()) - file.size())); };
    std::vector<std::uint64_t> checksums(matrices.size());
    file.write(std::vector<std::byte>(table_end(matrices.size())));  // filled in below
    for (std::size_t i = 0; i < matrices.size(); ++i) {
      pad();
      file.write(matrices[i]->packed());
      checksums[i] = checksum_of(matrices[i]->packed());
    }
    const Header header = header_for(key_, checksums);
    file.write_at(0, std::as_bytes(std::span(&header, 1)));
    file.write_at(sizeof(header), std::as_bytes(std::span(checksums)));
    file.commit();
    options_.inform(fmt::format("packed weights stored as {} ({} bytes)", path_, file_bytes()));
  } catch (const std::exception& problem) {
    options_.warn(fmt::format("--packed-cache: not stored: {}", problem.what()));
  }
}

}  // namespace ttt::cpu
