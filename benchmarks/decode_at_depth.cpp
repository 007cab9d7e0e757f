// SPDX-License-Identifier: Apache-2.0
// Decodes from a state that an earlier run of the same program left in a file, so that the tokens before cost
// nothing: for programs that make everything slow, such as valgrind (benchmarks/instructions.sh).
// usage: decode_at_depth MODEL STATE DEPTH STEPS
//   STEPS 0: reads DEPTH made-up tokens and writes the state they leave to the file STATE, on all processors.
//   else: takes it from there and decodes STEPS tokens with one thread, the most probable ones.
#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <fstream>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "cli/open_model.h"
#include "cli/parse_value.h"
#include "engine/state_layout.h"

namespace ttt {
namespace {

constexpr std::int64_t kMaxTokens = std::int64_t{1} << 40;

std::int64_t parse_count(const std::string& text) {
  const auto count = cli::parse_integer(text);
  if (!count || *count < 0 || *count > kMaxTokens) {
    throw std::invalid_argument(
        fmt::format("wanted a number of tokens from 0 to {}, found '{}'", kMaxTokens, text));
  }
  return *count;
}

// Ids that differ from token to token and are the same in each run.
TokenId token_at(std::int64_t position, std::size_t vocab_size) {
  return static_cast<TokenId>((position * 7919 + 17) % static_cast<std::int64_t>(vocab_size));
}

void write_state(const cli::OpenModel& open, const std::string& path, std::int64_t depth) {
  Backend& backend = *open.backend;
  backend.reset(0);
  std::vector<TokenId> tokens;
  for (std::int64_t position = 0; position < depth; position += std::ssize(tokens)) {
    tokens.clear();
    const auto limit = static_cast<std::int64_t>(backend.info().max_batch_tokens);
    for (std::int64_t i = position; i < std::min(depth, position + limit); ++i) {
      tokens.push_back(token_at(i, open.config().vocab_size));
    }
    const Segment segment{.slot = 0, .position = position, .tokens = tokens, .wanted = {}};
    backend.submit({&segment, 1});
    backend.wait();
  }
  std::vector<std::byte> state(state_bytes(open.config(), depth));
  backend.save(0, depth, state);
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(state.data()), std::ssize(state));
  if (!file.flush()) throw std::runtime_error(fmt::format("{}: cannot write the state", path));
}

std::vector<std::byte> read_state(const std::string& path, std::size_t size) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) throw std::runtime_error(fmt::format("{}: cannot be read; write it with 0 steps first", path));
  if (static_cast<std::uint64_t>(file.tellg()) != size) {
    throw std::runtime_error(
        fmt::format("{}: wanted a state of {} bytes, found {}: of another model or depth", path, size,
                    static_cast<std::int64_t>(file.tellg())));
  }
  std::vector<std::byte> state(size);
  file.seekg(0);
  if (!file.read(reinterpret_cast<char*>(state.data()), std::ssize(state))) {
    throw std::runtime_error(fmt::format("{}: cannot be read", path));
  }
  return state;
}

void decode(const cli::OpenModel& open, const std::string& path, std::int64_t depth, std::int64_t steps) {
  Backend& backend = *open.backend;
  backend.load(0, depth, read_state(path, state_bytes(open.config(), depth)));
  const SamplingParams most_probable;
  const TokenId first = token_at(depth, open.config().vocab_size);
  Segment segment{.slot = 0, .position = depth, .tokens = {&first, 1}, .wanted = {}};
  segment.wanted.sample = &most_probable;
  for (; segment.position < depth + steps; ++segment.position) {
    backend.submit({&segment, 1});
    backend.wait();
    segment.tokens = {};
    segment.token_from_last_sample = true;
  }
}

void run(const std::vector<std::string>& arguments) {
  if (arguments.size() != 4) throw std::invalid_argument("usage: decode_at_depth MODEL STATE DEPTH STEPS");
  const std::int64_t depth = parse_count(arguments[2]), steps = parse_count(arguments[3]);
  cli::ModelOptions options;
  options.model = arguments[0];
  options.device = "cpu";
  options.threads = steps == 0 ? 0 : 1;
  const cli::OpenModel open(options);
  if (steps == 0) {
    write_state(open, arguments[1], depth);
  } else {
    decode(open, arguments[1], depth, steps);
  }
}

}  // namespace
}  // namespace ttt

int main(int argc, char** argv) {
  try {
    ttt::run({argv + 1, argv + argc});
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "decode_at_depth: {}\n", error.what());
    return 1;
  }
}
