// SPDX-License-Identifier: Apache-2.0
#include "weights/pickle.h"

#include <fmt/format.h>

#include <catch2/catch.hpp>

#include "tests/weights/torch_files.h"
#include "weights/limits.h"

namespace ttt::weights {
namespace {

using namespace std::string_literals;
using pickled::whole;

std::string pickle_refusal(const std::string& bytes) {
  return refusal_of([&] { read_pickle(bytes, "model.bin"); });
}

const PickleValue& root(const Pickle& pickle) { return pickle.values[pickle.root]; }

// The one value of a pickle of `opcodes`.
PickleValue value_of(const std::string& opcodes) { return root(read_pickle(whole(opcodes), "model.bin")); }

TEST_CASE("pickle: plain values are read as what they are") {
  CHECK(value_of("N").kind == PickleKind::kNone);
  CHECK(value_of("\x88").integer == 1);
  CHECK((value_of("\x89").integer == 0 && value_of("\x89").kind == PickleKind::kBoolean));
  CHECK(value_of("J\xfe\xff\xff\xff").integer == -2);
  CHECK(value_of("K\xff").integer == 255);
  CHECK(value_of("M\x01\x02").integer == 0x0201);
  CHECK(value_of("\x8a\x00"s).integer == 0);
  CHECK(value_of("\x8a\x01\xff").integer == -1);
  CHECK(value_of("\x8a\x02\xff\x00"s).integer == 255);
  CHECK(value_of("\x8a\x05\x00\x00\x00\x00\x01"s).integer == std::int64_t{1} << 32);
  CHECK(value_of("\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x80"s).integer ==
        std::numeric_limits<std::int64_t>::min());
  CHECK(value_of("G"s + std::string(8, '\1')).kind == PickleKind::kFloat);
  CHECK(value_of("X\x03\x00\x00\x00"s + "abc").text == "abc");
  CHECK(value_of("\x8c\x02"s + "ab").text == "ab");
  CHECK((value_of(")").kind == PickleKind::kTuple && value_of(")").items.empty()));
  CHECK(value_of("]").kind == PickleKind::kList);
  CHECK(value_of("}").kind == PickleKind::kDict);
  CHECK(value_of("K\1K\2K\3\x87").items.size() == 3);
  CHECK(value_of("K\1K\2\x86").items.size() == 2);
  CHECK(value_of("K\1\x85").items.size() == 1);
  CHECK(value_of("(K\1K\2K\3K\4t").items.size() == 4);
  CHECK(value_of("](K\1K\2eK\3a").items.size() == 3);
  CHECK(value_of("}(K\1K\2K\3K\4uK\5K\6s").items.size() == 6);
}

TEST_CASE("pickle: memo slots give the same value again, in protocol 2 and 4") {
  CHECK(value_of("X\1\0\0\0aq\0h\0\x86"s).items == std::vector<PickleId>{0, 0});
  CHECK(value_of("X\1\0\0\0ar\xff\0\0\0j\xff\0\0\0\x86"s).items == std::vector<PickleId>{0, 0});
  const Pickle framed = read_pickle("\x80\x04\x95\x09\0\0\0\0\0\0\0\x8c\1a\x94h\0\x86\x94."s, "model.bin");
  CHECK(root(framed).items == std::vector<PickleId>{0, 0});
  CHECK(contains(pickle_refusal(whole("h\1")), "a memo slot that was filled, found 1"));
  CHECK(contains(pickle_refusal(whole("Nq\2h\1")), "a memo slot that was filled, found 1"));
  CHECK(contains(pickle_refusal(whole("Nr\xff\xff\xff\xffh\0"s)),
                 "a memo slot below 1048576, found 4294967295"));
}

TEST_CASE("pickle: a state dict gives its tensors, parameters and attributes") {
  const pickled::Tensor matrix{.key = "7", .elements = 9, .offset = 2, .shape = {2, 3}, .strides = {1, 2}};
  pickled::Tensor parameter = matrix;
  parameter.is_parameter = true;
  parameter.storage = "BFloat16Storage";
  const std::string state = pickled::global("collections", "OrderedDict") + ")R(" + pickled::text("a") +
                            pickled::tensor(matrix) + pickled::text("b") + pickled::tensor(parameter) + "u";
  const Pickle pickle = read_pickle(whole(state + "}b"), "model.bin");  // BUILD sets attributes
  REQUIRE(root(pickle).items.size() == 4);
  const auto tensor_at = [&](std::size_t item) {
    const PickleValue& value = pickle.values[root(pickle).items[item]];
    REQUIRE(value.kind == PickleKind::kTensor);
    return pickle.tensors[static_cast<std::size_t>(value.integer)];
  };
  const PickledTensor a = tensor_at(1);
  CHECK((a.offset == 2 && a.shape == Shape{2, 3} && a.strides == Shape{1, 2} && !a.is_parameter));
  CHECK(pickle.storages[a.storage].key == "7");
  CHECK(pickle.storages[a.storage].elements == 9);
  CHECK(pickle.storages[a.storage].dtype == DType::kF32);
  const PickledTensor b = tensor_at(3);
  CHECK((b.is_parameter && b.shape == Shape{2, 3}));
  CHECK(pickle.storages[b.storage].dtype == DType::kBF16);
}

TEST_CASE("pickle: each storage class has its type") {
  const std::vector<std::pair<std::string, DType>> types = {
      {"DoubleStorage", DType::kF64},    {"FloatStorage", DType::kF32}, {"HalfStorage", DType::kF16},
      {"BFloat16Storage", DType::kBF16}, {"LongStorage", DType::kI64},  {"IntStorage", DType::kI32},
      {"ShortStorage", DType::kI16},     {"CharStorage", DType::kI8},   {"ByteStorage", DType::kU8},
      {"BoolStorage", DType::kBool}};
  for (const auto& [name, dtype] : types)
    CHECK(read_pickle(whole(pickled::tensor({.storage = name})), "model.bin").storages[0].dtype == dtype);
}

TEST_CASE("pickle: every other global is refused by name, and none is called") {
  for (const auto& [module, name] :
       std::vector<std::pair<std::string, std::string>>{{"posix", "system"},
                                                        {"builtins", "exec"},
                                                        {"builtins", "getattr"},
                                                        {"torch", "load"},
                                                        {"torch.FloatStorage", ""},
                                                        {"torch", "FloatStorage.from_file"},
                                                        {"torch._utils", "_rebuild_tensor"},
                                                        {"collections", "OrderedDict "},
                                                        {"", ""}}) {
    const std::string wanted = "the global \"" + module + " " + name + "\", which is not looked up";
    CHECK(contains(pickle_refusal(whole(pickled::global(module, name))), wanted));
    CHECK(contains(pickle_refusal(whole(pickled::text(module) + pickled::text(name) + "\x93")), wanted));
  }
  CHECK(contains(pickle_refusal(whole("cos")), "the end of a name"));
  CHECK(contains(pickle_refusal(whole("K\1K\2\x93")), "a string for a global's name, found an integer"));
}

TEST_CASE("pickle: opcodes that torch.save does not write are refused by name") {
  const std::vector<std::pair<std::string, std::string>> opcodes = {{"(i", "INST"},
                                                                    {"(o", "OBJ"},
                                                                    {"))\x81", "NEWOBJ"},
                                                                    {")))\x92", "NEWOBJ_EX"},
                                                                    {"\x82\1", "EXT1"},
                                                                    {"P0\n", "PERSID"},
                                                                    {"N0", "POP"},
                                                                    {"N2", "DUP"},
                                                                    {"I1\n", "INT"},
                                                                    {"U\1a", "SHORT_BINSTRING"},
                                                                    {"C\1a", "SHORT_BINBYTES"},
                                                                    {"\x8b\1\0\0\0\1"s, "LONG4"},
                                                                    {"p0\n", "PUT"},
                                                                    {"\x8f", "EMPTY_SET"},
                                                                    {"\x97", "NEXT_BUFFER"},
                                                                    {"\x80\2", "PROTO"}};
  for (const auto& [opcode, name] : opcodes)
    CHECK(contains(pickle_refusal(whole(opcode)),
                   "only the opcodes that torch.save writes, found " + name + "."));
  CHECK(contains(pickle_refusal(whole("\xff")), "found byte 0xff"));
}

TEST_CASE("pickle: what is not made as a tensor is made is refused") {
  const std::string storage =
      pickled::tuple({pickled::text("storage"), pickled::global("torch", "FloatStorage"), pickled::text("0"),
                      pickled::text("cpu"), pickled::number(1)}) +
      "Q";
  const std::string rebuild = pickled::global("torch._utils", "_rebuild_tensor_v2");
  const auto rebuilt = [&](const std::vector<std::string>& arguments) {
    return pickle_refusal(whole(rebuild + pickled::tuple(arguments) + "R"));
  };
  const std::string zero = pickled::number(0);
  CHECK(contains(rebuilt({}), "a tensor of 6 or 7 parts, found 0"));
  CHECK(
      contains(rebuilt({"N", zero, ")", ")", "\x89", "N"}), "a storage for a tensor's storage, found None"));
  CHECK(contains(rebuilt({storage, "N", ")", ")", "\x89", "N"}), "an integer for a tensor's offset"));
  CHECK(contains(rebuilt({storage, pickled::number(-1), ")", ")", "\x89", "N"}),
                 "a tensor's offset of 0 or more, found -1"));
  CHECK(contains(rebuilt({storage, zero, "]", ")", "\x89", "N"}), "a tuple for a tensor's shape"));
  CHECK(contains(rebuilt({storage, zero, pickled::tuple(Shape{2}), ")", "\x89", "N"}), "1 strides, found 0"));
  CHECK(
      contains(rebuilt({storage, zero, pickled::tuple(Shape(9, 1)), ")", "\x89", "N"}), "at most 8 numbers"));
  CHECK(contains(rebuilt({storage, zero, ")", ")", "K\1", "N"}), "a boolean for requires_grad"));
  CHECK(rebuilt({storage, zero, ")", ")", "\x89", "N"}).empty());
  CHECK(rebuilt({storage, zero, ")", ")", "\x89", "N", "}"}).empty());
  for (const std::string& id :
       {std::string("N"), pickled::tuple({"N", "N", "N", "N", "N"}), std::string(")")})
    CHECK(contains(pickle_refusal(whole(id + "Q")), "a persistent id"));
  CHECK(contains(pickle_refusal(whole(
                     pickled::tuple({pickled::text("storage"), pickled::global("collections", "OrderedDict"),
                                     pickled::text("0"), pickled::text("cpu"), zero}) +
                     "Q")),
                 "a storage class, found another global"));
  CHECK(contains(pickle_refusal(whole(pickled::tensor({.key = std::string(256, '0')}))),
                 "a key of at most 255 bytes"));
  CHECK(contains(pickle_refusal(whole(pickled::tensor({.elements = -1}))),
                 "a storage's element count of 0 or more"));
  CHECK(contains(pickle_refusal(whole(pickled::global("torch", "FloatStorage") + ")R")),
                 "a function, found a storage"));
  CHECK(contains(pickle_refusal(whole("N)R")), "a global for a function, found None"));
  CHECK(contains(pickle_refusal(whole(pickled::global("collections", "OrderedDict") + "N\x85R")),
                 "an OrderedDict without arguments"));
  CHECK(contains(pickle_refusal(whole("NNb")), "wanted a dict, found None"));
  CHECK(contains(pickle_refusal(whole(pickled::global("torch._utils", "_rebuild_parameter") + ")R")),
                 "a parameter of 3 parts"));
}

TEST_CASE("pickle: a broken stack, a lie about a length and bytes behind the end are refused") {
  for (const std::string& opcodes : {""s,
                                     "NN"s,
                                     "(N"s,
                                     "t"s,
                                     "u"s,
                                     "e"s,
                                     "K\1a"s,
                                     "NK\1a"s,
                                     "s"s,
                                     "}N(s"s,
                                     "}(Nu"s,
                                     "N(u"s,
                                     "\x85"s,
                                     "(K\1(\x86"s,
                                     "X\xff\xff\xff\xff"s,
                                     "\x8a\x09\1\1\1\1\1\1\1\1\1"s,
                                     "\x95\xff\0\0\0\0\0\0\0N"s,
                                     "q\0"s,
                                     "R"s,
                                     "Q"s,
                                     "b"s,
                                     "N.N"s}) {
    INFO(opcodes);
    CHECK_FALSE(pickle_refusal(whole(opcodes)).empty());
  }
  CHECK(contains(pickle_refusal(""), "a pickle of protocol 2 to 5"));
  CHECK(contains(pickle_refusal("\x80\x01N."), "a pickle of protocol 2 to 5"));
  CHECK(contains(pickle_refusal("\x80\x06N."), "a pickle of protocol 2 to 5"));
  const std::string state = whole(pickled::dict({{"a", pickled::tensor({.elements = 1})}}));
  for (std::size_t size = 0; size < state.size(); ++size)
    CHECK_FALSE(pickle_refusal(state.substr(0, size)).empty());
}

TEST_CASE("pickle: nested references cost nothing, and a value may hold itself") {
  // Forty lists, each holding the one before it ten times: 10^39 elements if they were copied.
  std::string opcodes = "]q\0"s;
  for (char level = 1; level < 40; ++level) {
    opcodes += "]q"s + level + "(";
    for (int i = 0; i < 10; ++i) opcodes += "h"s + static_cast<char>(level - 1);
    opcodes += "e";
  }
  std::string all = "(" + opcodes + "t";
  CHECK(value_of(all).items.size() == 40);
  CHECK(value_of("]q\0h\0a"s).items == std::vector<PickleId>{0});
}

TEST_CASE("pickle: depth costs no stack, and counts have limits") {
  const std::string deep(limits::kMaxPickleValues - 1, '(');
  CHECK(contains(pickle_refusal(whole(deep)), "one value at the end"));
  std::string tuples = ")";
  tuples.append(500'000, '\x85');
  CHECK(value_of(tuples).items.size() == 1);
  CHECK(contains(pickle_refusal(whole(std::string(limits::kMaxPickleValues + 1, 'N'))),
                 "at most 1048576 values"));
  std::string references = "Nq\0("s;
  for (std::uint64_t i = 0; i < limits::kMaxPickleValues; ++i) references += "h\0"s;
  CHECK(contains(pickle_refusal(whole(references)), "at most 1048576 values on the stack"));
  CHECK(contains(pickle_refusal(whole(std::string(limits::kMaxPickleValues + 1, '('))), "fewer marks"));
}

}  // namespace
}  // namespace ttt::weights
