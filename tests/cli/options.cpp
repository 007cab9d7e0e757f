// SPDX-License-Identifier: Apache-2.0
#include "cli/options.h"

#include <stdlib.h>

#include <catch2/catch.hpp>

#include "cli/exit_code.h"

namespace ttt::cli {
namespace {

// A command with an option of each kind.
struct Sample {
  std::string model;
  std::optional<std::string> prompt;
  std::vector<std::string> stop;
  std::string type = "f32";
  std::int64_t count = 256;
  double temperature = 0.8;
  bool json = false;
  bool no_bos = false;
  Command command{"sample", "", "", "", [] { return 0; }};

  Sample() {
    command.text("-m,--model,MODEL", model, "MODEL", "a model");
    command.optional_text("-p,--prompt", prompt, "TEXT", "a prompt").environment.clear();
    command.list("--stop", stop, "TEXT", "a stop string");
    command.choice("--type", type, {"f32", "f16"}, "a type");
    command.integer("-n,--max-tokens,--predict", count, {-1, 1'000'000}, "N", "a count");
    command.number("--temperature,--temp", temperature, 0.0, 100.0, "T", "a temperature");
    command.flag("-j,--json", json, "a flag");
    command.flag("--no-bos", no_bos, "a negative flag");
    command.ignore("-c,--ctx-size", "ignored");
    command.ignore("--rope-*", "ignored");
    command.ignore("-fa,--flash-attn", "ignored", {"on", "off"});
  }
  void parse(const std::vector<std::string>& arguments) { command.parse(arguments); }
};

std::string refusal_of(const std::vector<std::string>& arguments) {
  try {
    Sample().parse(arguments);
  } catch (const UsageError& error) {
    return error.what();
  }
  return {};
}

// An environment variable for the length of a test.
struct Variable {
  const char* name;
  Variable(const char* variable, const char* value) : name(variable) { ::setenv(variable, value, 1); }
  ~Variable() { ::unsetenv(name); }
};

TEST_CASE("values come after a space, after an equals sign, or directly after a letter") {
  Sample sample;
  SECTION("space") { sample.parse({"x.gguf", "--max-tokens", "2k", "--temp", "0.5"}); }
  SECTION("equals") { sample.parse({"--max-tokens=2k", "--temp=0.5", "--model=x.gguf"}); }
  SECTION("letter") { sample.parse({"-n2k", "-m", "x.gguf", "--temperature", "0.5"}); }
  CHECK(sample.model == "x.gguf");
  CHECK(sample.count == 2000);
  CHECK(sample.temperature == 0.5);
}

TEST_CASE("a value may begin with a dash, and may be empty") {
  Sample sample;
  SECTION("dash after a space") {
    sample.parse({"-p", "--json", "x"});
    CHECK(sample.prompt == "--json");
    CHECK_FALSE(sample.json);
  }
  SECTION("dash after an equals sign") {
    sample.parse({"--prompt=-x"});
    CHECK(sample.prompt == "-x");
  }
  SECTION("negative number") {
    sample.parse({"-n", "-1"});
    CHECK(sample.count == -1);
  }
  SECTION("empty after an equals sign") {
    sample.parse({"--prompt=", "x.gguf"});
    CHECK(sample.prompt == "");
    CHECK(sample.model == "x.gguf");
  }
  SECTION("what looks like an ignored option") {
    sample.parse({"-p", "-fa", "x.gguf"});
    CHECK(sample.prompt == "-fa");
    CHECK(sample.command.ignored_given().empty());
  }
}

TEST_CASE("the last of several values counts, a repeatable option keeps all, one value per occurrence") {
  Sample sample;
  sample.parse({"-n", "1", "--stop", "[a,b]", "--stop", "b", "x.gguf", "-n", "2"});
  CHECK(sample.count == 2);
  CHECK(sample.stop == std::vector<std::string>{"[a,b]", "b"});
  CHECK(sample.model == "x.gguf");
}

TEST_CASE("flags have an opposite") {
  Sample sample;
  SECTION("given") {
    sample.parse({"-j", "--no-bos"});
    CHECK(sample.json);
    CHECK(sample.no_bos);
  }
  SECTION("taken back") {
    sample.parse({"--json", "--no-bos", "--no-json", "--bos"});
    CHECK_FALSE(sample.json);
    CHECK_FALSE(sample.no_bos);
  }
}

TEST_CASE("the environment gives values, and the command line wins over it") {
  const Variable count("TTT_MAX_TOKENS", "32K");
  const Variable json("TTT_JSON", "yes");
  const Variable empty("TTT_TEMPERATURE", "");
  const Variable prompt("TTT_PROMPT", "not read");
  Sample sample;
  SECTION("alone") {
    sample.parse({});
    CHECK(sample.count == 32768);
    CHECK(sample.json);
    CHECK(sample.temperature == 0.8);
    CHECK(sample.prompt == std::nullopt);
  }
  SECTION("overruled") {
    sample.parse({"-n", "5", "--no-json"});
    CHECK(sample.count == 5);
    CHECK_FALSE(sample.json);
  }
}

TEST_CASE("a wrong value is refused with the option's or the variable's name, wanted and found") {
  CHECK(refusal_of({"-n", "many"}) ==
        "--max-tokens: wanted an integer from -1 to 1000000 (2k and 32K are understood), found 'many'");
  CHECK(refusal_of({"--predict", "-2"}).starts_with("--max-tokens: wanted an integer from -1"));
  CHECK(refusal_of({"--type", "q8"}) == "--type: wanted one of f32, f16, found 'q8'");
  CHECK(refusal_of({"--temp", "hot"}) == "--temperature: wanted a number from 0 to 100, found 'hot'");
  const Variable json("TTT_JSON", "maybe");
  CHECK(refusal_of({}) == "TTT_JSON: wanted true or false, found 'maybe'");
}

TEST_CASE("an unknown option is refused with the nearest one, a missing value with its kind") {
  CHECK(refusal_of({"--tempp", "1"}) == "unknown option --tempp; did you mean --temp?");
  CHECK(refusal_of({"--no-jsom"}) == "unknown option --no-jsom; did you mean --no-json?");
  CHECK(refusal_of({"--frobnicate=3"}) == "unknown option --frobnicate");
  CHECK(refusal_of({"x.gguf", "y.gguf"}).starts_with("unexpected argument 'y.gguf'"));
  CHECK(refusal_of({"--max-tokens"}) == "--max-tokens needs a value: --max-tokens N");
}

TEST_CASE("ignored options are told, with the values that belong to them") {
  Sample sample;
  sample.parse(
      {"-c", "4096", "--rope-freq-base=5", "--rope-scale", "2", "-fa", "on", "--flash-attn", "x.gguf"});
  CHECK(sample.command.ignored_given() ==
        std::vector<std::string>{"-c", "--rope-freq-base", "--rope-scale", "-fa", "--flash-attn"});
  CHECK(sample.model == "x.gguf");
}

TEST_CASE("what follows a double dash is no option") {
  Sample sample;
  sample.parse({"-n", "3", "--", "--json"});
  CHECK(sample.model == "--json");
  CHECK_FALSE(sample.json);
}

TEST_CASE("effective values say where they come from") {
  const Variable type("TTT_TYPE", "f16");
  Sample sample;
  sample.parse({"-n", "2k", "--stop", "a", "--stop", "b"});
  CHECK(sample.command.effective_values() ==
        "model = unset  (default)\n"
        "prompt = unset  (default)\n"
        "stop = a  (command line)\n"
        "stop = b  (command line)\n"
        "type = f16  (environment TTT_TYPE)\n"
        "max-tokens = 2k  (command line)\n"
        "temperature = 0.8  (default)\n"
        "json = false  (default)\n"
        "no-bos = false  (default)\n");
}

// The settings of a configuration file that a parse asked for.
struct FoundSettings {
  std::vector<Setting> settings;
  std::vector<std::string> asked = {};  // the file that --config names, or "usual"
  Command::FindSettings finder() {
    return [this](const std::string* config) {
      asked.push_back(config == nullptr ? "usual" : *config);
      return settings;
    };
  }
};

TEST_CASE("the configuration file gives values, and environment and command line win over it") {
  const Variable json("TTT_JSON", "no");
  FoundSettings found{{{"max-tokens", {"5"}, "c:1"},
                       {"json", {"true"}, "c:2"},
                       {"temperature", {"0.5"}, "c:3"},
                       {"stop", {"a", "b"}, "c:4"}}};
  Sample sample;
  sample.command.parse(std::vector<std::string>{"-n", "6"}, found.finder());
  CHECK(found.asked == std::vector<std::string>{"usual"});
  CHECK(sample.count == 6);
  CHECK_FALSE(sample.json);
  CHECK(sample.temperature == 0.5);
  CHECK(sample.stop == std::vector<std::string>{"a", "b"});
  const std::string shown = sample.command.effective_values();
  CHECK(shown.find("temperature = 0.5  (c:3)\n") != std::string::npos);
  CHECK(shown.find("stop = b  (c:4)\n") != std::string::npos);
}

TEST_CASE("a list on the command line replaces the configuration file's") {
  FoundSettings found{{{"stop", {"a", "b"}, "c:4"}}};
  Sample sample;
  sample.command.parse(std::vector<std::string>{"--stop", "x"}, found.finder());
  CHECK(sample.stop == std::vector<std::string>{"x"});
}

TEST_CASE("a wrong value of the configuration file is refused with its place") {
  FoundSettings found{{{"type", {"q8"}, "c:7"}}};
  Sample sample;
  CHECK_THROWS_WITH(sample.command.parse(std::vector<std::string>{}, found.finder()),
                    "c:7: type: wanted one of f32, f16, found 'q8'");
}

TEST_CASE("the configuration file is named by --config and left out by --no-config or help") {
  const auto asked = [](const std::vector<std::string>& arguments) {
    FoundSettings found;
    Sample().command.parse(arguments, found.finder());
    return found.asked;
  };
  CHECK(asked({"--config", "x.toml"}) == std::vector<std::string>{"x.toml"});
  CHECK(asked({"--config=y.toml", "m.gguf"}) == std::vector<std::string>{"y.toml"});
  CHECK(asked({"-p", "--config"}) == std::vector<std::string>{"usual"});
  CHECK(asked({"--no-config"}).empty());
  CHECK(asked({"--help", "--config", "x.toml"}).empty());
}

TEST_CASE("a command without options reads no configuration file unless one is named") {
  FoundSettings found;
  std::string target;
  Command plain("plain", "", "", "", [] { return 0; });
  plain.text("WORD", target, "WORD", "a word");
  plain.parse(std::vector<std::string>{"x"}, found.finder());
  CHECK(found.asked.empty());
  plain.parse(std::vector<std::string>{"--config", "c"}, found.finder());
  CHECK(found.asked == std::vector<std::string>{"c"});
}

TEST_CASE("a positional may be a list") {
  std::vector<std::string> models;
  bool json = false;
  Command command("many", "", "", "", [] { return 0; });
  command.list("MODEL", models, "MODEL", "models");
  command.flag("--json", json, "a flag");
  command.parse(std::vector<std::string>{"a", "--json", "b", "c"});
  CHECK(models == std::vector<std::string>{"a", "b", "c"});
  CHECK(json);
}

TEST_CASE("help is wanted whatever else is wrong") {
  Sample sample;
  sample.parse({"--frobnicate", "--help=topk"});
  CHECK(sample.command.help_wanted() == "topk");
  Sample other;
  other.parse({"-p", "-h"});
  CHECK(other.command.help_wanted() == std::nullopt);
  CHECK(other.prompt == "-h");
}

}  // namespace
}  // namespace ttt::cli
