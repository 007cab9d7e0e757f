// SPDX-License-Identifier: Apache-2.0
// `ttt eval ppl`: how well a model predicts a text, in one pass over any length.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/open_model.h"

namespace ttt::cli {

struct PplOptions {
  ModelOptions model;
  std::string file;                    // "-": stdin
  std::optional<std::int64_t> tokens;  // ids read in all, bos included; empty: the whole text
  bool json = false;
};

struct PplResult {
  // Predictions at positions [first, end); position i predicts token i + 1 from tokens 0 ... i.
  struct Bucket {
    std::size_t first = 0;
    std::size_t end = 0;
    double loss = 0.0;
  };

  std::size_t tokens = 0;      // ids, bos included; one prediction fewer
  double loss = 0.0;           // mean of -ln p, nats per token
  double perplexity = 0.0;     // exp(loss)
  double bits_per_byte = 0.0;  // of the text that was predicted
  std::vector<Bucket> by_position;
  double seconds = 0.0;
};

// What a command reads of a text: its ids with bos in front, `tokens` of them at most, with a warning where
// it has fewer. Throws UsageError where there are not at least `least`.
std::vector<TokenId> ids_of_text(const ModelFiles& files, const std::string& text,
                                 std::optional<std::int64_t> tokens, std::size_t least);

// -ln p of the predictions at 0, 1, 2 ... -> everything of PplResult but bits_per_byte and seconds. Sums in
// double. Buckets are [0, 64), [64, 128), [128, 256) and so on. REQUIRES: not empty.
PplResult summarise_losses(const std::vector<double>& losses);

int eval_ppl(const PplOptions& options);

}  // namespace ttt::cli
