// SPDX-License-Identifier: Apache-2.0
// `ttt info`: what a model is, and whether its file is sound.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/import_files.h"
#include "cli/open_model.h"
#include "cuda/cuda_backend.h"
#include "engine/config.h"

namespace ttt::cli {

struct InfoOptions {
  std::string model;
  bool tensors = false;
  bool check = false;
  bool devices = false;  // instead of a model
  bool json = false;
};

struct ModelInfo {
  struct Precision {
    std::string type;  // "BF16"
    std::size_t tensors = 0;
    std::uint64_t bytes = 0;
  };
  struct Tensor {
    std::string name;
    std::string type;
    std::vector<std::uint64_t> shape;
    std::uint64_t bytes = 0;
  };
  struct Tokenizer {
    std::string type;  // "bpe"
    std::int64_t pieces = 0;
    std::optional<TokenId> bos, eos;
    bool adds_bos = false;
  };
  struct Check {
    std::string weights_hash;           // recomputed
    std::vector<std::string> problems;  // one sentence each; empty: sound
  };

  std::string path;
  std::string format;  // "GGUF", "Hugging Face folder", "JAX train state"
  ModelConfig config;
  std::uint64_t parameters = 0;
  std::vector<Precision> precision;
  std::vector<Tensor> tensors;
  std::optional<Tokenizer> tokenizer;
  std::uint64_t fresh_state_bytes = 0;  // of one sequence
  std::uint64_t max_state_bytes = 0;
  std::uint64_t file_bytes = 0;
  std::string stored_hash;  // empty where the file has none
  std::vector<std::string> warnings;
  std::optional<Check> check;
};

ModelInfo describe_model(const ModelFiles& files);
ModelInfo describe_import(const ImportFiles& files);
// One line for people: "JAX train state of 331 MB: TTT-Linear 125m, ...".
std::string recognised(const ModelInfo& info);

// Reads every weight: recomputes the hash, looks for values that are not finite. `tokenizer` may be null.
ModelInfo::Check check_model(const Model& model, const tokenizer::Tokenizer* tokenizer,
                             const ModelInfo& info);
ModelInfo::Check check_model(const ModelFiles& files, const ModelInfo& info);

// What --device may name on this machine.
struct DeviceList {
  struct Cpu {
    std::string name;
    std::size_t processors = 0;
    std::string target;  // of the kernels
  };
  struct Gpu {
    cuda::CudaDevice device;
    std::string fault;  // why it cannot be used; empty if it can
  };

  Cpu cpu;
  std::vector<Gpu> gpus;
  std::string cuda;  // one line: runtime and driver, or why there is none
};
DeviceList list_devices();

// Returns kInvalidModel if a check found a problem.
int info(const InfoOptions& options);

}  // namespace ttt::cli
