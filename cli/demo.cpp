// SPDX-License-Identifier: Apache-2.0
#include "cli/demo.h"

#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <vector>

#include "cli/exit_code.h"
#include "cli/open_model.h"
#include "cli/run.h"
#include "cli/signals.h"
#include "cli/standard_streams.h"

namespace ttt::cli {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> model_folders() {
  if (const char* folder = std::getenv("TTT_MODEL_DIR"); folder != nullptr && *folder != '\0')
    return {folder};
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  if (error) return {};
  std::vector<fs::path> folders = {program.parent_path().parent_path() / "share" / "ttt"};
  // build/release/ttt stands two folders below models/, other build folders about as deep.
  fs::path above = program.parent_path();
  for (int depth = 0; depth < 3; ++depth) {
    above = above.parent_path();
    folders.push_back(above / "models");
  }
  return folders;
}

}  // namespace

std::string find_demo_model(const std::string& kind) {
  const std::string name = fmt::format("demo-{}.gguf", kind);
  std::string places;
  for (const fs::path& folder : model_folders()) {
    std::error_code error;
    if (fs::exists(folder / name, error)) return (folder / name).string();
    places += (places.empty() ? "" : ", ") + folder.string();
  }
  throw std::runtime_error(fmt::format(
      "the bundled model {} is not in {}; set TTT_MODEL_DIR to the folder that has it", name, places));
}

int demo(const DemoOptions& options) {
  ModelOptions model_options;
  model_options.model = find_demo_model(options.model);
  model_options.threads = options.threads;
  print_notice(
      fmt::format("demo: a small TTT-{} model trained on old English novels continues a sentence; it shows "
                  "the engine, not wisdom. Your own model: ttt run MODEL -p TEXT",
                  options.model == "mlp" ? "MLP" : "Linear"));
  const auto begin = std::chrono::steady_clock::now();
  OpenModel model(model_options);
  RunResult result;
  result.load_seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  result.seed = static_cast<std::uint64_t>(options.seed);

  GenerationRequest request;
  request.prompt = model.files.encode_prompt(options.prompt, true, tokenizer::SpecialTokens::kPlain);
  request.max_tokens = options.max_tokens;
  request.sampling.temperature = static_cast<float>(options.temperature);
  request.sampling.seed = result.seed;
  request.eos_id = model.files.eos_id();
  write_stdout(options.prompt);
  Engine engine(*model.backend, model.config(), &model.files.need_tokenizer());
  const auto stream = engine.submit(std::move(request));
  result.generation = read_stream(*stream, [](const TokenEvent& event) { write_stdout(event.text); });
  write_stdout("\n");
  if (options.timings) fmt::print(stderr, "{}", timings_text(result));
  return exit_code(result.generation);
}

}  // namespace ttt::cli
