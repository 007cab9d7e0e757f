// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: any bytes as the pickle of a PyTorch file.
#include "weights/pickle.h"

#include "tests/fuzz/tensor_check.h"
#include "weights/checkpoint_error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ttt::weights;
  try {
    const Pickle pickle = read_pickle({reinterpret_cast<const char*>(data), size}, "fuzz");
    require(pickle.root < pickle.values.size());
    require(pickle.values.size() + pickle.storages.size() + pickle.tensors.size() <= 3 * size);
    for (const PickleValue& value : pickle.values) {
      for (const PickleId item : value.items) require(item < pickle.values.size());
      const auto index = static_cast<std::uint64_t>(value.integer);
      if (value.kind == PickleKind::kDict) require(value.items.size() % 2 == 0);
      if (value.kind == PickleKind::kStorage) require(index < pickle.storages.size());
      if (value.kind == PickleKind::kTensor) require(index < pickle.tensors.size());
    }
    for (const PickledTensor& tensor : pickle.tensors) {
      require(tensor.storage < pickle.storages.size());
      require(tensor.shape.size() == tensor.strides.size());
    }
  } catch (const CheckpointError&) {  // a refusal; anything else is a finding
  }
  return 0;
}
