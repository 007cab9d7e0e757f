// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: any bytes as a JAX stream.
#include "tests/fuzz/tensor_check.h"
#include "weights/checkpoint_error.h"
#include "weights/jax_checkpoint.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ttt::weights;
  try {
    const JaxCheckpoint checkpoint = JaxCheckpoint::parse(std::as_bytes(std::span(data, size)), "fuzz");
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < checkpoint.tensors().size(); ++i) {
      const ArchivedTensor& tensor = checkpoint.tensors()[i];
      const auto bytes = tensor_bytes(tensor.dtype, tensor.shape);
      require(bytes && *bytes <= size - sum);  // together no more than the file
      sum += *bytes;
      std::vector<std::byte> values(static_cast<std::size_t>(*bytes));
      checkpoint.read(i, values);
    }
  } catch (const CheckpointError&) {  // a refusal; anything else is a finding
  }
  return 0;
}
