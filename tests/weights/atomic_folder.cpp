// SPDX-License-Identifier: Apache-2.0
#include "weights/atomic_folder.h"

#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <deque>
#include <system_error>

#include "tests/weights/fixtures.h"
#include "weights/atomic_file.h"
#include "weights/temporary_name.h"

namespace ttt::weights {
namespace {

void write_file(const AtomicFolder& folder, std::string_view name, std::string_view text) {
  AtomicFile file(folder.file(name));
  file.write(bytes_of(text));
  file.commit();
}

TEST_CASE("atomic folder: nothing stands under the name until commit, then all of it does") {
  const TemporaryFolder parent;
  for (const std::string name : {"new", "empty", "slash/"}) {
    if (name == "empty") std::filesystem::create_directory(parent / name);
    AtomicFolder folder(parent / name);
    write_file(folder, "a", "one");
    CHECK_FALSE(std::filesystem::exists((parent / name) + "/a"));
    write_file(folder, "b", "two");
    folder.commit();
    CHECK(read_file((parent / name) + "/a") == "one");
    CHECK(read_file((parent / name) + "/b") == "two");
  }
  CHECK(parent.names() == std::set<std::string>{"new", "empty", "slash"});
}

TEST_CASE("atomic folder: without commit nothing is left") {
  const TemporaryFolder parent;
  {
    AtomicFolder folder(parent / "new");
    write_file(folder, "a", "one");
    CHECK(parent.names().size() == 1);
  }
  CHECK(parent.names().empty());
}

TEST_CASE("temporaries: what ends at once removes those that stand, and no file that has its name") {
  const TemporaryFolder parent;
  const pid_t process = ::fork();  // the names stay removed for the rest of a process
  REQUIRE(process >= 0);
  if (process == 0) {
    const AtomicFolder folder(parent / "folder");
    AtomicFile inside(folder.file("a"));
    AtomicFile alone(parent / "alone"), done(parent / "done");
    done.commit();
    if (parent.names().size() != 3) ::_exit(1);
    remove_temporaries();
    ::_exit(0);
  }
  int status = 0;
  REQUIRE(::waitpid(process, &status, 0) == process);
  CHECK(status == 0);
  CHECK(parent.names() == std::set<std::string>{"done"});
}

TEST_CASE("temporaries: more than are remembered at once are written all the same") {
  const TemporaryFolder parent;
  for (int round = 0; round < 2; ++round) {
    std::deque<AtomicFile> files;
    for (int i = 0; i < 40; ++i) files.emplace_back(parent / std::to_string(i));
    for (AtomicFile& file : files) file.commit();
  }
  CHECK(parent.names().size() == 40);
}

TEST_CASE("atomic folder: what stands there already is refused, also if it came meanwhile") {
  const TemporaryFolder parent;
  parent.write("file", "precious");
  std::filesystem::create_directory(parent / "full");
  parent.write("full/one", "precious");
  std::filesystem::create_symlink(parent / "empty", parent / "link");
  for (const char* name : {"file", "full", "link"}) {
    CHECK_THROWS_AS(AtomicFolder(parent / name), std::system_error);
  }
  CHECK_THROWS_AS(AtomicFolder(parent / "no/such"), std::system_error);
  {
    AtomicFolder folder(parent / "late");
    std::filesystem::create_directory(parent / "late");
    parent.write("late/one", "precious");
    CHECK_THROWS_AS(folder.commit(), std::system_error);
  }
  CHECK(parent.names() == std::set<std::string>{"file", "full", "link", "late"});
  CHECK(read_file(parent / "late/one") == "precious");
}

}  // namespace
}  // namespace ttt::weights
