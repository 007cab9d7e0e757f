// SPDX-License-Identifier: Apache-2.0
// primitive_kernels.cu for the block emulator.
#include "tests/cuda/primitive_kernels.cu"
