// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: any bytes as a GGUF file.
#include "weights/gguf.h"

#include "tests/fuzz/tensor_check.h"
#include "weights/checkpoint_error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ttt::weights;
  const auto bytes = std::as_bytes(std::span(data, size));
  try {
    check_tensors(GgufFile::parse(bytes, "fuzz"), bytes);
  } catch (const CheckpointError&) {  // a refusal; anything else is a finding
  }
  return 0;
}
