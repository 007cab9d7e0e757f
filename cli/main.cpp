// SPDX-License-Identifier: Apache-2.0
// Finds the command, parses its options, runs it, and turns every exception into a sentence and an exit code.
#include <fmt/format.h>

#include <new>
#include <span>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/log.h"
#include "cli/parse_value.h"
#include "cli/signals.h"
#include "cli/standard_streams.h"
#include "engine/backend.h"
#include "engine/request_error.h"
#include "weights/checkpoint_error.h"

namespace ttt::cli {
namespace {

// The command that the first words name, and how many words that took.
struct FoundCommand {
  Command* command = nullptr;
  std::size_t words = 0;
};

[[noreturn]] void refuse_command(const std::vector<Command>& list, const std::string& name) {
  std::vector<std::string> names;
  std::vector<std::string> second_words;  // of "eval ppl" for "eval"
  for (const Command& command : list) {
    names.push_back(command.name());
    if (command.name().starts_with(name + " "))
      second_words.push_back(command.name().substr(name.size() + 1));
  }
  if (!second_words.empty()) {
    throw UsageError(fmt::format("ttt {} is followed by {}", name, fmt::join(second_words, " or ")));
  }
  const auto meant = nearest(name, names);
  throw UsageError(fmt::format("unknown command '{}'{} (ttt help lists the commands)", name,
                               meant ? fmt::format("; did you mean ttt {}?", *meant) : ""));
}

FoundCommand find(Commands& commands, std::span<const std::string> arguments) {
  const std::string& first = arguments[0];
  if (first == "--version" || first == "-V") return {commands.find("version"), 1};
  if (first == "--help" || first == "-h") return {commands.find("help"), 1};
  if (arguments.size() > 1) {
    if (Command* command = commands.find(first + " " + arguments[1])) return {command, 2};
  }
  if (Command* command = commands.find(first)) return {command, 1};
  refuse_command(commands.list(), first);
}

int run_command(Commands& commands, Command& command, std::span<const std::string> arguments) {
  commands.parse(command, arguments);
  set_verbose(commands.verbose());
  if (command.help_wanted()) {
    const std::string& word = *command.help_wanted();
    write_stdout(word.empty() ? help_text(command) : search_text(commands.list(), word));
    return kOk;
  }
  if (command.print_config_wanted()) {
    write_stdout(command.effective_values());
    return kOk;
  }
  return command.run();
}

int run_arguments(const std::vector<std::string>& arguments) {
  Commands commands;
  if (arguments.empty()) {
    fmt::print(stderr, "{}", overview_text(commands.list()));
    return kUsage;
  }
  const FoundCommand found = find(commands, arguments);
  try {
    return run_command(commands, *found.command, std::span(arguments).subspan(found.words));
  } catch (const UsageError& error) {
    const bool is_help = found.command->is_named("help");
    print_error(is_help ? error.what()
                        : fmt::format("{} (ttt help {})", error.what(), found.command->name()));
    return kUsage;
  }
}

int guarded_main(const std::vector<std::string>& arguments) {
  try {
    install_signal_handlers();
    return run_arguments(arguments);
  } catch (const ClosedOutput&) {
    return kOk;
  } catch (const Interrupted&) {
    return interrupted_exit_code();
  } catch (const UsageError& error) {
    print_error(error.what());
    return kUsage;
  } catch (const RequestError& error) {
    print_error(error.what());
    return kUsage;
  } catch (const weights::CheckpointError& error) {
    print_error(error.what());
    return kInvalidModel;
  } catch (const tokenizer::TokenizerError& error) {
    print_error(error.what());
    return kInvalidModel;
  } catch (const MemoryError& error) {
    print_error(error.what());
    return kOutOfMemory;
  } catch (const DeviceLost& error) {
    print_error(error.what());
    return kDeviceLost;
  } catch (const std::bad_alloc&) {
    print_error(
        "out of memory; close other programs, or use a smaller model or one converted with --type bf16");
    return kOutOfMemory;
  } catch (const std::exception& error) {
    print_error(error.what());
    return kRuntimeError;
  }
}

}  // namespace
}  // namespace ttt::cli

int main(int argc, char** argv) { return ttt::cli::guarded_main({argv + 1, argv + argc}); }
