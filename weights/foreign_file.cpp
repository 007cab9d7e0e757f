// SPDX-License-Identifier: Apache-2.0
#include "weights/foreign_file.h"

#include <fmt/format.h>

#include "weights/checkpoint_error.h"
#include "weights/jax_checkpoint.h"

namespace ttt::weights {
namespace {

constexpr std::string_view kWanted = "a GGUF file or a Hugging Face folder with safetensors";

unsigned byte_at(std::string_view text, std::size_t i) {
  return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U;
}

// The opcode PROTO with a protocol from 2 to 5.
bool is_pickle(std::string_view prefix) {
  return byte_at(prefix, 0) == 0x80 && byte_at(prefix, 1) >= 2 && byte_at(prefix, 1) <= 5;
}

// What Flax itself writes: one map of strings.
bool is_flax_map(std::string_view prefix) {
  const unsigned first = byte_at(prefix, 0);
  const unsigned second = byte_at(prefix, 1);
  return first >= 0x81 && first <= 0x8f && ((second >= 0xa1 && second <= 0xbf) || second == 0xd9);
}

bool is_safetensors(std::string_view prefix) {
  return prefix.size() > 8 && prefix[8] == '{' && byte_at(prefix, 7) == 0;
}

}  // namespace

bool is_zip(std::string_view prefix) {
  return prefix.starts_with("PK\x03\x04") || prefix.starts_with("PK\x05\x06");
}

void refuse_stand_in(const std::string& path, std::string_view prefix) {
  if (prefix.empty()) {
    refuse({.file = path,
            .found = "an empty file",
            .remedy = "It was probably not written to its end: download or convert it again."});
  }
  if (prefix.starts_with("version https://git-lfs.github.com/spec/v1")) {
    refuse({.file = path,
            .found = "a Git LFS pointer, not the file itself",
            .remedy = "Run `git lfs install` and `git lfs pull` in the folder."});
  }
  if (prefix.starts_with("<!DOCTYPE") || prefix.starts_with("<!doctype") || prefix.starts_with("<html")) {
    refuse({.file = path,
            .found = "a web page",
            .remedy = "The download was answered with a page (log-in, licence or error): open the link in a "
                      "browser, then "
                      "download the file again."});
  }
}

void refuse_foreign_file(const std::string& path, std::string_view prefix) {
  refuse_stand_in(path, prefix);
  if (is_zip(prefix)) {
    refuse({.file = path,
            .wanted = kWanted,
            .found = "a PyTorch file",
            .remedy = fmt::format("Convert it once, or the folder that holds it and its config.json: ttt "
                                  "convert {} model.gguf",
                                  path)});
  }
  if (is_pickle(prefix)) {
    refuse(
        {.file = path,
         .wanted = kWanted,
         .found =
             "a PyTorch file of the form before version 1.6 (pickle, which can run code when it is loaded)",
         .remedy = "Load it in Python where you trust it, and write it with safetensors.torch.save_file."});
  }
  if (is_jax_stream(prefix)) {
    refuse({.file = path,
            .wanted = kWanted,
            .found = "a JAX file (a training checkpoint)",
            .remedy = fmt::format("Convert it once: ttt convert {} model.gguf", path)});
  }
  if (is_flax_map(prefix)) {
    refuse({.file = path,
            .wanted = kWanted,
            .found = "a JAX file of another form (one map; only streams of pairs are read)",
            .remedy = "Take the file that training wrote, streaming_train_state or streaming_params."});
  }
  if (is_safetensors(prefix)) {
    refuse({.file = path,
            .wanted = kWanted,
            .found = "a single safetensors file",
            .remedy = "Give the folder that holds it and its config.json."});
  }
  refuse({.file = path,
          .wanted = kWanted,
          .found = "a file of another kind",
          .remedy = "Check that this is the file you meant."});
}

}  // namespace ttt::weights
