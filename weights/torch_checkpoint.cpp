// SPDX-License-Identifier: Apache-2.0
#include "weights/torch_checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <set>
#include <stdexcept>
#include <utility>

#include "weights/checkpoint_error.h"
#include "weights/foreign_file.h"
#include "weights/limits.h"
#include "weights/mapped_file.h"
#include "weights/pickle.h"
#include "weights/shard_index.h"

namespace ttt::weights {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSingleFile = "pytorch_model.bin";
constexpr std::string_view kIndexEnding = ".index.json";
constexpr std::array<std::string_view, 3> kWrappers = {"state_dict", "model_state_dict", "model"};
constexpr std::uint64_t kMaxByteOrderBytes = 16;  // "little" or "big"
constexpr std::string_view kTorchRemedy = "The file is damaged or was tampered with: download it again.";
constexpr std::string_view kNoStateDict =
    "Save the state dict alone in Python: torch.save(model.state_dict(), \"pytorch_model.bin\").";

bool is_float(DType dtype) {
  return dtype == DType::kF64 || dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
}

StoredZip open_zip(const std::string& path) {
  const std::string prefix = read_prefix(path, kForeignPrefixBytes);
  if (!is_zip(prefix)) refuse_foreign_file(path, prefix);
  return StoredZip::open(path);
}

// "archive/" of "archive/data.pkl": the one folder that all members are in.
std::string folder_of(const StoredZip& file) {
  constexpr std::string_view kPickleName = "data.pkl";
  std::string folder;
  for (const StoredZip::Member& member : file.members()) {
    const std::size_t slash = member.name.find('/');
    if (slash != std::string::npos && std::string_view(member.name).substr(slash + 1) == kPickleName)
      folder = member.name.substr(0, slash + 1);
  }
  const auto fail = [&](std::string_view where, std::string_view wanted, std::string_view found) {
    refuse(
        {.file = file.path(),
         .where = where,
         .wanted = wanted,
         .found = found,
         .remedy = "This is a zip archive of another kind, or damaged: give a file that torch.save wrote."});
  };
  if (folder.empty()) fail("", "a PyTorch file, with data.pkl in a folder", "an archive without it");
  for (const StoredZip::Member& member : file.members()) {
    if (!member.name.starts_with(folder)) fail(member.name, "all members in " + folder, "one elsewhere");
  }
  return folder;
}

void check_byte_order(const StoredZip& file, const std::string& folder) {
  const auto member = file.find(folder + "byteorder");
  if (!member) return;  // before PyTorch 2.1: little endian
  const std::string order = file.read_all(*member, kMaxByteOrderBytes);
  if (order == "little") return;
  refuse({.file = file.path(),
          .where = "byteorder",
          .wanted = "little",
          .found = order,
          .remedy = "Load it in Python and save it again on a little-endian machine."});
}

// The value of a string key in a dict, the last one as in Python; null if absent.
const PickleValue* find_item(const Pickle& pickle, const PickleValue& dict, std::string_view key) {
  for (std::size_t i = dict.items.size(); i >= 2; i -= 2) {
    const PickleValue& name = pickle.values[dict.items[i - 2]];
    if (name.kind == PickleKind::kString && name.text == key) return &pickle.values[dict.items[i - 1]];
  }
  return nullptr;
}

const PickleValue& state_dict_of(const Pickle& pickle, const std::string& file) {
  const PickleValue& root = pickle.values[pickle.root];
  if (root.kind != PickleKind::kDict) {
    refuse({.file = file,
            .where = "data.pkl",
            .wanted = "a state dict",
            .found = kind_name(root.kind),
            .remedy = kNoStateDict});
  }
  for (const std::string_view wrapper : kWrappers) {
    const PickleValue* inner = find_item(pickle, root, wrapper);
    if (inner != nullptr && inner->kind == PickleKind::kDict) return *inner;
  }
  return root;
}

// The member with the tensor's storage, after its size and the place of every element in it were checked.
std::size_t find_storage(const StoredZip& file, const std::string& folder, const std::string& name,
                         const PickledStorage& storage, const StridedView& view) {
  const auto fail = [&](std::string_view wanted, std::string_view found) {
    refuse({.file = file.path(), .where = name, .wanted = wanted, .found = found, .remedy = kTorchRemedy});
  };
  const auto member = file.find(folder + "data/" + storage.key);
  if (!member) fail("its storage data/" + storage.key, "no such member");
  const std::uint64_t bytes = file.members()[*member].bytes;
  const auto storage_bytes = tensor_bytes(storage.dtype, {storage.elements});
  if (!storage_bytes || *storage_bytes != bytes)
    fail(fmt::format("a storage of {} {} elements", storage.elements, dtype_info(storage.dtype).name),
         fmt::format("{} bytes", bytes));
  const auto end = end_of(view);
  if (!end || !tensor_bytes(storage.dtype, view.shape))
    fail("a position of its own for each element",
         fmt::format("shape {} with strides {}", to_string(view.shape), to_string(view.strides)));
  if (*end > storage.elements)
    fail(fmt::format("elements below {}, where the storage ends", storage.elements),
         fmt::format("shape {} with strides {} from {} on", to_string(view.shape), to_string(view.strides),
                     view.offset));
  return *member;
}

}  // namespace

