// SPDX-License-Identifier: Apache-2.0
// Every limit that a file from outside meets, in one place. They are far above any real model (the
// largest published TTT model has 24 layers and about 500 tensors) and far below what could hurt.
#pragma once

#include <cstdint>

namespace ttt::weights::limits {

inline constexpr std::uint64_t kMaxTensors = 1U << 16;
inline constexpr std::uint32_t kMaxTensorRank = 8;  // safetensors; GGUF itself allows 4
inline constexpr std::uint32_t kMaxGgufRank = 4;
inline constexpr std::uint64_t kMaxTensorNameBytes = 256;
inline constexpr std::uint64_t kMaxMetadataEntries = 1U << 14;
inline constexpr std::uint64_t kMaxMetadataKeyBytes = 1U << 12;
inline constexpr std::uint64_t kMaxMetadataStringBytes = 1U << 24;  // a chat template, a licence text
inline constexpr std::uint64_t kMaxMetadataArrayLength = 1U << 22;  // token lists
inline constexpr std::uint32_t kMaxAlignment = 1U << 16;
inline constexpr std::uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;  // as the reference reader
inline constexpr std::uint64_t kMaxConfigBytes = 1U << 20;                // config.json
inline constexpr std::uint64_t kMaxIndexBytes = 1U << 26;                 // model.safetensors.index.json
inline constexpr std::uint64_t kMaxTokenizerBytes = 1U << 26;             // tokenizer.model, 64 MiB
inline constexpr std::uint64_t kMaxShards = 4096;
inline constexpr int kMaxJsonDepth = 32;
inline constexpr std::uint64_t kMaxJsonKeys = 1U << 17;  // of all objects open at once: twice kMaxTensors
inline constexpr std::uint64_t kMaxJsonStringBytes = 1U << 20;  // the parser takes twice that
inline constexpr std::uint64_t kMaxZipMembers = 1U << 17;       // twice kMaxTensors
inline constexpr std::uint64_t kMaxZipNameBytes = 512;          // folder, "data/" and key
inline constexpr std::uint64_t kMaxPickleBytes = 1U << 24;      // 110 bytes a tensor are usual
inline constexpr std::uint64_t kMaxPickleValues = 1U << 20;     // 14 a tensor; 90 bytes of memory each
inline constexpr std::uint64_t kMaxSnapshotBytes = std::uint64_t{16} << 30;  // 1.3B TTT-MLP: 0.1 GB
inline constexpr std::uint64_t kMaxFileNameBytes = 255;  // NAME_MAX, for names in a shard index

}  // namespace ttt::weights::limits
