// SPDX-License-Identifier: Apache-2.0
// From a path to something that runs: checkpoint, model, tokenizer, backend. The only place that knows which
// backend there is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/backend.h"
#include "engine/machine_limits.h"
#include "engine/model.h"
#include "engine/text_settings.h"
#include "tokenizer/tokenizer.h"
#include "weights/checkpoint.h"

namespace ttt::cli {

// What every command that computes asks for.
struct ModelOptions {
  std::string model;  // a .gguf file or a Hugging Face folder
  std::string device = "auto";
  std::string precision = "auto";  // auto, fast, exact
  std::int64_t threads = 0;        // 0: what the machine allows
  bool no_mmap = false;
  bool no_huge_pages = false;
  bool mlock = false;
  bool pin_threads = false;
  std::string numa = "off";  // off, distribute: the same as pin_threads
  bool deterministic = false;
  std::string cpu_target;                                    // empty: the best of this machine
  std::string packed_cache;                                  // a folder; empty: none
  std::int64_t packed_cache_limit = std::int64_t{32} << 30;  // bytes
};

// How a model file's bytes come to a backend.
weights::FileAccess file_access(const ModelOptions& options);

// The files of a model, checked; nothing is computed. Neither copied nor moved: what follows borrows from
// what stands before.
struct ModelFiles {
  // `tokenizer_file` wins over the model's own tokenizer, which is not looked at then; empty: none.
  explicit ModelFiles(const std::string& path, weights::FileAccess access = weights::FileAccess::kMap,
                      const std::string& tokenizer_file = "");
  ModelFiles(const ModelFiles&) = delete;
  ModelFiles& operator=(const ModelFiles&) = delete;

  weights::Checkpoint checkpoint;
  Model model;
  std::optional<tokenizer::Tokenizer> tokenizer;
  TextSettings text;

  // Throws CheckpointError with the remedy where there is none.
  const tokenizer::Tokenizer& need_tokenizer() const;
  std::optional<TokenId> bos_id() const;  // as the file says, else as the tokenizer says
  std::optional<TokenId> eos_id() const;
  // Ids of a text, with bos in front where the file asks for it and `bos` allows it. An empty text is bos
  // alone; throws UsageError where that leaves nothing.
  std::vector<TokenId> encode_prompt(std::string_view text, bool bos, tokenizer::SpecialTokens special) const;
};

// Sequences at once, and limits of one step. Prefill is fastest with many rows; raw logits take V floats a
// row.
struct BackendLimits {
  std::size_t slots = 1;
  std::size_t tokens = 512;
  std::size_t logits_rows = 1;
};

// Throws MemoryError where such a backend takes more memory than can be had. The weights' bytes are not read.
void check_memory(const Model& model, const ModelOptions& options, const BackendLimits& limits);

// What a backend of the CPU takes, weights, states and workspace.
std::uint64_t planned_cpu_memory(const Model& model, const ModelOptions& options,
                                 const BackendLimits& limits);

// The backend that `options` name. Throws UsageError for a device that is not there, MemoryError where the
// memory that it will take is more than can be had, before it takes any.
std::unique_ptr<Backend> make_backend(const Model& model, const ModelOptions& options,
                                      const BackendLimits& limits);

// Whether products are of 16-bit operands where a GPU computes.
bool rounds_operands(const ModelOptions& options);

// What the machine of a backend can do at best: a processor with as many threads, a GPU with the memory that
// is left. `read_bytes`: what a processor reads, at least beyond every cache where the model is. Null where
// a GPU has no room for it. Throws std::bad_alloc.
std::unique_ptr<MachineProbe> make_probe(const BackendInfo& backend, std::uint64_t read_bytes);

struct OpenModel {
  // Throws CheckpointError, TokenizerError, UsageError for a device that is not there, std::bad_alloc. Prints
  // the model's warnings. `check_files` is called before weights are taken, and may throw what it likes.
  explicit OpenModel(const ModelOptions& options) : OpenModel(options, BackendLimits()) {}
  OpenModel(const ModelOptions& options, const BackendLimits& limits,
            const std::function<void(const ModelFiles&)>& check_files = {});

  ModelFiles files;
  std::unique_ptr<Backend> backend;

  const ModelConfig& config() const { return files.model.config; }
};

// An empty path is a UsageError that says how to name a model.
void require_model(const std::string& path);

// Throws UsageError for a device that is not there, a precision that it does not have, and a CPU target that
// this machine does not have. Opens nothing.
void check_device(const ModelOptions& options);

// Those of the given options that mean nothing where a GPU computes: "--mlock", ...
std::vector<std::string> cpu_only_options(const ModelOptions& options);

// Throws UsageError if a command may not write to `path`: it is a folder, or exists and `force` is not given.
void check_output(const std::string& path, bool force);

}  // namespace ttt::cli
