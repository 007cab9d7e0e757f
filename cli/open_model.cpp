// SPDX-License-Identifier: Apache-2.0
#include "cli/open_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <system_error>
#include <utility>

#include "cli/exit_code.h"
#include "cli/import_files.h"
#include "cli/log.h"
#include "cli/machine.h"
#include "cli/page_options.h"
#include "cli/readable.h"
#include "cli/signals.h"
#include "cli/standard_streams.h"
#include "cpu/cpu_backend.h"
#include "cpu/dispatch.h"
#include "cpu/machine_probe.h"
#include "cpu/processors.h"
#include "cuda/cuda_backend.h"
#include "engine/tokenizer_metadata.h"
#include "weights/checkpoint_error.h"

namespace ttt::cli {
namespace {

weights::Checkpoint open_checkpoint(const std::string& path, weights::FileAccess access) {
  require_model(path);
  return weights::Checkpoint::open(path, access);
}

std::optional<cpu::PackedCacheOptions> packed_cache(const ModelOptions& options) {
  if (options.packed_cache.empty()) return std::nullopt;
  return cpu::PackedCacheOptions{
      .folder = options.packed_cache,
      .max_bytes = static_cast<std::uint64_t>(options.packed_cache_limit),
      .access = options.no_mmap ? weights::FileAccess::kRead : weights::FileAccess::kMap,
      .warn = print_warning,
      .inform = log_info};
}

cpu::CpuOptions cpu_options(const ModelOptions& options, const BackendLimits& limits) {
  return {.num_slots = limits.slots,
          .max_batch_tokens = limits.tokens,
          .max_logits_rows = limits.logits_rows,
          .num_threads = static_cast<std::size_t>(options.threads),
          .pin_threads = options.pin_threads || options.numa != "off",
          .cpu_target = options.cpu_target,
          .packed_cache = packed_cache(options)};
}

cuda::CudaOptions cuda_options(const ModelOptions& options, const BackendLimits& limits, int device) {
  return {.num_slots = limits.slots,
          .max_batch_tokens = limits.tokens,
          .max_logits_rows = limits.logits_rows,
          .device = device,
          .precision = rounds_operands(options) ? cuda::Precision::kFast : cuda::Precision::kExact,
          .deterministic = options.deterministic,
          .graphs = true,
          .warn = print_warning};
}

// Of "cuda" and "cuda:1"; throws UsageError for anything else.
int cuda_index(std::string_view device) {
  constexpr std::string_view kCuda = "cuda";
  int index = 0;
  if (device == kCuda) return index;
  if (device.starts_with(kCuda) && device.substr(kCuda.size()).starts_with(':')) {
    const std::string_view digits = device.substr(kCuda.size() + 1);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
    if (error == std::errc() && end == digits.data() + digits.size() && index >= 0) return index;
  }
  throw UsageError(fmt::format("--device: wanted auto, cpu, cuda or cuda:0, found '{}'", device));
}

// The CPU computes in one way alone. `why`: it is the CPU.
void refuse_fast_cpu(const ModelOptions& options, std::string_view why) {
  if (options.precision == "fast") {
    throw UsageError(fmt::format("--precision fast: only a GPU computes with 16-bit operands, and {}", why));
  }
}

// What `auto` computes on, and why.
struct DeviceChoice {
  std::optional<int> cuda;  // index; else the CPU
  std::string reason;
};

// The first device that can be used and holds the model with one sequence.
DeviceChoice choose_automatically(const Model& model, const ModelOptions& options,
                                  const BackendLimits& limits) {
  DeviceChoice choice;
  const std::vector<cuda::CudaDevice> devices = cuda::cuda_devices();
  if (devices.empty()) {
    choice.reason = cuda::driver_fault();
    if (choice.reason.empty()) choice.reason = cuda::cuda_description();
  }
  BackendLimits least = limits;
  least.slots = 1;
  for (const cuda::CudaDevice& device : devices) {
    try {
      cuda::check_memory(model, cuda_options(options, least, device.index));
      choice.cuda = device.index;
      choice.reason = fmt::format("{} can be used and has room", device.name);
      return choice;
    } catch (const cuda::DeviceError& error) {
      choice.reason += fmt::format("{}{}", choice.reason.empty() ? "" : "; ", error.what());
    }
  }
  if (!choice.cuda) refuse_fast_cpu(options, choice.reason);
  return choice;
}

DeviceChoice choose_device(const Model& model, const ModelOptions& options, const BackendLimits& limits) {
  if (options.device == "auto") return choose_automatically(model, options, limits);
  if (options.device == "cpu") return {};
  return {.cuda = cuda_index(options.device), .reason = {}};
}

// Of what decides while weights are read; else nothing.
std::string reading_note(const cpu::MemoryPlan& plan) {
  if (plan.fetched <= plan.states + plan.workspace) return {};
  return fmt::format(" and {} to read them, before there are", readable_memory(plan.fetched));
}

void check_cpu_memory(const Model& model, const ModelOptions& options, const BackendLimits& limits) {
  const cpu::MemoryPlan plan = cpu::plan_memory(model, cpu_options(options, limits));
  const std::optional<std::uint64_t> usable = usable_memory(read_machine());
  if (!usable || plan.total() <= *usable) return;
  throw MemoryError(fmt::format(
      "needs {} (weights {}{}, states of {} sequences {}, workspace {}), and {} can be had: close other "
      "programs, raise the control group's limit, run fewer sequences, or convert the model with --type bf16",
      readable_memory(plan.total()), readable_memory(plan.weights), reading_note(plan), limits.slots,
      readable_memory(plan.states), readable_memory(plan.workspace), readable_memory(*usable)));
}

void tell_of_one_node(const ModelOptions& options) {
  if (options.numa == "off" || cpu::memory_nodes(cpu::allowed_processors()).size() > 1) return;
  print_notice(
      "--numa: the processors that this program may use have one memory node: nothing to distribute");
}

std::unique_ptr<Backend> make_chosen(const Model& model, const ModelOptions& options,
                                     const BackendLimits& limits, const DeviceChoice& choice) {
  if (!choice.cuda) {
    check_cpu_memory(model, options, limits);
    tell_of_one_node(options);
    if (options.no_huge_pages) avoid_huge_pages();
    if (options.mlock) lock_memory(cpu::plan_memory(model, cpu_options(options, limits)).total());
    return cpu::make_cpu_backend(model, cpu_options(options, limits));
  }
  if (const std::vector<std::string> ignored = cpu_only_options(options); !ignored.empty()) {
    print_notice(fmt::format("{}: the GPU computes, in its own memory; ignored", fmt::join(ignored, ", ")));
  }
  try {
    return cuda::make_cuda_backend(model, cuda_options(options, limits, *choice.cuda));
  } catch (const cuda::DeviceMemoryError& error) {
    throw MemoryError(error.what());
  }
}

// A program that can compute on a GPU says what it computes on without being asked.
void tell_choice(const DeviceChoice& choice) {
  const std::string line =
      choice.cuda ? fmt::format("--device auto: cuda:{}, because {}", *choice.cuda, choice.reason)
                  : fmt::format("--device auto: the CPU, because {}", choice.reason);
  if (cuda::cuda_built()) {
    print_notice(line);
  } else {
    log_info(line);
  }
}

}  // namespace

weights::FileAccess file_access(const ModelOptions& options) {
  return options.no_mmap ? weights::FileAccess::kReadParts : weights::FileAccess::kMap;
}

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
  if (device == "cpu") refuse_fast_cpu(options, "--device cpu was asked for");
  if (device == "cpu" || device == "auto") return;
  if (const std::string fault = cuda::why_unusable(cuda_index(device)); !fault.empty()) {
    throw UsageError(fmt::format("--device {}: {}; --device cpu computes without a GPU", device, fault));
  }
}

