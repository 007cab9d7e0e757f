// SPDX-License-Identifier: Apache-2.0
#include "cli/doctor.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <stdexcept>

#include "cli/exit_code.h"
#include "cli/info.h"
#include "cli/json_output.h"
#include "cli/open_model.h"
#include "cli/parse_value.h"
#include "cli/readable.h"
#include "cli/standard_streams.h"

namespace ttt::cli {
namespace {

constexpr std::uint64_t kFewOpenFiles = 64;

using Variables = std::vector<std::pair<std::string, std::string>>;

Variables environment_of_this_process() {
  Variables variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::size_t equals = std::min(text.find('='), text.size());
    variables.emplace_back(text.substr(0, equals), text.substr(std::min(equals + 1, text.size())));
  }
  return variables;
}

bool is_relevant(std::string_view name) {
  return name.starts_with("TTT_") || name == "CUDA_VISIBLE_DEVICES" || name == "XDG_CONFIG_HOME";
}

bool contains(const std::vector<std::string>& list, std::string_view text) {
  return std::ranges::find(list, text) != list.end();
}

Variables shown_environment(const Variables& environment, const DoctorOptions& options,
                            const Redaction& redaction) {
  Variables shown;
  for (const auto& [name, value] : environment) {
    if (!is_relevant(name)) continue;
    const bool is_number =
        contains(options.numeric_variables, name) && (parse_integer(value) || parse_number(value));
    shown.emplace_back(redaction.text(name), is_number ? value : redaction.variable(name, value));
  }
  std::ranges::sort(shown);
  return shown;
}

ModelReport examine_model(const std::string& path, const Redaction& redaction,
                          std::optional<std::uint64_t> memory) {
  ModelReport report;
  report.path = redaction.path(path);
  report.file_system = file_system_type(path);
  try {
    const ModelFiles files(path);
    const ModelInfo info = describe_model(files);
    report.format = info.format;
    report.family = info.config.is_mlp() ? "TTT-MLP" : "TTT-Linear";
    report.weights_hash = redaction.text(info.stored_hash);
    report.parameters = info.parameters;
    report.weights_bytes = info.file_bytes;
    report.max_state_bytes = info.max_state_bytes;
    if (memory) {
      report.sequences = *memory > info.file_bytes ? (*memory - info.file_bytes) / info.max_state_bytes : 0;
    }
  } catch (const std::runtime_error& error) {
    report.error = redaction.text_about(path, error.what());
  }
  return report;
}

class Problems {
 public:
  explicit Problems(const DoctorReport& report) : report_(report) {}

  std::vector<std::string> find(const DoctorOptions& options, const Variables& environment) {
    check_build();
    check_processors();
    check_gpus();
    check_memory();
    check_variables(options, environment);
    if (!report_.config.error.empty()) {
      add("The configuration file cannot be used: {}. Correct it, or give --no-config.",
          report_.config.error);
    }
    for (const ModelReport& model : report_.models) check_model(model);
    return std::move(problems_);
  }

 private:
  template <typename... Arguments>
  void add(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
    problems_.push_back(fmt::format(format, std::forward<Arguments>(arguments)...));
  }

  void check_build() {
    const VersionInfo& version = report_.version;
    if (!version.sanitizers.empty()) {
      add("This build has the sanitizers {}, which make it many times slower: build the preset release for "
          "use.",
          version.sanitizers);
    } else if (version.build_type == "Debug") {
      add("This is a Debug build, many times slower: build the preset release for use.");
    }
  }

  void check_processors() {
    const Machine& machine = report_.machine;
    const auto quota = machine.cgroup.processors;
    if (quota && *quota < 1.0) {
      add("The control group allows {:.2f} of a processor, so that the program stands still most of the "
          "time: "
          "raise the container's processor limit to 1 or more.",
          *quota);
    }
    if (machine.governor == "powersave") {
      add("The frequency governor is powersave, so that measured speeds are low and vary: set performance "
          "for measurements.");
    }
#if defined(__x86_64__)
    if (!machine.simd.empty() && !contains(machine.simd, "avx2")) {
      add("The processor (or the virtual machine's model of it) has no AVX2, so that everything is slow: "
          "choose "
          "a processor of 2015 or later, or give the virtual machine its host's model.");
    }
#endif
  }

