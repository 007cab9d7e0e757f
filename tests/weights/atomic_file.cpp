// SPDX-License-Identifier: Apache-2.0
#include "weights/atomic_file.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cerrno>
#include <csignal>
#include <random>
#include <system_error>

#include "tests/weights/fixtures.h"

namespace ttt::weights {
namespace {

// Sets a fault for the life of this object.
class FaultScope {
 public:
  explicit FaultScope(std::function<int(std::string_view)> fault) { set_atomic_file_fault(std::move(fault)); }
  ~FaultScope() { set_atomic_file_fault({}); }
  FaultScope(const FaultScope&) = delete;
  FaultScope& operator=(const FaultScope&) = delete;
};

void replace_file(const std::string& path, std::string_view content) {
  AtomicFile file(path);
  file.write(bytes_of(content.substr(0, content.size() / 2)));
  file.write(bytes_of(content.substr(content.size() / 2)));
  file.write_at(0, bytes_of(content.substr(0, 1)));
  file.commit();
}

TEST_CASE("atomic file: nothing stands under the name until commit, then all of it does") {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  {
    AtomicFile file(path);
    file.write(bytes_of("hexxo"));
    file.write(bytes_of(" world"));
    file.write_at(2, bytes_of("ll"));
    CHECK(file.size() == 11);
    CHECK_FALSE(std::filesystem::exists(path));
    file.commit();
    CHECK(read_file(path) == "hello world");
  }
  CHECK(folder.names() == std::set<std::string>{"file"});
}

TEST_CASE("atomic file: a check sees the whole file before it has its name, and may refuse it") {
  const TemporaryFolder folder;
  const std::string path = folder.write("file", "old");
  const auto commit_with = [&](const std::function<void(const std::string&)>& check) {
    AtomicFile file(path);
    file.write(bytes_of("new text"));
    file.commit(check);
  };
  CHECK_THROWS_WITH(commit_with([](const std::string&) { throw std::runtime_error("no"); }), "no");
  CHECK(read_file(path) == "old");
  CHECK(folder.names() == std::set<std::string>{"file"});
  std::string seen;
  commit_with([&](const std::string& temporary) {
    seen = read_file(temporary);
    CHECK(read_file(path) == "old");
  });
  CHECK(seen == "new text");
  CHECK(read_file(path) == "new text");
  CHECK(folder.names() == std::set<std::string>{"file"});
}

TEST_CASE("atomic file: without commit the old file stays and no temporary is left") {
  const TemporaryFolder folder;
  const std::string path = folder.write("file", "old");
  {
    AtomicFile file(path);
    file.write(bytes_of("new"));
  }
  CHECK(read_file(path) == "old");
  CHECK(folder.names() == std::set<std::string>{"file"});
}

TEST_CASE("atomic file: a patch beyond what was written fails") {
  const TemporaryFolder folder;
  AtomicFile file(folder / "file");
  file.write(bytes_of("12345"));
  CHECK_THROWS_AS(file.write_at(4, bytes_of("xx")), std::system_error);
  CHECK(folder.names().empty());
}

TEST_CASE("atomic file: the calls come in the order that survives a crash") {
  const TemporaryFolder folder;
  std::vector<std::string> calls;
  const FaultScope scope([&](std::string_view call) {
    calls.emplace_back(call);
    return 0;
  });
  replace_file(folder / "file", "new");
  const std::vector<std::string> expected = {"open",  "write",          "write",  "write",          "fsync",
                                             "close", "open_directory", "rename", "fsync_directory"};
  CHECK(calls == expected);
  calls.clear();
  replace_file(folder / "file", "newer");
  CHECK(calls.at(1) == "chmod");  // the old file's mode
}

TEST_CASE("atomic file: a failure of any call leaves the old file whole and no temporary") {
  for (const bool replaces : {false, true}) {
    for (const int error : {EIO, ENOSPC}) {
      bool failed = true;
      for (int n = 0; failed; ++n) {
        REQUIRE(n < 100);
        const TemporaryFolder folder;
        const std::string path = replaces ? folder.write("file", "old content") : folder / "file";
        std::string failed_call;
        int countdown = n;
        failed = false;
        try {
          const FaultScope scope([&](std::string_view call) {
            if (countdown-- != 0) return 0;
            failed_call = call;
            return error;
          });
          replace_file(path, "new content");
        } catch (const std::system_error& caught) {
          failed = true;
          CHECK(caught.code().value() == error);
          CHECK(contains(caught.what(), path));
          CHECK(contains(caught.what(), failed_call));
        }
        INFO("call " << n << ", " << failed_call);
        // After the rename the new file stands; only whether that outlives a power cut is open.
        const bool is_new = !failed || failed_call == "fsync_directory";
        CHECK(read_file(path) == (is_new ? "new content" : replaces ? "old content" : ""));
        CHECK(folder.names() ==
              (is_new || replaces ? std::set<std::string>{"file"} : std::set<std::string>{}));
      }
    }
  }
}

TEST_CASE("atomic file: a call that a signal interrupts is made again") {
  const TemporaryFolder folder;
  int calls = 0;
  const FaultScope scope([&](std::string_view) { return ++calls % 2 == 1 ? EINTR : 0; });
  replace_file(folder / "file", "content");
  CHECK(read_file(folder / "file") == "content");
}

TEST_CASE("atomic file: a file that lost bytes cannot be committed") {
  const TemporaryFolder folder;
  const std::string path = folder.write("file", "old");
  AtomicFile file(path);
  {
    const FaultScope scope([](std::string_view) { return ENOSPC; });
    CHECK_THROWS_AS(file.write(bytes_of("new")), std::system_error);
  }
  CHECK_THROWS_AS(file.write(bytes_of("new")), std::system_error);
  CHECK_THROWS_AS(file.commit(), std::system_error);
  CHECK(read_file(path) == "old");
  CHECK(folder.names() == std::set<std::string>{"file"});
}

mode_t mode_of(const std::string& path) {
  struct stat status = {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  return status.st_mode & 07777U;
}

TEST_CASE("atomic file: a new file has mode 0644 less the umask, a replaced one keeps its mode") {
  const TemporaryFolder folder;
  const mode_t old_mask = ::umask(027);
  replace_file(folder / "new", "x");
  CHECK(mode_of(folder / "new") == 0640);
  const std::string old = folder.write("old", "x");
  REQUIRE(::chmod(old.c_str(), 0604) == 0);
  replace_file(old, "y");
  CHECK(mode_of(old) == 0604);
  ::umask(old_mask);
}

TEST_CASE("atomic file: a new file has the mode that was asked for, a replaced one keeps its own") {
  const TemporaryFolder folder;
  const auto replace_privately = [](const std::string& path) {
    AtomicFile file(path, 0600);
    file.write(bytes_of("x"));
    file.commit();
  };
  const mode_t old_mask = ::umask(0);
  replace_privately(folder / "new");
  CHECK(mode_of(folder / "new") == 0600);
  const std::string old = folder.write("old", "x");
  REQUIRE(::chmod(old.c_str(), 0644) == 0);
  replace_privately(old);
  CHECK(mode_of(old) == 0644);
  ::umask(old_mask);
}

TEST_CASE("atomic file: what is no regular file is not replaced") {
  const TemporaryFolder folder;
  REQUIRE(::mkfifo((folder / "fifo").c_str(), 0600) == 0);
  CHECK_THROWS_AS(AtomicFile(folder / "fifo"), std::system_error);
  CHECK_THROWS_AS(AtomicFile(folder.path()), std::system_error);
  CHECK_THROWS_AS(AtomicFile("/dev/null"), std::system_error);
  CHECK_THROWS_AS(AtomicFile(folder / "missing/file"), std::system_error);
  CHECK(folder.names() == std::set<std::string>{"fifo"});
}

TEST_CASE("atomic file: links laid where a temporary could come are not followed") {
  const TemporaryFolder folder;
  const std::string victim = folder.write("victim", "untouched");
  constexpr int kLinks = 1000;
  for (int i = 0; i < kLinks; ++i) {
    const std::string name = ".ttt-" + std::to_string(::getpid()) + "-" + std::to_string(i) + ".tmp";
    std::filesystem::create_symlink(victim, folder / name);
  }
  replace_file(folder / "file", "content");
  CHECK(read_file(victim) == "untouched");
  CHECK(read_file(folder / "file") == "content");
  CHECK(folder.names().size() == kLinks + 2);
}

TEST_CASE("atomic file: a link under the name is replaced, what it points to stays") {
  const TemporaryFolder folder;
  const std::string target = folder.write("target", "untouched");
  std::filesystem::create_symlink(target, folder / "link");
  replace_file(folder / "link", "content");
  CHECK(read_file(target) == "untouched");
  CHECK(read_file(folder / "link") == "content");
}

TEST_CASE("atomic file: a full disk is an error that leaves the old file and no temporary") {
  const TemporaryFolder folder;
  const std::string path = folder.write("file", "old");
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);  // by default the limit kills the process
  struct rlimit old_limit = {};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &old_limit) == 0);
  const struct rlimit limit = {.rlim_cur = 100'000, .rlim_max = old_limit.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
  int error = 0;
  try {
    AtomicFile file(path);
    file.write(bytes_of(std::string(150'000, 'x')));  // a short write of 100,000 bytes, then the error
    file.commit();
  } catch (const std::system_error& caught) {
    error = caught.code().value();
  }
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &old_limit) == 0);
  std::signal(SIGXFSZ, old_handler);
  CHECK(error == EFBIG);
  CHECK(read_file(path) == "old");
  CHECK(folder.names() == std::set<std::string>{"file"});
}

constexpr std::size_t kWords = 32'768;  // 256 KiB, written in pieces

// The generation of a file whose words are all the same; 0 for a torn one.
std::uint64_t generation_of(const std::string& content) {
  if (content.size() != kWords * sizeof(std::uint64_t)) return 0;
  std::vector<std::uint64_t> words(kWords);
  std::memcpy(words.data(), content.data(), content.size());
  return words == std::vector<std::uint64_t>(kWords, words[0]) ? words[0] : 0;
}

// A fork of a sanitized process takes 100 ms on a busy machine.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kKills = 20;
#else
constexpr int kKills = 200;
#endif

// Runs `write(generation)` for first_generation and on in a child, and kills it up to 4 ms after its start.
template <typename Write>
void write_until_killed(std::mt19937& random, std::uint64_t first_generation, Write write) {
  int ends[2] = {};
  REQUIRE(::pipe(ends) == 0);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    if (::write(ends[1], "x", 1) != 1) ::_exit(1);
    for (std::uint64_t generation = first_generation;; ++generation) write(generation);
  }
  char started = 0;
  REQUIRE(::read(ends[0], &started, 1) == 1);
  ::close(ends[0]);
  ::close(ends[1]);
  ::usleep(static_cast<useconds_t>(random() % 4000));
  REQUIRE(::kill(child, SIGKILL) == 0);
  REQUIRE(::waitpid(child, nullptr, 0) == child);
}

void write_generation(const std::string& path, std::uint64_t generation) {
  const std::vector<std::uint64_t> words(kWords, generation);
  const auto bytes = std::as_bytes(std::span(words));
  AtomicFile file(path);
  for (std::size_t i = 0; i < bytes.size(); i += 4096) file.write(bytes.subspan(i, 4096));
  file.commit();
}

TEST_CASE("atomic file: after kill -9 at random moments an old or a new whole file stands") {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  write_generation(path, 1);
  std::mt19937 random(1);
  int torn = 0;
  std::set<std::uint64_t> generations;
  for (int kill = 0; kill < kKills; ++kill) {
    const std::uint64_t first = (static_cast<std::uint64_t>(kill) + 1) << 32;
    write_until_killed(random, first, [&](std::uint64_t generation) { write_generation(path, generation); });
    const std::uint64_t generation = generation_of(read_file(path));
    torn += generation == 0 ? 1 : 0;
    generations.insert(generation);
    for (const std::string& name : folder.names()) {
      if (name != "file") std::filesystem::remove(folder / name);  // the killed writer's temporary
    }
  }
  CHECK(torn == 0);
  CHECK(generations.size() > 1);  // some kills came after a commit
}

TEST_CASE("atomic file: after kill -9 before any of its calls an old or a new whole file stands") {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  std::vector<std::uint64_t> found;
  bool killed = true;
  for (int n = 0; killed; ++n) {
    write_generation(path, 1);
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      set_atomic_file_fault([countdown = n, writes = 0](std::string_view call) mutable {
        if (call == "write" && ++writes % 16 != 0) return 0;  // the 64 writes are alike: four will do
        return countdown-- == 0 ? ::raise(SIGKILL) : 0;
      });
      write_generation(path, 2);
      ::_exit(0);
    }
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    killed = WIFSIGNALED(status);
    found.push_back(generation_of(read_file(path)));
  }
  REQUIRE(found.size() > 6);
  CHECK(std::ranges::count(found, 0U) == 0);
  CHECK(found.front() == 1);
  CHECK(found.back() == 2);
}

TEST_CASE("atomic file: the kill test finds the torn files of a direct write") {
  const TemporaryFolder folder;
  const std::string path = folder / "file";
  std::mt19937 random(1);
  int torn = 0;
  for (int kill = 0; kill < 200 && torn == 0; ++kill) {
    write_until_killed(random, 1, [&](std::uint64_t generation) {
      const std::vector<std::uint64_t> words(kWords, generation);
      std::ofstream file(path, std::ios::binary);
      file.write(reinterpret_cast<const char*>(words.data()), static_cast<std::streamsize>(kWords * 8));
    });
    torn += generation_of(read_file(path)) == 0 ? 1 : 0;
  }
  CHECK(torn > 0);
}

}  // namespace
}  // namespace ttt::weights
