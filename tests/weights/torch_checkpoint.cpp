// SPDX-License-Identifier: Apache-2.0
#include "weights/torch_checkpoint.h"

#include <catch2/catch.hpp>
#include <map>
#include <numeric>

#include "tests/weights/torch_files.h"
#include "weights/safetensors.h"

namespace ttt::weights {
namespace {

using pickled::whole;

const std::string kGolden = TTT_TEST_DATA "/golden/";
const std::string kImport = TTT_TEST_DATA "/golden/import/";

std::string values_of(const TensorArchive& archive, std::size_t index) {
  const ArchivedTensor& tensor = archive.tensors()[index];
  std::string bytes(*tensor_bytes(tensor.dtype, tensor.shape), '?');
  archive.read(index, std::as_writable_bytes(std::span(bytes)));
  return bytes;
}

std::map<std::string, std::string> all_values(const TensorArchive& archive) {
  std::map<std::string, std::string> values;
  for (std::size_t i = 0; i < archive.tensors().size(); ++i)
    values[archive.tensors()[i].name] = values_of(archive, i);
  return values;
}

std::string torch_refusal(const std::string& bytes) {
  return refusal_of([&] { all_values(*TorchCheckpoint::parse(bytes_of(bytes), "model.bin")); });
}
std::string open_refusal(const std::string& path) {
  return refusal_of([&] { all_values(*TorchCheckpoint::open(path)); });
}

// {"a": tensor} beside its storage.
std::string file_with(const pickled::Tensor& tensor, const std::string& storage) {
  return torch_bytes(whole(pickled::dict({{"a", pickled::tensor(tensor)}})), {storage});
}

std::string as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string floats(std::size_t count) {
  std::vector<float> values(count);
  std::iota(values.begin(), values.end(), 1.0F);
  return as_text(std::as_bytes(std::span(values)));
}

TEST_CASE("torch checkpoint: files of torch.save give the tensors of the same case in safetensors, bitwise") {
  const SafetensorsFile wanted =
      SafetensorsFile::open(kGolden + "linear-mamba/model.safetensors", FileAccess::kMap);
  // Dense tensors in {"epoch": 3, "state_dict": parameters}; transposed and sliced ones in shared storages.
  for (const char* folder : {"torch-bin-state-dict-wrapper", "torch-bin-views"}) {
    const std::string path = kImport + folder + "/pytorch_model.bin";
    const auto checkpoint = TorchCheckpoint::open(path);
    CHECK(checkpoint->path() == path);
    std::set<std::string> names;
    for (std::size_t i = 0; i < checkpoint->tensors().size(); ++i) {
      const ArchivedTensor& tensor = checkpoint->tensors()[i];
      CAPTURE(folder, tensor.name);
      names.insert(tensor.name);
      const TensorView* view = wanted.find_tensor(tensor.name);
      REQUIRE(view != nullptr);
      CHECK(tensor.dtype == view->dtype);
      CHECK(tensor.shape == view->shape);
      CHECK((values_of(*checkpoint, i) == as_text(view->bytes)));
      CHECK((values_of(*checkpoint, i) == as_text(view->bytes)));  // after the storage was verified
    }
    for (const TensorView& tensor : wanted.tensors()) CHECK(names.contains(tensor.name));
  }
}

TEST_CASE("torch checkpoint: every hostile file is refused with a sentence, and leaves nothing behind") {
  const std::map<std::string, std::string> wanted = {
      {"imports-a-module.bin",
       "found the global \"builtins exec\", which is not looked up. The file is damaged"},
      {"runs-a-command.bin",
       "found the global \"posix system\", which is not looked up. The file is damaged"},
      {"memo-bomb.bin", "wanted only the opcodes that torch.save writes, found POP."},
      {"path-traversal.bin", "wanted a plain path inside the archive, found archive/../../pwned."},
      {"truncated-pickle.bin", "before the end of the pickle."}};
  const TemporaryFolder folder;
  for (const auto& [name, sentence] : wanted) {
    const std::string path = folder.write(name, read_file(kImport + "hostile/" + name));
    INFO(open_refusal(path));
    CHECK(contains(open_refusal(path), sentence));
    std::filesystem::remove(path);
  }
  CHECK(folder.names().empty());
  CHECK_FALSE(std::filesystem::exists("pwned"));
  CHECK_FALSE(std::filesystem::exists(folder / "../pwned"));
}

TEST_CASE("torch checkpoint: a real file cut anywhere is refused") {
  const std::string bytes = read_file(kImport + "torch-bin-views/pytorch_model.bin");
  for (std::size_t size = 0; size < bytes.size(); size += 1 + bytes.size() / 37)
    CHECK_FALSE(torch_refusal(bytes.substr(0, size)).empty());
  CHECK_FALSE(torch_refusal(bytes.substr(0, bytes.size() - 1)).empty());
}

TEST_CASE("torch checkpoint: no changed byte of a file changes a value") {
  const pickled::Tensor transposed{.elements = 6, .shape = {2, 3}, .strides = {1, 2}};
  const std::string bytes = file_with(transposed, floats(6));
  const auto wanted = all_values(*TorchCheckpoint::parse(bytes_of(bytes), "model.bin"));
  int refused = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    for (const int bit : {0, 3, 7}) {
      std::string changed = bytes;
      changed[i] = static_cast<char>(changed[i] ^ 1 << bit);
      std::map<std::string, std::string> found;
      const std::string text =
          refusal_of([&] { found = all_values(*TorchCheckpoint::parse(bytes_of(changed), "model.bin")); });
      CAPTURE(i, bit, text);
      REQUIRE((!text.empty() || found == wanted));
      refused += text.empty() ? 0 : 1;
    }
  }
  CHECK(refused > static_cast<int>(bytes.size()));
}

TEST_CASE("torch checkpoint: types, scalars, empty tensors and slices are read") {
  const std::string two(2, 'h');
  const std::string eight(8, 'd');
  const std::string pickle = whole(pickled::dict(
      {{"half", pickled::tensor({.storage = "HalfStorage", .key = "0", .elements = 1})},
       {"bfloat16",
        pickled::tensor(
            {.storage = "BFloat16Storage", .key = "0", .elements = 1, .shape = {1}, .strides = {1}})},
       {"double", pickled::tensor({.storage = "DoubleStorage", .key = "1", .elements = 1})},
       {"empty",
        pickled::tensor({.key = "2", .elements = 9, .offset = 9, .shape = {0, 3}, .strides = {3, 1}})},
       {"slice",
        pickled::tensor({.key = "2", .elements = 9, .offset = 1, .shape = {2, 2}, .strides = {3, 1}})},
       {"columns",
        pickled::tensor({.key = "2", .elements = 9, .shape = {3}, .strides = {3}, .is_parameter = true})}}));
  const std::string bytes = torch_bytes(pickle, {two, eight, floats(9)});
  const auto checkpoint = TorchCheckpoint::parse(bytes_of(bytes), "model.bin");
  REQUIRE(checkpoint->tensors().size() == 6);
  CHECK(checkpoint->tensors()[0].dtype == DType::kF16);
  CHECK(checkpoint->tensors()[1].dtype == DType::kBF16);
  CHECK(checkpoint->tensors()[2].dtype == DType::kF64);
  CHECK(checkpoint->tensors()[3].shape == Shape{0, 3});
  CHECK((values_of(*checkpoint, 0) == two && values_of(*checkpoint, 1) == two));
  CHECK(values_of(*checkpoint, 2) == eight);
  CHECK(values_of(*checkpoint, 3).empty());
  const auto numbers = [&](std::size_t index) {
    const std::string text = values_of(*checkpoint, index);
    std::vector<float> values(text.size() / sizeof(float));
    std::memcpy(values.data(), text.data(), text.size());
    return values;
  };
  CHECK(numbers(4) == std::vector<float>{2, 3, 5, 6});
  CHECK(numbers(5) == std::vector<float>{1, 4, 7});
  std::string wrong(1, ' ');
  CHECK_THROWS_AS(checkpoint->read(4, std::as_writable_bytes(std::span(wrong))), std::logic_error);
}

TEST_CASE("torch checkpoint: buffers of integers are left out, parameters of integers are refused") {
  const std::string float_tensor = pickled::tensor({.elements = 1});
  const pickled::Tensor ids{.storage = "IntStorage", .elements = 1};
  pickled::Tensor parameter = ids;
  parameter.is_parameter = true;
  const auto file = [&](const pickled::Tensor& tensor) {
    return torch_bytes(whole(pickled::dict({{"ids", pickled::tensor(tensor)}, {"a", float_tensor}})),
                       {"1234"});
  };
  const std::string bytes = file(ids);
  const auto checkpoint = TorchCheckpoint::parse(bytes_of(bytes), "model.bin");
  REQUIRE(checkpoint->tensors().size() == 1);
  CHECK(checkpoint->tensors()[0].name == "a");
  CHECK(contains(torch_refusal(file(parameter)),
                 "ids: wanted a parameter of F64, F32, F16 or BF16, found I32"));
}

TEST_CASE("torch checkpoint: a state dict inside another dict is found") {
  const std::string state = pickled::dict({{"a", pickled::tensor({.elements = 1})}});
  for (const char* name : {"state_dict", "model_state_dict", "model"}) {
    const std::string bytes = torch_bytes(whole(pickled::dict({{"epoch", "K\3"}, {name, state}})), {"1234"});
    CHECK(TorchCheckpoint::parse(bytes_of(bytes), "model.bin")->tensors()[0].name == "a");
  }
  CHECK(contains(torch_refusal(torch_bytes(whole(pickled::dict({{"weights", state}})), {"1234"})),
                 "weights: wanted a tensor, found a dict. Save the state dict alone"));
  CHECK(contains(torch_refusal(torch_bytes(whole("]"), {})), "data.pkl: wanted a state dict, found a list"));
  CHECK(
      contains(torch_refusal(torch_bytes(whole("}"), {})), "a state dict with tensors, found an empty one"));
  CHECK(contains(torch_refusal(torch_bytes(whole("}K\1K\2s"), {})),
                 "names of 1 to 256 bytes, found an integer"));
  CHECK(contains(torch_refusal(torch_bytes(whole(pickled::dict({{std::string(257, 'a'), "N"}})), {})),
                 "found 257 bytes"));
  const std::string twice = pickled::tensor({.elements = 1});
  CHECK(contains(torch_refusal(torch_bytes(whole(pickled::dict({{"a", twice}, {"a", twice}})), {"1234"})),
                 "a: wanted it once, found it twice"));
}

TEST_CASE("torch checkpoint: a tensor that leaves its storage is refused") {
  constexpr std::uint64_t kLargest = std::numeric_limits<std::int64_t>::max();
  const auto refused = [](pickled::Tensor tensor) {
    tensor.elements = 6;
    return torch_refusal(file_with(tensor, floats(6)));
  };
  CHECK(refused({.shape = {2, 3}, .strides = {3, 1}}).empty());
  CHECK(contains(refused({.offset = 1, .shape = {2, 3}, .strides = {3, 1}}),
                 "a: wanted elements below 6, where the storage ends, found shape [2, 3] with strides [3, 1] "
                 "from 1 on"));
  CHECK(contains(refused({.offset = 6}), "elements below 6"));
  CHECK(contains(refused({.offset = 7, .shape = {0}, .strides = {1}}), "elements below 6"));
  CHECK(contains(refused({.shape = {7}, .strides = {1}}), "elements below 6"));
  CHECK(contains(refused({.shape = {2}, .strides = {6}}), "elements below 6"));
  CHECK(contains(refused({.shape = {kLargest}, .strides = {0}}), "a position of its own for each element"));
  CHECK(contains(refused({.shape = {kLargest}, .strides = {kLargest}}),
                 "a position of its own for each element"));
  CHECK(
      contains(refused({.offset = static_cast<std::int64_t>(kLargest), .shape = {2}, .strides = {kLargest}}),
               "elements below 6"));
  CHECK(contains(refused({.shape = {kLargest, kLargest, 0}, .strides = {1, 1, 1}}),
                 "a position of its own for each element"));
}

TEST_CASE("torch checkpoint: storage and pickle must agree") {
  const pickled::Tensor tensor{.elements = 6, .shape = {6}, .strides = {1}};
  CHECK(contains(torch_refusal(file_with(tensor, floats(5))),
                 "a: wanted a storage of 6 F32 elements, found 20 bytes"));
  CHECK(contains(torch_refusal(file_with(tensor, floats(7))), "a storage of 6 F32 elements, found 28 bytes"));
  pickled::Tensor other = tensor;
  other.key = "1";
  CHECK(contains(torch_refusal(file_with(other, floats(6))),
                 "a: wanted its storage data/1, found no such member"));
  other.key = "../data.pkl";
  CHECK(contains(torch_refusal(file_with(other, floats(6))), "no such member"));
  other = tensor;
  other.elements = std::numeric_limits<std::int64_t>::max();
  CHECK(contains(torch_refusal(file_with(other, floats(6))), "found 24 bytes"));
}

TEST_CASE("torch checkpoint: an archive of another kind or byte order is refused") {
  const ZipMember pickle{.name = "m/data.pkl",
                         .bytes = whole(pickled::dict({{"a", pickled::tensor({.elements = 1})}}))};
  const ZipMember storage{.name = "m/data/0", .bytes = "1234"};
  CHECK(torch_refusal(zip_bytes({pickle, storage})).empty());  // before torch 2.1 there is no byteorder
  CHECK(contains(torch_refusal(zip_bytes({pickle, storage, {.name = "m/byteorder", .bytes = "big"}})),
                 "byteorder: wanted little, found big"));
  CHECK(contains(
      torch_refusal(zip_bytes({pickle, storage, {.name = "m/byteorder", .bytes = std::string(17, 'l')}})),
      "at most 16 bytes"));
  CHECK(contains(torch_refusal(zip_bytes({pickle, storage, {.name = "n/data/1", .bytes = ""}})),
                 "n/data/1: wanted all members in m/, found one elsewhere"));
  CHECK(contains(torch_refusal(zip_bytes({storage})), "a PyTorch file, with data.pkl in a folder"));
  CHECK(contains(torch_refusal(zip_bytes({{.name = "data.pkl", .bytes = "\x80\2}."}})),
                 "data.pkl in a folder"));
}

TEST_CASE("torch checkpoint: other files are refused with the way to a checkpoint") {
  const TemporaryFolder folder;
  CHECK(contains(
      open_refusal(folder.write("old.bin", "\x80\x02\x8a\x0al\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.")),
      "a PyTorch file of the form before version 1.6"));
  CHECK(contains(open_refusal(folder.write("lfs.bin", "version https://git-lfs.github.com/spec/v1\n")),
                 "git lfs pull"));
  CHECK(contains(open_refusal(folder / "missing.bin"), "no such file"));
  CHECK(contains(open_refusal(folder.path()), "found a folder without them"));
}

// "a" in one file and "b" with an integer buffer in another.
void write_shards(const TemporaryFolder& folder, std::string_view index) {
  const std::string b =
      whole(pickled::dict({{"b", pickled::tensor({.elements = 2, .offset = 1})},
                           {"ids", pickled::tensor({.storage = "LongStorage", .elements = 1})}}));
  folder.write("pytorch_model-1-of-2.bin", file_with({.elements = 1}, "aaaa"));
  folder.write("pytorch_model-2-of-2.bin", torch_bytes(b, {"xxxxbbbb"}));
  folder.write("pytorch_model.bin.index.json", index);
}
constexpr std::string_view kIndex =
    R"({"metadata":{},"weight_map":{"a":"pytorch_model-1-of-2.bin","b":"pytorch_model-2-of-2.bin","ids":"pytorch_model-2-of-2.bin"}})";

TEST_CASE("torch checkpoint: shards open by their folder and by their index") {
  const TemporaryFolder folder;
  write_shards(folder, kIndex);
  for (const std::string& path : {folder.path(), folder / "pytorch_model.bin.index.json"}) {
    const auto checkpoint = TorchCheckpoint::open(path);
    CHECK(all_values(*checkpoint) == std::map<std::string, std::string>{{"a", "aaaa"}, {"b", "bbbb"}});
  }
  folder.write("pytorch_model.bin", file_with({.elements = 1}, "cccc"));  // a single file wins
  CHECK(all_values(*TorchCheckpoint::open(folder.path())).at("a") == "cccc");
}

TEST_CASE("torch checkpoint: shards and index must agree, and no name leads out of the folder") {
  const TemporaryFolder folder;
  write_shards(folder, R"({"weight_map":{"a":"pytorch_model-1-of-2.bin"}})");
  CHECK(open_refusal(folder.path()).empty());  // files that the index does not name are not opened
  write_shards(folder, R"({"weight_map":{"a":"pytorch_model-2-of-2.bin"}})");
  CHECK(contains(open_refusal(folder.path()), "b: wanted only tensors that the index names"));
  write_shards(folder, R"({"weight_map":{"a":"pytorch_model-1-of-2.bin","c":"pytorch_model-1-of-2.bin"}})");
  CHECK(contains(open_refusal(folder.path()), "c: wanted the tensor that the index names"));
  write_shards(folder, R"({"weight_map":{"a":"pytorch_model-3-of-3.bin"}})");
  CHECK(contains(open_refusal(folder.path()), "the shard that the index names, found no such file"));
  write_shards(folder, R"({"weight_map":{"a":"../pytorch_model-1-of-2.bin"}})");
  CHECK(contains(open_refusal(folder.path()), "a file name without folders"));
}

}  // namespace
}  // namespace ttt::weights