std::vector<std::string> cpu_only_options(const ModelOptions& options) {
  std::vector<std::string> given;
  if (options.mlock) given.emplace_back("--mlock");
  if (options.no_huge_pages) given.emplace_back("--no-huge-pages");
  if (options.pin_threads) given.emplace_back("--pin-threads");
  if (options.numa != "off") given.emplace_back("--numa");
  if (options.threads != 0) given.emplace_back("--threads");
  if (!options.cpu_target.empty()) given.emplace_back("--cpu-target");
  if (!options.packed_cache.empty()) given.emplace_back("--packed-cache");
  return given;
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

ModelFiles::ModelFiles(const std::string& path, weights::FileAccess access, const std::string& tokenizer_file)
    : checkpoint(open_checkpoint(path, access)),
      model(load_model(checkpoint)),
      tokenizer(tokenizer_file.empty() ? load_tokenizer(checkpoint, model.config.vocab_size)
                                       : read_tokenizer(tokenizer_file, model.config.vocab_size)),
      text(text_settings(checkpoint)) {
  add_warnings(tokenizer, model);
  model.release = [release = std::move(model.release)](std::span<const std::byte> part) {
    check_interrupted();  // weights are taken for seconds
    release(part);
  };
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

void check_memory(const Model& model, const ModelOptions& options, const BackendLimits& limits) {
  const DeviceChoice choice = choose_device(model, options, limits);
  if (!choice.cuda) return check_cpu_memory(model, options, limits);
  try {
    cuda::check_memory(model, cuda_options(options, limits, *choice.cuda));
  } catch (const cuda::DeviceMemoryError& error) {
    throw MemoryError(error.what());
  }
}

std::uint64_t planned_cpu_memory(const Model& model, const ModelOptions& options,
                                 const BackendLimits& limits) {
  return cpu::plan_memory(model, cpu_options(options, limits)).total();
}

std::unique_ptr<Backend> make_backend(const Model& model, const ModelOptions& options,
                                      const BackendLimits& limits) {
  check_device(options);
  const DeviceChoice choice = choose_device(model, options, limits);
  if (options.device == "auto") tell_choice(choice);
  auto backend = make_chosen(model, options, limits, choice);
  const BackendInfo& info = backend->info();
  const std::string threads = info.num_threads > 0 ? fmt::format("{} threads, ", info.num_threads) : "";
  log_info(fmt::format("device {} ({}), {}kernels for {}", info.device, info.device_name, threads,
                       info.dispatch_target));
  log_info(fmt::format("state {} bytes, weights {} bytes beyond the mapped file, workspace {} bytes",
                       info.slot_bytes, info.weights_bytes, info.workspace_bytes));
  return backend;
}

bool rounds_operands(const ModelOptions& options) { return options.precision != "exact"; }

std::unique_ptr<MachineProbe> make_probe(const BackendInfo& backend, std::uint64_t read_bytes) {
  if (backend.num_threads == 0) return cuda::make_machine_probe(cuda_index(backend.device));
  return std::make_unique<cpu::MachineProbe>(backend.num_threads, static_cast<std::size_t>(read_bytes));
}

OpenModel::OpenModel(const ModelOptions& options, const BackendLimits& limits,
                     const std::function<void(const ModelFiles&)>& check_files)
    : files((check_device(options), options.model), file_access(options)) {
  if (check_files) check_files(files);
  for (const std::string& warning : files.model.warnings) print_warning(warning);
  backend = make_backend(files.model, options, limits);
}

}  // namespace ttt::cli