  void check_gpus() {
    for (const std::string& fault : report_.gpu_faults) {
      add("A GPU cannot be used, so that the CPU computes: {}.", fault);
    }
  }

  void check_memory() {
    const Machine& machine = report_.machine;
    if (machine.overcommit == "never") {
      add("vm.overcommit_memory is 2, so that memory can be refused while some is free: if the program says "
          "out "
          "of memory, set it to 0.");
    }
    const auto files = parse_integer(machine.open_files);
    if (files && std::cmp_less(*files, kFewOpenFiles)) {
      add("Only {} files may be open at once: raise the limit (ulimit -n 1024).", *files);
    }
  }

  void check_variables(const DoctorOptions& options, const Variables& environment) {
    for (const auto& [name, value] : environment) {
      if (!name.starts_with("TTT_") || contains(options.variables, name)) continue;
      const auto meant = nearest(name, options.variables);
      add("No option reads the variable {}{}.", escaped(name),
          meant ? fmt::format(": {} was probably meant", *meant) : ": remove it, or see ttt help WORD");
    }
  }

  void check_model(const ModelReport& model) {
    if (!model.error.empty()) {
      add("{} cannot be opened: {}", model.path, model.error);
      return;
    }
    const Machine& machine = report_.machine;
    const std::string needed = readable_memory(model.needed_bytes());
    const auto limit = machine.cgroup.memory_max;
    if (limit && *limit < model.needed_bytes()) {
      add("memory.max allows {}; {} needs {}: raise the container's memory limit, or use a smaller model or "
          "one "
          "converted with --type bf16.",
          readable_memory(*limit), model.path, needed);
    } else if (machine.memory_available && *machine.memory_available < model.needed_bytes()) {
      add("{} of memory are available; {} needs {}, so that weights are read from the disk again and again: "
          "close "
          "other programs, or use a smaller model or one converted with --type bf16.",
          readable_memory(*machine.memory_available), model.path, needed);
    }
    constexpr std::array<std::string_view, 7> kRemote = {"nfs", "cifs", "smb2",  "fuse",
                                                         "9p",  "ceph", "lustre"};
    if (std::ranges::find(kRemote, model.file_system) != kRemote.end()) {
      add("{} lies on {}, where loading is slow and the file may go away while it is in use: copy it to a "
          "local "
          "disk, or give --no-mmap.",
          model.path, model.file_system);
    }
  }

  const DoctorReport& report_;
  std::vector<std::string> problems_;
};

// The report for people, section by section.
class Text {
 public:
  explicit Text(const DoctorReport& report) : report_(report) {}

  std::string write() {
    text_ = version_text(report_.version);
    write_processor();
    write_memory();
    write_system();
    write_models();
    text_ += report_.problems.empty() ? "\nno problem found\n" : "\nproblems\n";
    for (const std::string& problem : report_.problems) text_ += fmt::format("  * {}\n", problem);
    return std::move(text_);
  }

 private:
  void section(std::string_view title) { text_ += fmt::format("\n{}\n", title); }
  void line(std::string_view key, const std::string& value) {
    text_ += fmt::format("  {:<16}{}\n", key, value.empty() ? "not told" : value);
  }
  static std::string bytes(std::optional<std::uint64_t> value, std::string_view none = "not told") {
    return value ? readable_memory(*value) : std::string(none);
  }

  void write_processor() {
    const Machine& machine = report_.machine;
    section("processor");
    line("name", machine.processor);
    line("processors",
         fmt::format(
             "{} online, {} by affinity, {} by control group, {} used",
             machine.online == 0 ? "?" : fmt::format("{}", machine.online),
             machine.affinity ? fmt::format("{}", *machine.affinity) : "?",
             machine.cgroup.processors ? fmt::format("{:.2f}", *machine.cgroup.processors) : "no limit",
             report_.version.processors));
    line("simd", fmt::format("{}", fmt::join(machine.simd, " ")));
    std::string caches;
    for (const auto& [level, type, size, shared_by] : machine.caches) {
      const std::string_view kind = type == "Data" ? "d" : type == "Instruction" ? "i" : "";
      caches += fmt::format("{}L{}{} {}{}", caches.empty() ? "" : ", ", level, kind, readable_memory(size),
                            shared_by > 1 ? fmt::format(" for {}", shared_by) : "");
    }
    line("caches", caches);
    line("governor", machine.governor);
    section("graphics processors");
    line("cuda", report_.gpu);
    for (const cuda::CudaDevice& device : report_.gpus) {
      line(fmt::format("cuda:{}", device.index),
           fmt::format("{}, compute {}.{}, {}", device.name, device.compute_capability_major,
                       device.compute_capability_minor, readable_memory(device.memory_bytes)));
    }
  }

