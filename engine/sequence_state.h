// SPDX-License-Identifier: Apache-2.0
// All that a sequence has learned from what it has read, outside a backend.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace ttt {

struct SequenceState {
  std::int64_t position = 0;     // tokens read
  std::vector<std::byte> bytes;  // as Backend::save writes them there: state_bytes() of state_layout.h
};

}  // namespace ttt
