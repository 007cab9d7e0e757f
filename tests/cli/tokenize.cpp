// SPDX-License-Identifier: Apache-2.0
#include "cli/tokenize.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "cli/exit_code.h"
#include "tests/cli/child.h"
#include "tests/cli/test_models.h"
#include "tests/weights/fixtures.h"

namespace ttt::cli {
namespace {

using test::Outcome;
using test::run_program;
using weights::contains;
using weights::TemporaryFolder;

const std::string kTokenizer = TTT_TEST_DATA "/tokenizer/demo.model";
const std::string kText = "It was late, in the\nevening; \xc3\xa9t\xc3\xa9";

TEST_CASE("text becomes ids and the ids become the text again") {
  const Outcome ids = run_program({"tokenize", kTokenizer, kText, "--ids"});
  CHECK(ids.code == kOk);
  CHECK(ids.out.starts_with("1,"));
  CHECK(run_program({"detokenize", kTokenizer, ids.out}).out == kText);
  CHECK(run_program({"detokenize", kTokenizer}, {.input = ids.out}).out == kText);
}

TEST_CASE("text comes from an argument, a file or a pipe") {
  const TemporaryFolder folder;
  const Outcome expected = run_program({"tokenize", kTokenizer, kText});
  CHECK(run_program({"tokenize", kTokenizer, "-f", folder.write("text", kText)}).out == expected.out);
  CHECK(run_program({"tokenize", kTokenizer}, {.input = kText}).out == expected.out);
  CHECK(run_program({"tokenize", kTokenizer, "-"}, {.input = kText}).out == expected.out);
  CHECK(run_program({"tokenize", kTokenizer, "a", "-f", "b"}).code == kUsage);
  if (test::has_terminals()) {
    CHECK(run_program({"tokenize", kTokenizer}, {.stdin_terminal = true}).code == kUsage);
  }
}

TEST_CASE("ids, pieces, count and JSON tell the same tokens") {
  const auto json = nlohmann::json::parse(run_program({"tokenize", kTokenizer, kText, "--json"}).out);
  const std::size_t count = json.at("count");
  CHECK(json.at("tokens").size() == count);
  CHECK(run_program({"tokenize", kTokenizer, kText, "--count"}).out == std::to_string(count) + "\n");
  const std::string lines = run_program({"tokenize", kTokenizer, kText}).out;
  CHECK(static_cast<std::size_t>(std::count(lines.begin(), lines.end(), '\n')) == count);
  CHECK(lines.starts_with("1\t<s>\n"));
  CHECK(run_program({"tokenize", kTokenizer, kText, "--pieces"}).out.starts_with("<s>\n"));
  CHECK(run_program({"tokenize", kTokenizer, kText, "--count", "--no-bos"}).out ==
        std::to_string(count - 1) + "\n");
}

TEST_CASE("a model and its bare tokenizer give the same ids") {
  const TemporaryFolder folder;
  const std::string gguf = test::make_gguf(folder.path());
  const std::string expected = run_program({"tokenize", kTokenizer, kText, "--ids"}).out;
  CHECK(run_program({"tokenize", gguf, kText, "--ids"}).out == expected);
  CHECK(run_program({"tokenize", folder / "source", kText, "--ids"}).out == expected);
}

TEST_CASE("what is no tokenizer, no text or no id is refused") {
  const TemporaryFolder folder;
  const Outcome broken = run_program({"tokenize", folder.write("broken.model", "not a model"), "x"});
  CHECK(broken.code == kInvalidModel);
  CHECK(contains(broken.err, "broken.model"));
  CHECK(run_program({"tokenize", test::id_model(), "x"}).code == kInvalidModel);
  const Outcome id = run_program({"detokenize", kTokenizer, "1,4096"});
  CHECK(id.code == kUsage);
  CHECK(contains(id.err, "id 4096 (number 2 in the list)"));
}

}  // namespace
}  // namespace ttt::cli
