// SPDX-License-Identifier: Apache-2.0
// Whether the sanitizers watch, which makes everything five to fifty times slower. What repeats a test with other
// random choices then repeats it less; what only takes long is tagged [slow] and left out.
#pragma once

namespace ttt::test {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

}  // namespace ttt::test