std::unique_ptr<TorchCheckpoint> TorchCheckpoint::open(const std::string& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) {
    const std::string single = (fs::path(path) / kSingleFile).string();
    if (fs::exists(single, error)) return open(single);
    const std::string index = single + std::string(kIndexEnding);
    if (fs::exists(index, error)) return open_shards(index);
    refuse({.file = path,
            .wanted = "pytorch_model.bin, or pytorch_model.bin.index.json and its shards",
            .found = "a folder without them",
            .remedy = "Download them beside config.json, or give the file itself."});
  }
  if (path.ends_with(kIndexEnding)) return open_shards(path);
  std::unique_ptr<TorchCheckpoint> checkpoint(new TorchCheckpoint);
  checkpoint->path_ = path;
  checkpoint->add_file(open_zip(path));
  return checkpoint;
}

std::unique_ptr<TorchCheckpoint> TorchCheckpoint::parse(std::span<const std::byte> bytes,
                                                        std::string_view name) {
  std::unique_ptr<TorchCheckpoint> checkpoint(new TorchCheckpoint);
  checkpoint->path_ = name;
  checkpoint->add_file(StoredZip::parse(bytes, name));
  return checkpoint;
}

std::unique_ptr<TorchCheckpoint> TorchCheckpoint::open_shards(const std::string& index_path) {
  std::unique_ptr<TorchCheckpoint> checkpoint(new TorchCheckpoint);
  checkpoint->path_ = index_path;
  const std::string folder = fs::path(index_path).parent_path().string();
  ShardCheck check(index_path, folder);
  for (const std::string& file_name : check.file_names()) {
    for (const std::string& name : checkpoint->add_file(open_zip(check.path_of(file_name))))
      check.found(name, file_name);
  }
  check.finish();
  return checkpoint;
}

std::set<std::string> TorchCheckpoint::add_file(StoredZip file) {
  const std::string folder = folder_of(file);
  check_byte_order(file, folder);
  const std::string bytes = file.read_all(*file.find(folder + "data.pkl"), limits::kMaxPickleBytes);
  const Pickle pickle = read_pickle(bytes, file.path());
  const PickleValue& state = state_dict_of(pickle, file.path());
  std::set<std::string> names;
  for (std::size_t i = 0; i + 1 < state.items.size(); i += 2) {
    const PickleValue& key = pickle.values[state.items[i]];
    const PickleValue& value = pickle.values[state.items[i + 1]];
    const auto fail = [&](std::string_view where, std::string_view wanted, std::string_view found,
                          std::string_view remedy) {
      refuse({.file = file.path(), .where = where, .wanted = wanted, .found = found, .remedy = remedy});
    };
    if (key.kind != PickleKind::kString || key.text.empty() || key.text.size() > limits::kMaxTensorNameBytes)
      fail("state dict", fmt::format("names of 1 to {} bytes", limits::kMaxTensorNameBytes),
           key.kind == PickleKind::kString ? fmt::format("{} bytes", key.text.size())
                                           : std::string(kind_name(key.kind)),
           kNoStateDict);
    if (value.kind != PickleKind::kTensor) fail(key.text, "a tensor", kind_name(value.kind), kNoStateDict);
    if (!names.insert(key.text).second) fail(key.text, "it once", "it twice", kTorchRemedy);
    const PickledTensor& tensor = pickle.tensors[static_cast<std::size_t>(value.integer)];
    const PickledStorage& storage = pickle.storages[tensor.storage];
    if (!is_float(storage.dtype)) {
      if (!tensor.is_parameter) continue;
      fail(key.text, "a parameter of F64, F32, F16 or BF16", dtype_info(storage.dtype).name,
           "Convert it in Python before saving, or save the weights that it was made from.");
    }
    if (tensors_.size() == limits::kMaxTensors)
      fail("state dict", fmt::format("at most {} tensors", limits::kMaxTensors), "more", kTorchRemedy);
    StridedView view{.offset = tensor.offset, .shape = tensor.shape, .strides = tensor.strides};
    const std::size_t member = find_storage(file, folder, key.text, storage, view);
    tensors_.push_back({.name = key.text, .dtype = storage.dtype, .shape = view.shape});
    sources_.push_back({.file = files_.size(), .member = member, .view = std::move(view)});
  }
  if (names.empty()) {
    refuse({.file = file.path(),
            .where = "data.pkl",
            .wanted = "a state dict with tensors",
            .found = "an empty one",
            .remedy = kNoStateDict});
  }
  files_.push_back(std::move(file));
  return names;
}

void TorchCheckpoint::read(std::size_t index, std::span<std::byte> to) const {
  const ArchivedTensor& tensor = tensors_.at(index);
  const Source& source = sources_[index];
  if (to.size() != tensor_bytes(tensor.dtype, tensor.shape))
    throw std::logic_error("TorchCheckpoint::read: wrong size");
  if (to.empty()) return;
  const std::uint64_t element_bytes = dtype_info(tensor.dtype).block_bytes;
  const std::uint64_t begin = source.view.offset * element_bytes;
  const std::uint64_t end = *end_of(source.view) * element_bytes;
  const bool dense = is_dense(source.view);
  files_[source.file].read(source.member, begin, end,
                           [&](std::uint64_t at, std::span<const std::byte> piece) {
                             if (dense) {
                               std::memcpy(to.data() + (at - begin), piece.data(), piece.size());
                             } else {
                               copy_strided(source.view, element_bytes, at / element_bytes, piece, to);
                             }
                           });
}

}  // namespace ttt::weights
