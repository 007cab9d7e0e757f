// SPDX-License-Identifier: Apache-2.0
#include "weights/pickle.h"

#include <fmt/format.h>

#include <array>
#include <optional>
#include <utility>

#include "weights/checkpoint_error.h"
#include "weights/limits.h"

namespace ttt::weights {
namespace {

constexpr std::string_view kPickleRemedy =
    "The file is damaged, or holds more than tensors. If you trust it, load it in Python and save the state "
    "dict alone: torch.save(model.state_dict(), \"pytorch_model.bin\").";

// What a global stands for. Storage classes come last, in the order of kStorageTypes.
enum GlobalIndex : std::int64_t { kOrderedDict, kRebuildTensor, kRebuildParameter, kFirstStorage };

constexpr std::array<std::string_view, 13> kGlobals = {"collections OrderedDict",
                                                       "torch._utils _rebuild_tensor_v2",
                                                       "torch._utils _rebuild_parameter",
                                                       "torch DoubleStorage",
                                                       "torch FloatStorage",
                                                       "torch HalfStorage",
                                                       "torch BFloat16Storage",
                                                       "torch LongStorage",
                                                       "torch IntStorage",
                                                       "torch ShortStorage",
                                                       "torch CharStorage",
                                                       "torch ByteStorage",
                                                       "torch BoolStorage"};
constexpr std::array<DType, 10> kStorageTypes = {DType::kF64, DType::kF32, DType::kF16, DType::kBF16,
                                                 DType::kI64, DType::kI32, DType::kI16, DType::kI8,
                                                 DType::kU8,  DType::kBool};
static_assert(kGlobals.size() == kFirstStorage + kStorageTypes.size());

constexpr std::uint64_t kMaxPickledTensors = 2 * limits::kMaxTensors;  // a parameter wraps a tensor

// Opcodes that are refused, for messages.
struct OpcodeName {
  unsigned char opcode;
  std::string_view name;
};
constexpr std::array<OpcodeName, 35> kRefusedOpcodes = {{
    {'i', "INST"},         {'o', "OBJ"},          {0x81, "NEWOBJ"},
    {0x92, "NEWOBJ_EX"},   {0x82, "EXT1"},        {0x83, "EXT2"},
    {0x84, "EXT4"},        {'P', "PERSID"},       {'0', "POP"},
    {'1', "POP_MARK"},     {'2', "DUP"},          {'F', "FLOAT"},
    {'I', "INT"},          {'L', "LONG"},         {0x8b, "LONG4"},
    {'S', "STRING"},       {'T', "BINSTRING"},    {'U', "SHORT_BINSTRING"},
    {'V', "UNICODE"},      {'B', "BINBYTES"},     {'C', "SHORT_BINBYTES"},
    {0x8d, "BINUNICODE8"}, {0x8e, "BINBYTES8"},   {'d', "DICT"},
    {'l', "LIST"},         {'g', "GET"},          {'p', "PUT"},
    {0x8f, "EMPTY_SET"},   {0x90, "ADDITEMS"},    {0x91, "FROZENSET"},
    {0x96, "BYTEARRAY8"},  {0x97, "NEXT_BUFFER"}, {0x98, "READONLY_BUFFER"},
    {0x80, "PROTO"},       {0x95, "FRAME"},
}};

class PickleReader {
 public:
  PickleReader(std::string_view bytes, std::string_view file) : bytes_(bytes), file_(file) {}
  Pickle read();

 private:
  // Each does its opcode and returns true, or knows none of this number.
  bool do_scalar(unsigned char opcode);
  bool do_container(unsigned char opcode);
  bool do_memo(unsigned char opcode);
  bool do_object(unsigned char opcode);

  std::string_view take(std::uint64_t size);
  std::uint64_t take_number(std::size_t size);  // little endian
  std::int64_t take_long();
  std::string_view take_line();
  void take_frame();

  PickleId add(PickleValue value);
  void push(PickleId id);
  PickleId pop();
  std::vector<PickleId> pop_to_mark();
  PickleValue& top(PickleKind wanted);
  void push_new(PickleKind kind, std::int64_t integer = 0) { push(add({.kind = kind, .integer = integer})); }
  void push_tuple(std::size_t size);
  void set_items(const std::vector<PickleId>& pairs);
  void put(std::uint64_t slot);
  void get(std::uint64_t slot);

