// SPDX-License-Identifier: Apache-2.0
// A weight read from an archive, with its axes in the order of Hugging Face.
#pragma once

#include <cstddef>
#include <vector>

#include "weights/tensor_archive.h"

namespace ttt {

// `is_transposed`: with the first and the last axis exchanged; those between them are 1. Throws as
// TensorArchive::read.
std::vector<std::byte> read_archived(const weights::TensorArchive& archive, std::size_t index,
                                     bool is_transposed = false);

}  // namespace ttt
