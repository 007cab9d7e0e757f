// SPDX-License-Identifier: Apache-2.0
// `ttt run --batch`: what each line gets, and that no end of the program loses or changes an answer.
#include "cli/batch.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "cli/batch_files.h"
#include "cli/exit_code.h"
#include "tests/cli/child.h"
#include "tests/cli/test_models.h"
#include "tests/weights/fixtures.h"

namespace ttt::cli {
namespace {

using nlohmann::json;
using test::Child;
using test::ChildOptions;
using test::id_model;
using test::Outcome;
using test::run_program;
using test::text_model;
using weights::contains;
using weights::TemporaryFolder;

using Words = std::vector<std::string>;

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

// By line of the input. Every record is whole, and there is one for a line.
std::map<int, std::string> records_of(const std::string& text) {
  CHECK((text.empty() || text.ends_with('\n')));
  std::map<int, std::string> records;
  for (const std::string& line : lines_of(text)) {
    CHECK(records.emplace(json::parse(line).at("line").get<int>(), line).second);
  }
  return records;
}

json record(const std::string& text, int line) { return json::parse(records_of(text).at(line)); }

// A folder with an input of prompts of several lengths, and the command that answers it.
struct BatchFolder {
  explicit BatchFolder(const std::string& lines) { folder.write("in.jsonl", lines); }

