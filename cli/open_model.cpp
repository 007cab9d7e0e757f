// SPDX-License-Identifier: Apache-2.0
#include "cli/open_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "cli/exit_code.h"
#include "cli/log.h"
#include "cli/machine.h"
#include "cli/page_options.h"
#include "cli/readable.h"
#include "cli/standard_streams.h"
#include "cpu/cpu_backend.h"
#include "cpu/dispatch.h"
#include "cuda/cuda_backend.h"
#include "engine/tokenizer_metadata.h"
#include "weights/checkpoint_error.h"

namespace ttt::cli {
namespace {

weights::Checkpoint open_checkpoint(const std::string& path, weights::FileAccess access) {
  require_model(path);
  return weights::Checkpoint::open(path, access);
}

cpu::CpuOptions cpu_options(const ModelOptions& options, const BackendLimits& limits) {
  return {.num_slots = limits.slots,
          .max_batch_tokens = limits.tokens,
          .max_logits_rows = limits.logits_rows,
          .num_threads = static_cast<std::size_t>(options.threads),
          .pin_threads = options.pin_threads,
          .cpu_target = options.cpu_target};
}

}  // namespace

void require_model(const std::string& path) {
  if (path.empty()) {
    throw UsageError(
        "no model given: name a .gguf file or a Hugging Face folder as the first argument, with -m, "
        "or in TTT_MODEL");
  }
}

void check_device(const ModelOptions& options) {
  const std::vector<std::string> targets = cpu::cpu_targets();
  if (!options.cpu_target.empty() && std::ranges::find(targets, options.cpu_target) == targets.end()) {
    throw UsageError(fmt::format("--cpu-target: wanted one of {}, found '{}'", fmt::join(targets, ", "),
                                 options.cpu_target));
  }
  const std::string& device = options.device;
  if (device == "cpu" || device == "auto") return;
  if (device != "cuda" && !device.starts_with("cuda:")) {
    throw UsageError(fmt::format("--device: wanted auto, cpu, cuda or cuda:0, found '{}'", device));
  }
  throw UsageError(fmt::format("--device {}: this version computes on the CPU only ({}); use --device cpu",
                               device, cuda::cuda_description()));
}

void check_output(const std::string& path, bool force) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    throw UsageError(fmt::format("{} is a folder; name the file to write", path));
  }
  if (!force && std::filesystem::exists(path, error)) {
    throw UsageError(fmt::format("{} exists already; --force replaces it", path));
  }
}

ModelFiles::ModelFiles(const std::string& path, weights::FileAccess access)
    : checkpoint(open_checkpoint(path, access)),
      model(load_model(checkpoint)),
      tokenizer(load_tokenizer(checkpoint, model.config.vocab_size)),
      text(text_settings(checkpoint)) {
  log_info(fmt::format("opened {}: {} layers of width {}, {} tensors, {} bytes, {}", path,
                       model.config.num_hidden_layers, model.config.hidden_size, checkpoint.tensors().size(),
                       checkpoint.file_bytes(), tokenizer ? "with a tokenizer" : "without a tokenizer"));
}

const tokenizer::Tokenizer& ModelFiles::need_tokenizer() const {
  if (!tokenizer) {
    weights::refuse(
        {.file = checkpoint.path(),
         .wanted = "a tokenizer, to read and write text",
         .found = "none",
         .remedy = "Put the tokenizer.model that the model was trained with into the folder (and convert "
                   "again, for a .gguf file), or work with token ids: --tokens 1,2,3."});
  }
  return *tokenizer;
}

std::optional<TokenId> ModelFiles::bos_id() const {
  if (model.config.bos_token_id) return model.config.bos_token_id;
  return tokenizer ? tokenizer->bos_id() : std::nullopt;
}

std::optional<TokenId> ModelFiles::eos_id() const {
  if (model.config.eos_token_id) return model.config.eos_token_id;
  return tokenizer ? tokenizer->eos_id() : std::nullopt;
}

std::vector<TokenId> ModelFiles::encode_prompt(std::string_view prompt, bool bos,
                                               tokenizer::SpecialTokens special) const {
  std::vector<TokenId> ids = need_tokenizer().encode(prompt, special);
  if (bos && bos_id() && text.adds_bos) ids.insert(ids.begin(), *bos_id());
  if (ids.empty())
    throw UsageError("the prompt is empty and no bos token stands in for it: give at least one word");
  return ids;
}

void check_memory(const Model& model, const ModelOptions& options, const BackendLimits& limits,
                  std::uint64_t beside) {
  const cpu::MemoryPlan plan = cpu::plan_memory(model, cpu_options(options, limits));
  const std::optional<std::uint64_t> usable = usable_memory(read_machine());
  const std::uint64_t total = plan.total() + beside;
  if (!usable || total <= *usable) return;
  throw MemoryError(fmt::format(
      "needs {} (weights {}, states of {} sequences {}, workspace {}), and {} can be had: close other "
      "programs, raise the control group's limit, run fewer sequences, or convert the model with --type bf16",
      readable_memory(total), readable_memory(plan.weights), limits.slots, readable_memory(plan.states),
      readable_memory(plan.workspace), readable_memory(*usable)));
}

std::unique_ptr<Backend> make_backend(const Model& model, const ModelOptions& options,
                                      const BackendLimits& limits) {
  check_device(options);
  check_memory(model, options, limits);
  if (options.no_huge_pages) avoid_huge_pages();
  if (options.mlock) lock_memory(cpu::plan_memory(model, cpu_options(options, limits)).total());
  auto backend = cpu::make_cpu_backend(model, cpu_options(options, limits));
  const BackendInfo& info = backend->info();
  log_info(fmt::format("device {} ({}), {} threads, kernels for {}", info.device, info.device_name,
                       info.num_threads, info.dispatch_target));
  log_info(fmt::format("state {} bytes, weights {} bytes beyond the mapped file, workspace {} bytes",
                       info.slot_bytes, info.weights_bytes, info.workspace_bytes));
  return backend;
}

OpenModel::OpenModel(const ModelOptions& options, const BackendLimits& limits)
    : files((check_device(options), options.model),
            options.no_mmap ? weights::FileAccess::kRead : weights::FileAccess::kMap) {
  for (const std::string& warning : files.model.warnings) print_warning(warning);
  backend = make_backend(files.model, options, limits);
}

}  // namespace ttt::cli
