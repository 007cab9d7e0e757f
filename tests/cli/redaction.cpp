// SPDX-License-Identifier: Apache-2.0
#include "cli/redaction.h"

#include <catch2/catch.hpp>

namespace ttt::cli {
namespace {

const Identity kBob = {.homes = {"/home/bob"}, .names = {"bob", "machine.example.org", "machine"}};

TEST_CASE("home folders, users and hosts leave a text, words that contain them stay") {
  const Redaction redaction(kBob, true);
  CHECK(redaction.text("/home/bob/x and /home/bob") == "~/x and ~");
  CHECK(redaction.text("/home/bobby/x") == "/home/bobby/x");
  CHECK(redaction.text("/data/bob/x") == "/data/(hidden)/x");
  CHECK(redaction.text("bob@machine.example.org:machine") == "(hidden)@(hidden):(hidden)");
  CHECK(redaction.text("bobbin machinery kebob") == "bobbin machinery kebob");
  CHECK(redaction.text("a\nb\x1b") == "a\\nb\\x1b");
}

TEST_CASE("a path is its last part unless whole paths are wanted") {
  const Redaction parts(kBob, false);
  CHECK(parts.path("/data/secret project/m.gguf") == "m.gguf");
  CHECK(parts.path("folder/model/") == "model");
  CHECK(parts.path("/home/bob") == "~");
  CHECK(parts.path("/data/bob.gguf") == "(hidden).gguf");
  CHECK(parts.path("/") == "/");
  CHECK(parts.path("").empty());
  const Redaction whole(kBob, true);
  CHECK(whole.path("/data/project/m.gguf") == "/data/project/m.gguf");
  CHECK(whole.path("/home/bob/m.gguf") == "~/m.gguf");
}

TEST_CASE("a message about a path names it as the report does") {
  const Redaction parts(kBob, false);
  CHECK(parts.text_about("/data/p/m", "/data/p/m/config.json: wanted x in /home/bob/y") ==
        "m/config.json: wanted x in ~/y");
}

TEST_CASE("variables that hold secrets are hidden, paths are cut") {
  const Redaction parts(kBob, false);
  for (const char* name :
       {"TTT_API_KEY", "TTT_API_KEY_FILE", "TTT_HUB_TOKEN", "ttt_secret", "TTT_PASSWORD"}) {
    CAPTURE(name);
    CHECK(parts.variable(name, "s3cr3t") == "(hidden)");
  }
  CHECK(parts.variable("TTT_MODEL", "/data/project/m.gguf") == "m.gguf");
  CHECK(parts.variable("TTT_DEVICE", "cpu") == "cpu");
  CHECK(parts.variable("TTT_X", "by bob") == "by (hidden)");
}

TEST_CASE("an identity without a home or a name hides nothing and breaks nothing") {
  const Redaction redaction(Identity{}, true);
  CHECK(redaction.text("/srv/x") == "/srv/x");
}

TEST_CASE("this process has an identity") {
  const Identity identity = Identity::of_this_process();
  for (const std::string& home : identity.homes) CHECK_FALSE(home.ends_with('/'));
  CHECK_FALSE(identity.names.empty());
}

}  // namespace
}  // namespace ttt::cli