  void write_memory() {
    const Machine& machine = report_.machine;
    section("memory");
    line("total", bytes(machine.memory_total));
    line("available", bytes(machine.memory_available));
    line("control group", machine.cgroup.memory_max ? fmt::format("{} allowed, {} in use, caches included",
                                                                  readable_memory(*machine.cgroup.memory_max),
                                                                  bytes(machine.cgroup.memory_current, "?"))
                                                    : "no limit");
    line("swap", fmt::format("{}, {} free", bytes(machine.swap_total), bytes(machine.swap_free)));
    line("huge pages", machine.huge_pages);
    line("overcommit", machine.overcommit);
    const auto lockable = parse_integer(machine.lockable_memory);
    line("lockable", lockable && *lockable >= 0 ? readable_memory(static_cast<std::uint64_t>(*lockable))
                                                : machine.lockable_memory);
  }

  void write_system() {
    const Machine& machine = report_.machine;
    section("system");
    line("kernel", machine.kernel);
    line("distribution", machine.distribution);
    line("C library", machine.libc);
    line("container", machine.containers.empty() ? "no sign of one"
                                                 : fmt::format("{}", fmt::join(machine.containers, ", ")));
    line("open files", machine.open_files);
    section("settings");
    const DoctorReport::Config& config = report_.config;
    line("config file", config.path.empty()    ? "none"
                        : config.error.empty() ? config.path
                                               : fmt::format("{} (not usable)", config.path));
    for (const auto& [name, value] : report_.environment) text_ += fmt::format("  {}={}\n", name, value);
  }

  void write_models() {
    for (const ModelReport& model : report_.models) {
      section("model " + model.path);
      line("file system", model.file_system);
      if (!model.error.empty()) {
        line("opened", "no");
        continue;
      }
      line("opened", fmt::format("yes: {}, {}, {} parameters; the header is valid", model.format,
                                 model.family, readable_count(model.parameters)));
      line("size", readable_memory(model.weights_bytes));
      line("state", fmt::format("{} per sequence at most", readable_memory(model.max_state_bytes)));
      line("weights hash", model.weights_hash.empty() ? "not stored" : model.weights_hash);
      if (!model.sequences) {
        line("fits", "");
      } else if (*model.sequences == 0) {
        line("fits", "no");
      } else {
        line("fits", fmt::format("yes, with {} sequences", *model.sequences));
      }
    }
  }

  const DoctorReport& report_;
  std::string text_;
};

std::vector<std::string> find_gpu_faults(const std::vector<cuda::CudaDevice>& gpus) {
  std::vector<std::string> faults = {cuda::driver_fault()};
  for (const cuda::CudaDevice& device : gpus) faults.push_back(cuda::why_unusable(device.index));
  std::erase(faults, "");
  return faults;
}

}  // namespace

DoctorReport examine(const DoctorOptions& options, Machine machine, const Variables& environment,
                     const Redaction& redaction) {
  DoctorReport report;
  report.version = describe_version();
  report.machine = std::move(machine);
  report.gpu = cuda::cuda_description();
  report.gpus = cuda::cuda_devices();
  report.gpu_faults = find_gpu_faults(report.gpus);
  report.environment = shown_environment(environment, options, redaction);
  if (options.config_file) {
    report.config.path = redaction.path(*options.config_file);
    report.config.error = redaction.text_about(*options.config_file, options.config_error);
  }
  for (const std::string& path : options.models) {
    report.models.push_back(examine_model(path, redaction, usable_memory(report.machine)));
  }
  report.problems = Problems(report).find(options, environment);
  return report;
}

int doctor(const DoctorOptions& options) {
  const Redaction redaction(Identity::of_this_process(), options.paths);
  const DoctorReport report = examine(options, read_machine(), environment_of_this_process(), redaction);
  write_stdout(options.json ? to_json(report) : Text(report).write());
  const bool unusable =
      std::ranges::any_of(report.models, [](const auto& model) { return !model.error.empty(); });
  return unusable ? kInvalidModel : kOk;
}

}  // namespace ttt::cli
