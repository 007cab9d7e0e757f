// SPDX-License-Identifier: Apache-2.0
// The pickle inside a PyTorch file, as data: plain values, storages and tensors. Nothing that a pickle names
// is looked up or called. A global that is not on the short list below, or an opcode that torch.save does not
// write, ends the reading.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "weights/tensor.h"

namespace ttt::weights {

enum class PickleKind : std::uint8_t {
  kNone,
  kBoolean,
  kInteger,
  kFloat,  // its value is not kept: nothing asks for one
  kString,
  kTuple,
  kList,
  kDict,
  kGlobal,
  kStorage,
  kTensor
};

using PickleId = std::uint32_t;  // index into Pickle::values

// A container holds ids, so what is referenced a million times stands once, and a list may hold itself: a
// caller must not follow ids without bound.
struct PickleValue {
  PickleKind kind = PickleKind::kNone;
  std::int64_t integer = 0;          // kBoolean, kInteger; index of a kGlobal, kStorage, kTensor
  std::string text = {};             // kString
  std::vector<PickleId> items = {};  // kTuple, kList; kDict: key, value, ... in the order they were set
};

// The persistent id ("storage", class, key, location, elements).
struct PickledStorage {
  DType dtype = DType::kF32;
  std::string key;
  std::uint64_t elements = 0;
};

struct PickledTensor {
  std::size_t storage = 0;  // index into Pickle::storages
  std::uint64_t offset = 0;
  Shape shape;
  Shape strides;              // as many as extents; in elements, as the offset
  bool is_parameter = false;  // wrapped as one, or it asks for a gradient
};

struct Pickle {
  std::vector<PickleValue> values;
  PickleId root = 0;
  std::vector<PickledStorage> storages;  // one for each persistent id, so the same key may stand twice
  std::vector<PickledTensor> tensors;
};

// Protocols 2 to 5. Knows collections.OrderedDict, torch._utils._rebuild_tensor_v2 and _rebuild_parameter,
// and torch's storage classes. Time and memory are bounded by the length of `bytes` and by limits.h.
// Whether a tensor lies inside its storage is the caller's to check. Throws CheckpointError naming `file`.
Pickle read_pickle(std::string_view bytes, std::string_view file);

std::string_view kind_name(PickleKind kind);  // "a string": for messages

}  // namespace ttt::weights
