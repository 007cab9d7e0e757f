// SPDX-License-Identifier: Apache-2.0
// The declaration of commands and options. Each option is declared once; parsing, help, the man page, shell
// completion, --print-config, its environment variable and its key in a configuration file all come from that
// one declaration. CLI11 cuts the command line into options inside options.cpp; the values land in the plain
// structs of the commands.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ttt::cli {

struct Option {
  enum class Kind : std::uint8_t { kFlag, kText, kChoice, kInteger, kNumber, kList };
  enum class Source : std::uint8_t { kDefault, kConfig, kEnvironment, kCommandLine };

  std::vector<std::string> names;  // "-n", "--max-tokens", ...; empty for a positional alone
  std::string positional;          // "MODEL"; empty for an option alone
  std::string placeholder;         // "N"; empty for a flag
  std::string help;
  std::string default_text;  // empty: none
  std::string environment;   // "TTT_MAX_TOKENS"; empty: none
  Kind kind = Kind::kText;
  bool repeatable = false;  // one value per occurrence
  bool secret = false;      // its value is not shown
  // Values that completion offers: all there are of a choice, common ones of a text.
  std::vector<std::string> suggestions;
  // Accepted because other programs have it, and told to the user. A name may end in '*' then. A value is
  // taken if it follows and is one of `ignored_values` (where there are any).
  bool ignored = false;
  std::vector<std::string> ignored_values;
  std::function<void(const std::string&)> assign;  // throws UsageError

  Source source = Source::kDefault;
  std::vector<std::string> given;  // after parsing, when not a default
  std::string config_place;        // "config.toml:3", where it came from there

  bool is_named(std::string_view name) const;  // "-n", "--max-tokens"; also by the stem of a '*'
  // Has one meaning in every command, and is no input or output of one call: the environment may set it, and
  // the keys of a configuration file that stand before the first table.
  bool is_shared() const { return !environment.empty() || repeatable; }
  // What its value names, told by the placeholder that help shows.
  bool names_model() const { return placeholder == "MODEL" || placeholder == "SRC"; }
  bool names_file() const { return placeholder == "FILE" || placeholder == "OUT"; }

  bool is_flag() const { return placeholder.empty() && !ignored; }
  // The name that messages and --print-config use: the first long one, without dashes.
  std::string key() const;
  std::string opposite() const;  // "--no-timings" for --timings, "--bos" for --no-bos; of a flag
};

// A line of a configuration file, matched to an option of a command.
struct Setting {
  std::string key;                  // Option::key()
  std::vector<std::string> values;  // one but for a list
  std::string place;                // "config.toml:3"
};

class Command {
 public:
  // `name` may have two words ("eval ppl"). `synopsis` follows it in the usage line.
  Command(std::string name, std::string synopsis, std::string summary, std::string description,
          std::function<int()> action);

  // Declarations. `names` is a comma list as in "-n,--max-tokens,--predict"; the first long one names the
  // environment variable (TTT_MAX_TOKENS), a bare word in the list makes the option a positional too. The
  // target's value at declaration is the default; targets must outlive the command.
  Option& text(std::string_view names, std::string& target, std::string placeholder, std::string help);
  Option& optional_text(std::string_view names, std::optional<std::string>& target, std::string placeholder,
                        std::string help);
  Option& list(std::string_view names, std::vector<std::string>& target, std::string placeholder,
               std::string help);
  Option& choice(std::string_view names, std::string& target, std::vector<std::string> choices,
                 std::string help);
  struct Range {
    std::int64_t min;
    std::int64_t max;
  };
  Option& integer(std::string_view names, std::int64_t& target, Range range, std::string placeholder,
                  std::string help);
  Option& optional_integer(std::string_view names, std::optional<std::int64_t>& target, Range range,
                           std::string placeholder, std::string help);
  Option& number(std::string_view names, double& target, double min, double max, std::string placeholder,
                 std::string help);
  Option& flag(std::string_view names, bool& target, std::string help);
  void ignore(std::string_view names, std::string help, std::vector<std::string> values = {});

  // A name by which it is also found, and a line of the man page's examples.
  Command& alias(std::string name);
  Command& example(std::string line, std::string meaning);

  const std::string& name() const { return name_; }
  bool is_named(std::string_view name) const;  // by its name or an alias
  const std::vector<std::string>& aliases() const { return aliases_; }
  const std::string& synopsis() const { return synopsis_; }
  const std::string& summary() const { return summary_; }
  const std::string& description() const { return description_; }
  const std::vector<Option>& options() const { return options_; }
  struct Example {
    std::string line;
    std::string meaning;
  };
  const std::vector<Example>& examples() const { return examples_; }

  // Settings of the configuration file that --config names, or of the usual one where the argument is null.
  using FindSettings = std::function<std::vector<Setting>(const std::string* config)>;
  // Assigns what the arguments, the environment and the configuration file say; the first of them wins. The
  // file is asked for unless --no-config is given or no option could be in it. Throws UsageError. After
  // --help, --help=WORD or --print-config the caller prints instead of running.
  void parse(std::span<const std::string> arguments, const FindSettings& find_settings = {});
  const std::optional<std::string>& help_wanted() const { return help_wanted_; }  // the word, or empty
  bool print_config_wanted() const { return print_config_wanted_; }
  std::vector<std::string> ignored_given() const;  // names as the user wrote them
  int run() const { return action_(); }
  // One line per option: "max-tokens = 256  (default)".
  std::string effective_values() const;

 private:
  Option& add(std::string_view names, std::string placeholder, std::string help, std::string default_text);
  // Takes out ignored options and those that every command has; rewrites what CLI11 cannot read.
  std::vector<std::string> rewrite(std::span<const std::string> arguments);
  Option* find_option(std::string_view name);
  // "--config FILE" or "--config=FILE" at arguments[i], which moves on to its last word.
  void take_config(std::span<const std::string> arguments, std::size_t& i);
  std::vector<Setting> settings(const FindSettings& find_settings) const;
  bool skip_ignored(Option& option, std::string_view argument, std::span<const std::string> rest);
  [[noreturn]] void refuse_unknown(const std::string& argument) const;

  std::string name_;
  std::vector<std::string> aliases_;
  std::string synopsis_;
  std::string summary_;
  std::string description_;
  std::function<int()> action_;
  std::vector<Option> options_;
  std::vector<Example> examples_;
  std::optional<std::string> help_wanted_;
  bool print_config_wanted_ = false;
  std::optional<std::string> config_;  // the file that --config names
  bool no_config_ = false;
};

}  // namespace ttt::cli
