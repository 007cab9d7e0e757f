// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>  // __GLIBC__

// Makes g++ compile a function once more for each of these vector widths; the loader takes the widest that
// the processor has. The bits are the same, as nothing is fused (-ffp-contract=off). Sanitizers come too late
// for that.
#if defined(__x86_64__) && defined(__GLIBC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
#define TTT_WIDE_VECTORS __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define TTT_WIDE_VECTORS
#endif