  void push_global(const std::string& name);
  void push_storage();
  void reduce();
  void rebuild_tensor(const std::vector<PickleId>& arguments);
  void rebuild_parameter(const std::vector<PickleId>& arguments);
  void push_tensor(PickledTensor tensor);
  void check_count(std::size_t count) const;

  const PickleValue& value(PickleId id, PickleKind wanted, std::string_view what) const;
  std::uint64_t size_of(PickleId id, std::string_view what) const;
  Shape shape_of(PickleId id, std::string_view what) const;
  [[noreturn]] void fail(std::string_view wanted, std::string_view found) const {
    refuse({.file = file_,
            .where = fmt::format("data.pkl, byte {}", opcode_at_),
            .wanted = wanted,
            .found = found,
            .remedy = kPickleRemedy});
  }

  std::string_view bytes_;
  std::string_view file_;
  std::size_t position_ = 0;
  std::size_t opcode_at_ = 0;  // where the current opcode stands, for messages
  Pickle result_;
  std::vector<PickleId> stack_;
  std::vector<std::size_t> marks_;             // sizes of the stack
  std::vector<std::optional<PickleId>> memo_;  // by slot
};

Pickle PickleReader::read() {
  const std::string_view head = bytes_.substr(0, 2);
  if (head.size() < 2 || head[0] != '\x80' || head[1] < 2 || head[1] > 5)
    fail("a pickle of protocol 2 to 5", "something else");
  position_ = 2;
  for (;;) {
    opcode_at_ = position_;
    const auto opcode = static_cast<unsigned char>(take(1)[0]);
    if (opcode == '.') break;
    if (do_scalar(opcode) || do_container(opcode) || do_memo(opcode) || do_object(opcode)) continue;
    for (const OpcodeName& refused : kRefusedOpcodes) {
      if (refused.opcode == opcode)
        fail("only the opcodes that torch.save writes", fmt::format("{}", refused.name));
    }
    fail("an opcode of pickle", fmt::format("byte 0x{:02x}", opcode));
  }
  if (stack_.size() != 1 || !marks_.empty()) fail("one value at the end", fmt::format("{}", stack_.size()));
  if (position_ != bytes_.size()) fail("the end of the pickle", "more bytes behind it");
  result_.root = stack_.front();
  return std::move(result_);
}

bool PickleReader::do_scalar(unsigned char opcode) {
  switch (opcode) {
    case 'N':
      push_new(PickleKind::kNone);
      return true;
    case 0x88:  // NEWTRUE
    case 0x89:  // NEWFALSE
      push_new(PickleKind::kBoolean, opcode == 0x88 ? 1 : 0);
      return true;
    case 'J':  // BININT
      push_new(PickleKind::kInteger, static_cast<std::int32_t>(static_cast<std::uint32_t>(take_number(4))));
      return true;
    case 'K':  // BININT1
      push_new(PickleKind::kInteger, static_cast<std::int64_t>(take_number(1)));
      return true;
    case 'M':  // BININT2
      push_new(PickleKind::kInteger, static_cast<std::int64_t>(take_number(2)));
      return true;
    case 0x8a:  // LONG1
      push_new(PickleKind::kInteger, take_long());
      return true;
    case 'G':  // BINFLOAT
      take(8);
      push_new(PickleKind::kFloat);
      return true;
    case 'X':     // BINUNICODE
    case 0x8c: {  // SHORT_BINUNICODE
      const std::string_view text = take(take_number(opcode == 'X' ? 4 : 1));
      push(add({.kind = PickleKind::kString, .text = std::string(text)}));
      return true;
    }
    default:
      return false;
  }
}

bool PickleReader::do_container(unsigned char opcode) {
  switch (opcode) {
    case '(':  // MARK
      if (marks_.size() == limits::kMaxPickleValues) fail("fewer marks", "too many");
      marks_.push_back(stack_.size());
      return true;
    case ')':  // EMPTY_TUPLE
      push_new(PickleKind::kTuple);
      return true;
    case ']':  // EMPTY_LIST
      push_new(PickleKind::kList);
      return true;
    case '}':  // EMPTY_DICT
      push_new(PickleKind::kDict);
      return true;
    case 0x85:  // TUPLE1
    case 0x86:  // TUPLE2
    case 0x87:  // TUPLE3
      push_tuple(opcode - 0x84U);
      return true;
    case 't': {  // TUPLE
      std::vector<PickleId> items = pop_to_mark();
      push(add({.kind = PickleKind::kTuple, .items = std::move(items)}));
      return true;
    }
    case 'a': {  // APPEND
      const PickleId item = pop();
      top(PickleKind::kList).items.push_back(item);
      return true;
    }
    case 'e': {  // APPENDS
      const std::vector<PickleId> items = pop_to_mark();
      std::vector<PickleId>& list = top(PickleKind::kList).items;
      list.insert(list.end(), items.begin(), items.end());
      return true;
    }
    case 's': {  // SETITEM
      const PickleId item = pop();
      const PickleId key = pop();
      set_items({key, item});
      return true;
    }
    case 'u':  // SETITEMS
      set_items(pop_to_mark());
      return true;
    default:
      return false;
  }
}

bool PickleReader::do_memo(unsigned char opcode) {
  switch (opcode) {
    case 'q':  // BINPUT
    case 'r':  // LONG_BINPUT
      put(take_number(opcode == 'q' ? 1 : 4));
      return true;
    case 0x94:  // MEMOIZE
      put(memo_.size());
      return true;
    case 'h':  // BINGET
    case 'j':  // LONG_BINGET
      get(take_number(opcode == 'h' ? 1 : 4));
      return true;
    case 0x95:  // FRAME
      take_frame();
      return true;
    default:
      return false;
  }
}

bool PickleReader::do_object(unsigned char opcode) {
  switch (opcode) {
    case 'c': {  // GLOBAL
      const std::string module(take_line());
      push_global(module + " " + std::string(take_line()));
      return true;
    }
    case 0x93: {  // STACK_GLOBAL
      const PickleId name = pop();
      const PickleId module = pop();
      push_global(value(module, PickleKind::kString, "a module's name").text + " " +
                  value(name, PickleKind::kString, "a global's name").text);
      return true;
    }
    case 'Q':  // BINPERSID
      push_storage();
      return true;
    case 'R':  // REDUCE
      reduce();
      return true;
    case 'b':  // BUILD: attributes of a state dict (_metadata), which nothing here needs
      pop();
      top(PickleKind::kDict);
      return true;
    default:
      return false;
  }
}

std::string_view PickleReader::take(std::uint64_t size) {
  const std::size_t left = bytes_.size() - position_;
  if (size > left)
    fail(fmt::format("{} more bytes", size), fmt::format("{} before the end of the pickle", left));
  const std::string_view text = bytes_.substr(position_, static_cast<std::size_t>(size));
  position_ += text.size();
  return text;
}

std::uint64_t PickleReader::take_number(std::size_t size) {
  std::uint64_t number = 0;
  unsigned shift = 0;
  for (const char c : take(size)) {
    number |= std::uint64_t{static_cast<unsigned char>(c)} << shift;
    shift += 8;
  }
  return number;
}

// Two's complement, in as few bytes as it needs.
std::int64_t PickleReader::take_long() {
  const std::uint64_t size = take_number(1);
  if (size > 8) fail("an integer of at most 64 bits", fmt::format("{} bytes", size));
  if (size == 0) return 0;
  const auto unused = static_cast<unsigned>(64 - 8 * size);
  return static_cast<std::int64_t>(take_number(static_cast<std::size_t>(size)) << unused) >> unused;
}

std::string_view PickleReader::take_line() {
  const std::size_t end = bytes_.find('\n', position_);
  if (end == std::string_view::npos) fail("the end of a name", "the end of the pickle");
  const std::string_view line = take(end - position_);
  take(1);
  return line;
}

// A frame only says how much to read at once.
void PickleReader::take_frame() {
  const std::uint64_t size = take_number(8);
  const std::size_t left = bytes_.size() - position_;
  if (size > left) fail(fmt::format("a frame of {} bytes", size), fmt::format("{} bytes", left));
}

PickleId PickleReader::add(PickleValue value) {
  if (result_.values.size() == limits::kMaxPickleValues)
    fail(fmt::format("at most {} values", limits::kMaxPickleValues), "more");
  result_.values.push_back(std::move(value));
  return static_cast<PickleId>(result_.values.size() - 1);
}

void PickleReader::push(PickleId id) {
  if (stack_.size() == limits::kMaxPickleValues)
    fail(fmt::format("at most {} values on the stack", limits::kMaxPickleValues), "more");
  stack_.push_back(id);
}

PickleId PickleReader::pop() {
  const std::size_t floor = marks_.empty() ? 0 : marks_.back();
  if (stack_.size() == floor) fail("a value on the stack", "none");
  const PickleId id = stack_.back();
  stack_.pop_back();
  return id;
}

std::vector<PickleId> PickleReader::pop_to_mark() {
  if (marks_.empty()) fail("a mark on the stack", "none");
  const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
  std::vector<PickleId> items(begin, stack_.end());
  stack_.erase(begin, stack_.end());
  marks_.pop_back();
  return items;
}

PickleValue& PickleReader::top(PickleKind wanted) {
  const PickleId id = pop();
  stack_.push_back(id);
  PickleValue& value = result_.values[id];
  if (value.kind != wanted) fail(kind_name(wanted), kind_name(value.kind));
  return value;
}

void PickleReader::push_tuple(std::size_t size) {
  std::vector<PickleId> items(size);
  for (std::size_t i = size; i-- > 0;) items[i] = pop();
  push(add({.kind = PickleKind::kTuple, .items = std::move(items)}));
}

void PickleReader::set_items(const std::vector<PickleId>& pairs) {
  if (pairs.size() % 2 != 0) fail("keys with a value each", "a key without one");
  std::vector<PickleId>& items = top(PickleKind::kDict).items;
  items.insert(items.end(), pairs.begin(), pairs.end());
}

void PickleReader::put(std::uint64_t slot) {
  if (slot >= limits::kMaxPickleValues)
    fail(fmt::format("a memo slot below {}", limits::kMaxPickleValues), fmt::format("{}", slot));
  const PickleId id = pop();
  stack_.push_back(id);
  if (slot >= memo_.size()) memo_.resize(static_cast<std::size_t>(slot) + 1);
  memo_[static_cast<std::size_t>(slot)] = id;
}

void PickleReader::get(std::uint64_t slot) {
  if (slot >= memo_.size() || !memo_[static_cast<std::size_t>(slot)])
    fail("a memo slot that was filled", fmt::format("{}", slot));
  push(*memo_[static_cast<std::size_t>(slot)]);
}

void PickleReader::push_global(const std::string& name) {
  for (std::size_t i = 0; i < kGlobals.size(); ++i) {
    if (kGlobals[i] == name) return push_new(PickleKind::kGlobal, static_cast<std::int64_t>(i));
  }
  fail("only what a tensor is made of", fmt::format("the global \"{}\", which is not looked up", name));
}

void PickleReader::push_storage() {
  const std::vector<PickleId>& parts = value(pop(), PickleKind::kTuple, "a persistent id").items;
  if (parts.size() != 5 || value(parts[0], PickleKind::kString, "a persistent id").text != "storage")
    fail("a persistent id of the form (\"storage\", class, key, location, elements)", "another one");
  const std::int64_t type = value(parts[1], PickleKind::kGlobal, "a storage class").integer - kFirstStorage;
  if (type < 0) fail("a storage class", "another global");
  value(parts[3], PickleKind::kString, "a storage's location");
  // A long key that is memoised once would be copied for every persistent id.
  const std::string& key = value(parts[2], PickleKind::kString, "a storage's key").text;
  if (key.size() > limits::kMaxFileNameBytes)
    fail(fmt::format("a key of at most {} bytes", limits::kMaxFileNameBytes), fmt::format("{}", key.size()));
  PickledStorage storage;
  storage.dtype = kStorageTypes[static_cast<std::size_t>(type)];
  storage.key = key;
  storage.elements = size_of(parts[4], "a storage's element count");
  check_count(result_.storages.size());
  result_.storages.push_back(std::move(storage));
  push_new(PickleKind::kStorage, static_cast<std::int64_t>(result_.storages.size() - 1));
}

void PickleReader::reduce() {
  const std::vector<PickleId>& arguments = value(pop(), PickleKind::kTuple, "arguments").items;
  switch (value(pop(), PickleKind::kGlobal, "a function").integer) {
    case kOrderedDict:
      if (!arguments.empty()) fail("an OrderedDict without arguments", fmt::format("{}", arguments.size()));
      return push_new(PickleKind::kDict);
    case kRebuildTensor:
      return rebuild_tensor(arguments);
    case kRebuildParameter:
      return rebuild_parameter(arguments);
    default:
      fail("a function", "a storage class");
  }
}

// (storage, offset, shape, strides, requires_grad, hooks[, metadata])
void PickleReader::rebuild_tensor(const std::vector<PickleId>& arguments) {
  if (arguments.size() != 6 && arguments.size() != 7)
    fail("a tensor of 6 or 7 parts", fmt::format("{}", arguments.size()));
  PickledTensor tensor;
  tensor.storage =
      static_cast<std::size_t>(value(arguments[0], PickleKind::kStorage, "a tensor's storage").integer);
  tensor.offset = size_of(arguments[1], "a tensor's offset");
  tensor.shape = shape_of(arguments[2], "a tensor's shape");
  tensor.strides = shape_of(arguments[3], "a tensor's strides");
  if (tensor.strides.size() != tensor.shape.size())
    fail(fmt::format("{} strides", tensor.shape.size()), fmt::format("{}", tensor.strides.size()));
  tensor.is_parameter = value(arguments[4], PickleKind::kBoolean, "requires_grad").integer != 0;
  push_tensor(std::move(tensor));
}

// (tensor, requires_grad, hooks)
void PickleReader::rebuild_parameter(const std::vector<PickleId>& arguments) {
  if (arguments.size() != 3) fail("a parameter of 3 parts", fmt::format("{}", arguments.size()));
  const std::int64_t inner = value(arguments[0], PickleKind::kTensor, "a parameter's tensor").integer;
  PickledTensor tensor = result_.tensors[static_cast<std::size_t>(inner)];
  tensor.is_parameter = true;
  push_tensor(std::move(tensor));
}

void PickleReader::push_tensor(PickledTensor tensor) {
  check_count(result_.tensors.size());
  result_.tensors.push_back(std::move(tensor));
  push_new(PickleKind::kTensor, static_cast<std::int64_t>(result_.tensors.size() - 1));
}

void PickleReader::check_count(std::size_t count) const {
  if (count == kMaxPickledTensors)
    fail(fmt::format("at most {} tensors and storages each", kMaxPickledTensors), "more");
}

const PickleValue& PickleReader::value(PickleId id, PickleKind wanted, std::string_view what) const {
  const PickleValue& value = result_.values[id];
  if (value.kind != wanted)
    fail(fmt::format("{} for {}", kind_name(wanted), what), std::string(kind_name(value.kind)));
  return value;
}

std::uint64_t PickleReader::size_of(PickleId id, std::string_view what) const {
  const std::int64_t number = value(id, PickleKind::kInteger, what).integer;
  if (number < 0) fail(fmt::format("{} of 0 or more", what), fmt::format("{}", number));
  return static_cast<std::uint64_t>(number);
}

Shape PickleReader::shape_of(PickleId id, std::string_view what) const {
  const std::vector<PickleId>& items = value(id, PickleKind::kTuple, what).items;
  if (items.size() > limits::kMaxTensorRank)
    fail(fmt::format("at most {} numbers for {}", limits::kMaxTensorRank, what),
         fmt::format("{}", items.size()));
  Shape shape;
  for (const PickleId item : items) shape.push_back(size_of(item, what));
  return shape;
}

}  // namespace

Pickle read_pickle(std::string_view bytes, std::string_view file) { return PickleReader(bytes, file).read(); }

std::string_view kind_name(PickleKind kind) {
  constexpr std::array<std::string_view, 11> kNames = {"None",     "a boolean", "an integer", "a float",
                                                       "a string", "a tuple",   "a list",     "a dict",
                                                       "a global", "a storage", "a tensor"};
  return kNames.at(static_cast<std::size_t>(kind));
}

}  // namespace ttt::weights
