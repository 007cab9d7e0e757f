// SPDX-License-Identifier: Apache-2.0
// Every command of the program with every option it has, and the values they land in.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/bench.h"
#include "cli/completion.h"
#include "cli/convert.h"
#include "cli/demo.h"
#include "cli/doctor.h"
#include "cli/eval_logits.h"
#include "cli/eval_ppl.h"
#include "cli/export.h"
#include "cli/help.h"
#include "cli/info.h"
#include "cli/loadtest.h"
#include "cli/options.h"
#include "cli/quantize.h"
#include "cli/run.h"
#include "cli/selftest.h"
#include "cli/serve.h"
#include "cli/tokenize.h"
#include "cli/version.h"

namespace ttt::cli {

class Commands {
 public:
  Commands();
  Commands(const Commands&) = delete;  // the list refers to the values
  Commands& operator=(const Commands&) = delete;

  const std::vector<Command>& list() const { return list_; }
  Command* find(std::string_view name);  // by name or alias; null if there is none
  // Parses with the configuration file behind. A file that cannot be used is refused, but by `ttt doctor`,
  // which reports it.
  void parse(Command& command, std::span<const std::string> arguments);
  bool verbose() const { return verbose_; }

 private:
  void add_run();
  void add_batch_options(Command& run);
  void add_demo();
  void add_serve();
  void add_info();
  void add_tokenize();
  void add_convert();
  void add_export();
  void add_quantize();
  void add_eval();
  void add_bench();
  void add_loadtest();
  void add_selftest();
  void add_doctor();
  int run_doctor();  // which knows the variables of every command
  void add_about();  // version, man, help, completion
  Command& add(Command command);
  void add_verbose(Command& command);
  void add_device_options(Command& command, ModelOptions& options);

  RunOptions run_;
  DemoOptions demo_;
  ServeOptions serve_;
  InfoOptions info_;
  TokenizeOptions tokenize_;
  DetokenizeOptions detokenize_;
  ConvertCommandOptions convert_;
  ExportOptions export_;
  QuantizeOptions quantize_;
  PplOptions ppl_;
  LogitsOptions logits_;
  BenchOptions bench_;
  LoadtestOptions loadtest_;
  VersionOptions version_;
  SelftestOptions selftest_;
  DoctorOptions doctor_;
  HelpOptions help_;
  CompletionOptions completion_;
  bool verbose_ = false;
  std::vector<Command> list_;
};

}  // namespace ttt::cli
