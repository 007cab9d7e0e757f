// SPDX-License-Identifier: Apache-2.0
// `ttt demo`: the bundled model continues a sentence. Proves the installation without a model of one's own.
#pragma once

#include <cstdint>
#include <string>

namespace ttt::cli {

struct DemoOptions {
  std::string model = "linear";  // or "mlp"
  std::string prompt = "It was late in the evening when the old man";
  std::int64_t max_tokens = 120;
  double temperature = 0.8;
  std::int64_t seed = 1;
  std::int64_t threads = 0;
  bool timings = false;
};

int demo(const DemoOptions& options);

// The bundled model: in TTT_MODEL_DIR, in ../share/ttt beside the program's folder, or in models/ of a source
// tree that the program was built in. Throws std::runtime_error naming the places.
std::string find_demo_model(const std::string& kind);

}  // namespace ttt::cli
