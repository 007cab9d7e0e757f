// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: any bytes as a whole PyTorch file, the zip library included.
#include "tests/fuzz/tensor_check.h"
#include "weights/checkpoint_error.h"
#include "weights/torch_checkpoint.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ttt::weights;
  try {
    const auto checkpoint = TorchCheckpoint::parse(std::as_bytes(std::span(data, size)), "fuzz");
    for (std::size_t i = 0; i < checkpoint->tensors().size(); ++i) {
      const ArchivedTensor& tensor = checkpoint->tensors()[i];
      const auto bytes = tensor_bytes(tensor.dtype, tensor.shape);
      require(bytes && *bytes <= size);  // no element of a storage stands twice
      std::vector<std::byte> values(*bytes);
      checkpoint->read(i, values);
    }
  } catch (const CheckpointError&) {  // a refusal; anything else is a finding
  }
  return 0;
}