  std::string input() const { return folder / "in.jsonl"; }
  std::string output() const { return folder / "out.jsonl"; }
  std::string answers() const { return weights::read_file(output()); }
  Words command(const Words& more = {}) const {
    Words words = {"run", text_model(), "--batch", input(), "-o", output(), "-n", "12", "--seed", "7"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  Outcome run(const Words& more = {}) const { return run_program(command(more)); }

  TemporaryFolder folder;
};

std::string many_lines(int count, int max_tokens = 12) {
  std::string lines;
  for (int i = 0; i < count; ++i) {
    lines += fmt::format(R"({{"id": "q{}", "prompt": "the old man{}", "max_tokens": {}}})", i,
                         std::string(static_cast<std::size_t>(i % 5), '.'), max_tokens - i % 3);
    lines += '\n';
  }
  return lines;
}

TEST_CASE("a line is answered as ttt run answers it with the line's seed") {
  const BatchFolder batch(
      R"({"prompt": "the old man", "id": "text"})"
      "\n\n"
      R"({"prompt": [5, 6, 7], "id": 12, "n": 2, "logprobs": 1, "temperature": 0.5, "max_tokens": 3})"
      "\n"
      R"({"prompt": "x", "id": -3, "seed": 99, "echo": true, "top_k": 5, "min_p": null})");
  const Outcome outcome = batch.run();
  CHECK(outcome.code == kOk);
  CHECK(outcome.err.empty());
  CHECK(outcome.out.empty());
  REQUIRE(records_of(batch.answers()).size() == 3);
  const auto compare = [&](int line, Words arguments) {
    const json answer = record(batch.answers(), line);
    Words words = {"run",
                   text_model(),
                   "-n",
                   "12",
                   "--json",
                   "--seed",
                   fmt::format("{}", answer.at("seed").get<std::uint64_t>())};
    words.insert(words.end(), arguments.begin(), arguments.end());
    const json expected = json::parse(run_program(words).out);
    CHECK(answer.at("schema") == 1);
    CHECK(answer.at("choices") == expected.at("choices"));
    CHECK(answer.at("usage") == expected.at("usage"));
    CHECK(answer.at("input_hash").get<std::string>().size() == 16);
    return answer.at("id");
  };
  CHECK(compare(1, {"-p", "the old man"}) == "text");
  CHECK(compare(3, {"--tokens", "5,6,7", "--num", "2", "--logprobs", "1", "--temp", "0.5", "-n", "3"}) == 12);
  CHECK(compare(4, {"-p", "x", "--echo", "--top-k", "5"}) == -3);
  CHECK(record(batch.answers(), 4).at("seed") == 99);
}

TEST_CASE("answers do not depend on how many sequences run at once") {
  const BatchFolder batch(many_lines(20));
  REQUIRE(batch.run({"--parallel", "1"}).code == kOk);
  const auto alone = records_of(batch.answers());
  CHECK(alone.size() == 20);
  for (const Words& parallel :
       {Words{"-np", "3"}, Words{"--max-num-seqs", "8"}, Words{"-np", "8", "-t", "2"}}) {
    REQUIRE(batch.run(Words{"--force", parallel[0], parallel[1]}).code == kOk);
    CHECK(records_of(batch.answers()) == alone);
  }
}

TEST_CASE("lines have seeds of their own, which the run's seed and the number of the line decide") {
  const std::string same = "{\"prompt\": \"the\"}\n";
  const BatchFolder batch(same + same + same);
  REQUIRE(batch.run().code == kOk);
  const std::string first = batch.answers();
  std::set<std::uint64_t> seeds;
  for (int line = 1; line <= 3; ++line) seeds.insert(record(first, line).at("seed").get<std::uint64_t>());
  CHECK(seeds.size() == 3);
  CHECK(record(first, 1).at("choices") != record(first, 2).at("choices"));
  REQUIRE(batch.run({"--force"}).code == kOk);
  CHECK(records_of(batch.answers()) == records_of(first));
  REQUIRE(batch.run({"--force", "--seed", "8"}).code == kOk);
  CHECK(record(batch.answers(), 1).at("seed") != record(first, 1).at("seed"));
  for (std::uint64_t line = 1; line < 1000; ++line) REQUIRE(line_seed(7, line) < (std::uint64_t{1} << 53));
}

struct BadLine {
  const char* line;
  const char* parameter;  // null: the line as a whole
  const char* message;
};

const BadLine kBadLines[] = {
    {"nonsense", nullptr, "in.jsonl:1: byte 2: wanted JSON"},
    {"[1]", nullptr, "wanted a JSON object, found an array"},
    {"7", nullptr, "wanted a JSON object, found 7"},
    {R"({"prompt": "a"} {})", nullptr, "wanted JSON"},
    {R"({"prompt": "a", "prompt": "b"})", nullptr, "it twice in one object"},
    {R"({"promt": "a"})", "promt", "there is no such field; did you mean prompt?"},
    {R"({"id": "x"})", "prompt", "missing"},
    {R"({"prompt": []})", "prompt", "found an empty array"},
    {R"({"prompt": [[1]]})", "prompt", "found an array in it"},
    {R"({"prompt": [1, 4096]})", "prompt", "prompt[1]: wanted a token id from 0 to 4095, found 4096"},
    {R"({"prompt": [1, 1.5]})", "prompt", "prompt[1]: wanted a token id from 0 to 4095, found 1.5"},
    {R"({"prompt": {"a": 1}})", "prompt", "wanted a string or an array of token ids, found an object"},
    {R"({"prompt": "a", "id": 1.5})", "id", "wanted a string or an integer, found 1.5"},
    {R"({"prompt": "a", "max_tokens": "5"})", "max_tokens", "wanted an integer, found \"5\""},
    {R"({"prompt": "a", "max_tokens": -2})", "max_tokens", "at least -1, found -2"},
    {R"({"prompt": "a", "temperature": 1e300})", "temperature", "it must be in [0, 100]"},
    {R"({"prompt": "a", "top_k": -5000000000})", "top_k", "it must be in [0, 2147483647]"},
    {R"({"prompt": "a", "top_p": true})", "top_p", "wanted a number, found true"},
    {R"({"prompt": "a", "seed": -1})", "seed", "at least 0, found -1"},
    {R"({"prompt": "a", "seed": 18446744073709551615})", "seed", "wanted an integer"},
    {R"({"prompt": "a", "stop": [""]})", "stop", "found an empty one"},
    {R"({"prompt": "a", "stop": [5]})", "stop", "wanted a string or an array of strings, found 5"},
    {R"({"prompt": "a", "logit_bias": {"x": 1}})", "logit_bias", "token id from 0 to 4095, found \"x\""},
    {R"({"prompt": "a", "logit_bias": {"1k": 1}})", "logit_bias", "token id from 0 to 4095, found \"1k\""},
    {R"({"prompt": "a", "logit_bias": {"007": 1}})", "logit_bias", "found \"007\""},
    {R"({"prompt": "a", "logprobs": 1000, "max_tokens": 5000})", "logprobs", "at most 4194304"},
    {R"({"prompt": "a", "logprobs": 1, "max_tokens": -1})", "max_tokens", "found -1"},
    {R"({"prompt": "a", "logit_bias": {"1": "2"}})", "logit_bias", "found \"2\""},
    {R"({"prompt": "a", "logit_bias": [1]})", "logit_bias", "found an array"},
    {R"({"prompt": "a", "allowed_tokens": [5], "banned_tokens": [5]})", "allowed_tokens", "leaves none"},
    {R"({"prompt": "a", "n": 9})", "n", "give --parallel 9"},
    {R"({"prompt": "a", "n": 2, "best_of": 1})", "best_of", "from 2 to 128, found 1"},
    {R"({"prompt": "a", "ignore_eos": 1})", "ignore_eos", "wanted true or false, found 1"}};

TEST_CASE("a bad line gets a record that names the field, the others are answered, and the code is 1") {
  std::string lines;
  for (const BadLine& bad : kBadLines) lines += fmt::format("{}\n", bad.line);
  const int count = static_cast<int>(std::size(kBadLines));
  const BatchFolder batch(lines + R"({"prompt": "good"})" + "\n" +
                          R"({"top_p": 7, "prompt": "a", "id": "late"})");
  const Outcome outcome = batch.run();
  CHECK(outcome.code == kRuntimeError);
  CHECK(contains(outcome.err, fmt::format("{} of {} lines are bad", count + 1, count + 2)));
  const std::string answers = batch.answers();
  for (int i = 0; i < count; ++i) {
    const BadLine& bad = kBadLines[i];
    CAPTURE(bad.line);
    const json answer = record(answers, i + 1);
    CAPTURE(answer.dump());
    REQUIRE(answer.contains("error"));
    const json& parameter = answer.at("error").at("parameter");
    CHECK((bad.parameter == nullptr ? parameter.is_null() : parameter == bad.parameter));
    CHECK(contains(answer.at("error").at("message").get<std::string>(), bad.message));
    CHECK_FALSE(answer.contains("choices"));
  }
  CHECK(record(answers, count + 1).at("choices").size() == 1);
  CHECK(record(answers, count + 2).at("id") == "late");

  // They are answers: nothing is left to do.
  const Outcome again = batch.run({"--resume"});
  CHECK(again.code == kRuntimeError);
  CHECK(batch.answers() == answers);
}

TEST_CASE("with --bad-lines stop what runs is finished and the line is named") {
  const BatchFolder batch(many_lines(3) + "{\"prompt\": 5}\n" + many_lines(3));
  const Outcome outcome = batch.run({"--bad-lines", "stop"});
  CHECK(outcome.code == kRuntimeError);
  CHECK(contains(outcome.err, batch.input() + ":4: prompt: wanted a string"));
  CHECK(contains(outcome.err, "3 lines are done"));
  CHECK(records_of(batch.answers()).size() == 3);
}

TEST_CASE("a model without a tokenizer answers lines of ids, and says so of others") {
  const TemporaryFolder folder;
  const std::string long_text(2U << 20, 'x');  // longer than a string of a checkpoint may be
  const std::string input = folder.write("in.jsonl", "{\"prompt\": [1, 2]}\n{\"prompt\": \"" + long_text +
                                                         "\"}\n{\"prompt\": [1], \"stop\": \"x\"}\n");
  const Outcome outcome = run_program({"run", id_model(), "--batch", input, "-n", "3", "--ignore-eos"});
  CHECK(outcome.code == kRuntimeError);
  CHECK(record(outcome.out, 1).at("choices").at(0).at("tokens").size() == 3);
  CHECK(record(outcome.out, 2).at("error").at("message") ==
        "prompt: this model has no tokenizer; give an array of token ids");
  CHECK(record(outcome.out, 3).at("error").at("parameter") == "stop");
}

TEST_CASE("stdin and stdout serve as well as files") {
  const BatchFolder batch(many_lines(5));
  REQUIRE(batch.run().code == kOk);
  Words words = {"run", text_model(), "--batch", "-", "-o", "-", "-n", "12", "--seed", "7"};
  CHECK(records_of(run_program(words, {.input = many_lines(5)}).out) == records_of(batch.answers()));
}

TEST_CASE("a line is answered while the next has not come") {
  const TemporaryFolder folder;
  const std::string pipe = folder / "pipe";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  const int writer = ::open(pipe.c_str(), O_RDWR | O_CLOEXEC);
  const std::string line = "{\"prompt\": \"the\", \"max_tokens\": 2}\n";
  Child child({"run", text_model(), "--batch", pipe, "--seed", "1"});
  REQUIRE(::write(writer, line.data(), line.size()) == static_cast<ssize_t>(line.size()));
  CHECK(child.read_output(1));
  REQUIRE(::write(writer, line.data(), line.size()) == static_cast<ssize_t>(line.size()));
  ::close(writer);
  CHECK(records_of(child.wait().out).size() == 2);
}

TEST_CASE("an output cut anywhere is completed to the same answers") {
  const BatchFolder batch(many_lines(8) + "bad\n");
  REQUIRE(batch.run().code == kRuntimeError);
  const std::string whole = batch.answers();
  std::mt19937 random(3);
  std::vector<std::size_t> sizes = {0, 1, whole.find('\n'), whole.find('\n') + 1, whole.size() - 1};
  for (int i = 0; i < 5; ++i) sizes.push_back(random() % whole.size());
  for (const std::size_t size : sizes) {
    CAPTURE(size);
    batch.folder.write("out.jsonl", whole.substr(0, size));
    CHECK(batch.run({"--resume", "-np", "3"}).code == kRuntimeError);  // of the bad line
    CHECK(records_of(batch.answers()) == records_of(whole));
    const std::string kept = whole.substr(0, whole.rfind('\n', size == 0 ? 0 : size - 1) + 1);
    if (size > whole.find('\n')) CHECK(batch.answers().starts_with(kept));
  }
}

TEST_CASE("a killed run leaves a file that is completed to the same answers", "[slow]") {
  const BatchFolder batch(many_lines(40, 30));
  REQUIRE(batch.run({"--parallel", "4"}).code == kOk);
  const std::string whole = batch.answers();
  std::mt19937 random(5);
  int killed = 0;
  for (int round = 0; round < 20 && killed < 5; ++round) {
    std::filesystem::remove(batch.output());
    {
      Child child(batch.command({"--parallel", "4"}));
      const std::size_t enough = 1 + random() % (whole.size() * 3 / 4);
      std::error_code none_yet;
      for (int i = 0; i < 20'000; ++i) {
        const auto size = std::filesystem::file_size(batch.output(), none_yet);
        if (!none_yet && size >= enough) break;
        ::usleep(1000);
      }
      child.signal(SIGKILL);
      if (!child.wait().killed || records_of(batch.answers()).size() == 40) continue;  // the signal came late
      ++killed;
    }
    REQUIRE(batch.run({"--resume"}).code == kOk);
    CHECK(records_of(batch.answers()) == records_of(whole));
  }
  CHECK(killed == 5);
}

TEST_CASE("Ctrl-C writes nothing half, says how to go on, and ends with code 130") {
  const BatchFolder batch(many_lines(3, 4) +
                          "{\"prompt\": \"x\", \"max_tokens\": -1, \"ignore_eos\": true}\n");
  Child child(batch.command());
  for (int i = 0; i < 60'000; ++i) {
    std::error_code none_yet;
    if (std::filesystem::exists(batch.output(), none_yet) && lines_of(batch.answers()).size() == 3) break;
    ::usleep(1000);
  }
  child.signal(SIGINT);
  const Outcome outcome = child.wait();
  CHECK(outcome.code == kInterrupted);
  CHECK_FALSE(outcome.killed);
  CHECK(contains(outcome.err, fmt::format("3 lines are done in {}; --resume continues", batch.output())));
  CHECK(records_of(batch.answers()).size() == 3);
}

TEST_CASE("an input that was changed is refused, and names the line") {
  const BatchFolder batch(many_lines(4));
  REQUIRE(batch.run().code == kOk);
  const std::string answers = batch.answers();
  std::string changed = many_lines(4);
  changed.replace(changed.find("q2"), 2, "q9");
  batch.folder.write("in.jsonl", changed);
  const Outcome other = batch.run({"--resume"});
  CHECK(other.code == kRuntimeError);
  CHECK(contains(other.err, batch.input() + ":3: "));
  CHECK(contains(other.err, "the input was changed"));
  batch.folder.write("in.jsonl", many_lines(2));
  const Outcome shorter = batch.run({"--resume"});
  CHECK(shorter.code == kRuntimeError);
  CHECK(contains(shorter.err, "has 2 lines: the input was changed"));
  CHECK(batch.answers() == answers);
}

TEST_CASE("what stands in the output is not lost unasked") {
  const BatchFolder batch(many_lines(2));
  batch.folder.write("out.jsonl", "{\"mine\": 1}\n");
  const Outcome there = batch.run();
  CHECK(there.code == kUsage);
  CHECK(contains(there.err, "--resume adds the lines that it lacks, --force begins again"));
  const Outcome foreign = batch.run({"--resume"});
  CHECK(foreign.code == kRuntimeError);
  CHECK(contains(foreign.err, "out.jsonl:1: wanted a record of ttt run --batch"));
  CHECK(batch.answers() == "{\"mine\": 1}\n");
  batch.folder.write("out.jsonl", "my notes");
  CHECK(batch.run({"--resume"}).code == kRuntimeError);
  CHECK(batch.answers() == "my notes");
  CHECK(batch.run({"--resume", "--force"}).code == kUsage);
  CHECK(batch.answers() == "my notes");
  CHECK(batch.run({"--force"}).code == kOk);
  CHECK(records_of(batch.answers()).size() == 2);

  const Outcome itself =
      run_program({"run", text_model(), "--batch", batch.input(), "-o", batch.input(), "--force"});
  CHECK(itself.code == kUsage);
  CHECK(weights::read_file(batch.input()) == many_lines(2));
}

TEST_CASE("an input is not appended to itself") {
  const BatchFolder batch(many_lines(2));
  const std::string command =
      fmt::format("'{}' run '{}' --no-config --batch '{}' -n 1 >>'{}' 2>'{}'", TTT_PROGRAM, text_model(),
                  batch.input(), batch.input(), batch.folder / "errors");
  CHECK(WEXITSTATUS(std::system(command.c_str())) == kUsage);
  CHECK(contains(weights::read_file(batch.folder / "errors"), "is the input and the output"));
  CHECK(weights::read_file(batch.input()) == many_lines(2));
}

TEST_CASE("defaults that are not sound are one usage error, and no line is read") {
  const BatchFolder batch(many_lines(2));
  for (const Words& words : {Words{"--typical-p", "0"}, Words{"--repeat-penalty", "0"},
                             Words{"--min-tokens", "20"}, Words{"--best-of", "1", "--num", "2"}}) {
    CAPTURE(words[0]);
    const Outcome outcome = batch.run(words);
    CHECK(outcome.code == kUsage);
    CHECK(contains(outcome.err, words[0]));
    CHECK(batch.answers().empty());
  }
}

TEST_CASE("an answer does not wait until all bad lines behind it are read") {
  std::string lines = "{\"prompt\": \"the\", \"max_tokens\": 1}\n";
  for (int i = 0; i < 20'000; ++i) lines += "x\n";
  const BatchFolder batch(lines);
  CHECK(batch.run().code == kRuntimeError);
  const std::vector<std::string> records = lines_of(batch.answers());
  REQUIRE(records.size() == 20'001);
  CHECK(json::parse(records.back()).at("line") != 1);
}

TEST_CASE("two runs do not write one file") {
  const BatchFolder batch(many_lines(2));
  const int other = ::open(batch.folder.write("out.jsonl", "").c_str(), O_WRONLY | O_CLOEXEC);
  REQUIRE(::flock(other, LOCK_EX) == 0);
  const Outcome beside = batch.run({"--resume"});
  CHECK(beside.code == kRuntimeError);
  CHECK(contains(beside.err, "another process writes " + batch.output()));
  ::close(other);
  CHECK(batch.run().code == kOk);  // an empty file is nothing to lose
  CHECK(records_of(batch.answers()).size() == 2);
}

TEST_CASE("options that make no sense together are refused") {
  const BatchFolder batch(many_lines(1));
  for (const Words& words : {Words{"-p", "x"}, Words{"--tokens", "1"}, Words{"--timeout", "3"}}) {
    CAPTURE(words[0]);
    const Outcome outcome = batch.run(words);
    CHECK(outcome.code == kUsage);
    CHECK(contains(outcome.err, words[0]));
  }
  CHECK(run_program({"run", text_model(), "--batch", batch.input(), "--resume"}).code == kUsage);
  CHECK(run_program({"run", text_model(), "-p", "x", "-o", "y"}).code == kUsage);
  CHECK(run_program({"run", text_model(), "--batch", "/no/such.jsonl"}).code == kRuntimeError);
}

TEST_CASE("a full disk leaves whole lines, and the rest is added when there is room") {
  const BatchFolder batch(many_lines(10));
  REQUIRE(batch.run().code == kOk);
  const std::string whole = batch.answers();
  std::filesystem::remove(batch.output());
  // A limit on the file's size stands for the disk: write() takes a part, then fails.
  std::string command = "trap '' XFSZ; ulimit -f 2; exec '" + std::string(TTT_PROGRAM) + "'";
  for (const std::string& word : batch.command({"-t", "1", "--no-config"})) command += " '" + word + "'";
  const std::string errors = batch.folder / "errors";
  const int status = std::system(("(" + command + ") 2>'" + errors + "'").c_str());
  CHECK(WEXITSTATUS(status) == kRuntimeError);
  CHECK(contains(weights::read_file(errors), "cannot write to " + batch.output()));
  CHECK(contains(weights::read_file(errors), "--resume continues"));
  const auto kept = records_of(batch.answers());
  CHECK(kept.size() >= 1);
  CHECK(kept.size() < 10);
  REQUIRE(batch.run({"--resume"}).code == kOk);
  CHECK(records_of(batch.answers()) == records_of(whole));
}

TEST_CASE("a closed or full stdout is an error here: not all was answered") {
  const BatchFolder batch(many_lines(4));
  const Words words = {"run", text_model(), "--batch", batch.input(), "-n", "4"};
  const Outcome full = run_program(words, {.stdout_path = "/dev/full"});
  CHECK(full.code == kRuntimeError);
  CHECK(contains(full.err, "cannot write to stdout"));
  Child child(words);
  child.close_output();
  const Outcome closed = child.wait();
  CHECK(closed.code == kRuntimeError);
  CHECK(contains(closed.err, "cannot write to stdout"));
}

TEST_CASE("lines are cut at newlines alone, and one that is too long keeps only its begin") {
  const TemporaryFolder folder;
  const std::string big(300'000, 'b');
  const Descriptor file = open_input(folder.write("lines", "one\n\ntwo\r\n" + big + "\nend"));
  LineReader reader(file.value(), "lines", 1000);
  CHECK(reader.next()->text == "one");
  CHECK(reader.next()->text.empty());
  CHECK(reader.next_if_ready()->text == "two\r");
  const auto cut = reader.next();
  CHECK(cut->too_long);
  CHECK(cut->text == big.substr(0, 1000));
  CHECK(cut->number == 4);
  const auto last = reader.next();
  CHECK(last->text == "end");
  CHECK_FALSE(last->whole);
  CHECK_FALSE(last->too_long);
  CHECK_FALSE(reader.next());
  CHECK(reader.ended());
  CHECK(reader.lines_read() == 5);
}

}  // namespace
}  // namespace ttt::cli
