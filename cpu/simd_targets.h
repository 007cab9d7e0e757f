// SPDX-License-Identifier: Apache-2.0
// Which of Highway's targets are compiled: the one place that says so. Include before any header of Highway.
#pragma once

// x86-64: scalar code (of which the compiler makes SSE2), SSE4 (2010), AVX2 with FMA (2013), AVX-512 (2017).
// A file that defines TTT_WITH_VNNI before is compiled once more for AVX-512 with VNNI (2019): products of
// bytes. SSSE3 lacks what SSE4 has in no machine that matters. arm64: NEON. Vectors of SVE have no size at
// compile time, so they cannot lie in arrays of partial sums.
#define HWY_WANT_AVX3_DL
#define TTT_NEVER_COMPILED (HWY_SSSE3 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
// Under the sanitizers each target takes a minute, and all run the same source.
#ifdef TTT_FEW_TARGETS
#define HWY_DISABLED_TARGETS (TTT_NEVER_COMPILED | HWY_SSE4 | HWY_AVX3 | HWY_AVX3_DL)
#elif defined(TTT_WITH_VNNI)
#define HWY_DISABLED_TARGETS TTT_NEVER_COMPILED
#else
#define HWY_DISABLED_TARGETS (TTT_NEVER_COMPILED | HWY_AVX3_DL)
#endif
