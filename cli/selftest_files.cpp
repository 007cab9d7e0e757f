// SPDX-License-Identifier: Apache-2.0
#include "cli/selftest_files.h"

#include <fmt/format.h>
#include <stdlib.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>

#include "cli/doctor.h"
#include "cli/generate.h"
#include "cli/info.h"
#include "cli/readable.h"
#include "cli/signals.h"
#include "engine/engine.h"
#include "engine/state_layout.h"
#include "engine/weights_hash.h"
#include "weights/gguf.h"

namespace ttt::cli {
namespace {

constexpr std::string_view kEnglish =
    "The road went down from the hills to the sea, and in the evening the people of the village came out of "
    "their houses to look at the ships. An old man sat on a wall of grey stone and told the children about "
    "the years when he had been a sailor. He had seen cold islands where no tree grew, and warm harbours "
    "full of fruit and noise; he had lost two friends in a storm, and found a third one who was now the "
    "master of the inn. The children did not believe everything, but they asked him to go on, because his "
    "voice was quiet and the light was beautiful on the water. When the first lamp was lit in the window of "
    "the church, their mothers called them in. The old man stayed where he was. He listened to the wind and "
    "to the small waves on the sand, and thought of a letter that he had written many years ago and had "
    "never sent. It was still in the pocket of his coat, and nobody but himself knew what was in it. "
    "Perhaps, "
    "he said to himself, tomorrow would be the day to post it.";

constexpr std::string_view kGreedyPrompt = "The road went down from the hills";
constexpr std::int64_t kGreedyTokens = 20;
constexpr std::size_t kLogProbTokens = 200;
constexpr double kLogProbTolerance = 1e-3;  // kernels for another processor round in another order

// What the bundled models gave when they were bundled.
struct DemoFacts {
  std::string_view kind, weights_hash;
  double mean_log_prob;          // of the first kLogProbTokens ids of kEnglish, each but the first
  std::string_view greedy_text;  // the two largest logits were 0.05 apart and more
};
constexpr std::array<DemoFacts, 2> kDemoFacts = {
    {{"linear", "d18e8b5f99b84f22c299f740d8703faf", -3.65584,
      ", and the winds were not so much as the winds of the sea.\n\nThe"},
     {"mlp", "cd21f5cea641820241153011a85bdf19", -3.73164,
      ", and the sun was a great distance.\n\n\"I'm not going to be a"}}};

const DemoFacts& facts_of(const std::string& kind) {
  return *std::ranges::find(kDemoFacts, kind, &DemoFacts::kind);
}

// A folder of its own under the system's temporary folder, removed with what is in it.
class TemporaryFolder {
 public:
  TemporaryFolder() : path_((std::filesystem::temp_directory_path() / "ttt-selftest-XXXXXX").string()) {
    if (::mkdtemp(path_.data()) == nullptr) {
      throw std::system_error(errno, std::generic_category(), path_);
    }
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::string file(std::string_view name) const { return path_ + "/" + std::string(name); }

 private:
  std::string path_;
};

void write_gguf(const Model& model, const std::string& path) {
  weights::GgufMetadata metadata;
  append_config(model.config, metadata);
  std::vector<weights::GgufTensorInfo> infos;
  const std::vector<NamedTensor> tensors = list_tensors(model);
  for (const NamedTensor& tensor : tensors) {
    infos.push_back({tensor.view.name, tensor.view.dtype, tensor.view.shape});
  }
  weights::GgufWriter writer(path, metadata, infos);
  for (const NamedTensor& tensor : tensors) writer.write(tensor.view.bytes);
  writer.commit();
}

// Mean of ln p(ids[i + 1] | ids[0 ... i]).
double mean_log_prob(std::span<const TokenId> ids, Backend& backend) {
  const std::span<const TokenId> inputs = ids.first(ids.size() - 1), targets = ids.subspan(1);
  double sum = 0.0;
  backend.reset(0);
  for (std::size_t first = 0; first < inputs.size();) {
    check_interrupted();
    const std::size_t count = std::min(backend.info().max_batch_tokens, inputs.size() - first);
    Segment segment;
    segment.position = static_cast<std::int64_t>(first);
    segment.tokens = inputs.subspan(first, count);
    segment.wanted.log_probs = Rows::kAll;
    segment.wanted.targets = targets.subspan(first, count);
    segment.wanted.targets_per_row = 1;
    const std::array batch = {segment};
    backend.submit(batch);
    for (const float log_prob : backend.wait().front().target_log_probs) sum += static_cast<double>(log_prob);
    first += count;
  }
  return sum / static_cast<double>(inputs.size());
}

}  // namespace

Measured gguf_round_trip(const RandomModel& random) try {
  const TemporaryFolder folder;
  const std::string path = folder.file("model.gguf");
  write_gguf(random.model, path);
  const weights::Checkpoint checkpoint = weights::Checkpoint::open(path);
  const Model opened = load_model(checkpoint);
  const std::vector<NamedTensor> wanted = list_tensors(random.model), found = list_tensors(opened);
  std::size_t different = wanted.size() == found.size() ? 0 : 1;
  for (std::size_t i = 0; i < std::min(wanted.size(), found.size()); ++i) {
    const weights::TensorView &a = wanted[i].view, &b = found[i].view;
    const bool equal =
        a.name == b.name && a.dtype == b.dtype && a.shape == b.shape && std::ranges::equal(a.bytes, b.bytes);
    if (!equal) ++different;
  }
  return {.value = static_cast<double>(different),
          .unit = fmt::format("of {} tensors differ", wanted.size()),
          .note = fmt::format("written, mapped and read: {}", readable_bytes(checkpoint.file_bytes()))};
} catch (const std::system_error& error) {
  return Measured::skip(fmt::format("no file can be written: {}; TMPDIR names another folder", error.what()));
}

Measured file_is_sound(const ModelFiles& files) {
  const ModelInfo info = describe_model(files);
  const ModelInfo::Check check = check_model(files, info);
  return {.value = static_cast<double>(check.problems.size()),
          .unit = "problems",
          .note = check.problems.empty()
                      ? fmt::format("{} read, {}", readable_bytes(info.file_bytes),
                                    info.stored_hash.empty() ? "no hash stored" : "hash as stored")
                      : fmt::format("{}", fmt::join(check.problems, "; "))};
}

Measured fits_into_memory(const ModelFiles& files) {
  const auto usable = usable_memory(read_machine());
  if (!usable) return Measured::skip("the system does not tell its memory");
  const std::uint64_t needed = files.checkpoint.file_bytes() + max_state_bytes(files.model.config);
  Measured measured{.value = static_cast<double>(needed) / 0x1p20,
                    .bound = static_cast<double>(*usable) / 0x1p20,
                    .unit = "MiB for weights and one sequence",
                    .note = fmt::format("{} for each further sequence",
                                        readable_memory(max_state_bytes(files.model.config)))};
  if (!measured.passed()) {
    measured.note = "close other programs, or use a smaller model or one converted with --type bf16";
  }
  return measured;
}

Measured tokenizer_round_trip(const ModelFiles& files) {
  if (!files.tokenizer) return Measured::skip("the model has no tokenizer");
  const tokenizer::Tokenizer& tokenizer = *files.tokenizer;
  constexpr std::array<std::string_view, 7> kTexts = {
      "Hello, world!",
      "  two  spaces and a tab\there",
      "f(x) = {a: 1.5e-3, b: \"y\"} // 100%",
      "line one\nline two\r\n",
      "na\u00efve caf\u00e9, Stra\u00dfe, \u03b1\u03b2\u03b3",
      "\u6771\u4eac \U0001F642 \u0645\u0631\u062d\u0628\u0627",
      kEnglish};
  std::size_t compared = 0, different = 0;
  for (const std::string_view text : kTexts) {
    const std::vector<TokenId> ids = tokenizer.encode(text);
    if (std::ranges::find(ids, tokenizer.unknown_id()) != ids.end()) continue;  // no way back
    const std::string decoded = tokenizer.decode(ids);
    ++compared;
    if (tokenizer.decode(tokenizer.encode(decoded)) != decoded) ++different;
  }
  return {.value = static_cast<double>(different),
          .unit = fmt::format("of {} texts come back changed", compared),
          .note = compared == kTexts.size() ? "" : "texts with unknown characters left out"};
}

std::vector<TokenId> english_ids(const ModelFiles& files, std::size_t count) {
  if (!files.tokenizer) return RandomNumbers(1).tokens(count, files.model.config.vocab_size);
  std::vector<TokenId> ids = files.encode_prompt(kEnglish, true, tokenizer::SpecialTokens::kPlain);
  if (ids.size() > count) ids.resize(count);
  return ids;
}

Measured mean_loss(const ModelFiles& files, Backend& backend, std::size_t count) {
  if (!files.tokenizer) return Measured::skip("the model has no tokenizer");
  const std::vector<TokenId> ids = english_ids(files, count);
  Measured measured{.value = -mean_log_prob(ids, backend),
                    .bound = std::log(static_cast<double>(files.model.config.vocab_size)),
                    .unit = "nats per token",
                    .note = fmt::format("{} tokens of English", ids.size())};
  if (!measured.passed()) {
    measured.note +=
        "; worse than guessing: the weights are not trained, or weights, configuration and tokenizer do not "
        "belong together";
  }
  return measured;
}

Measured demo_weights_known(const std::string& kind, const ModelFiles& files) {
  const std::string hash = weights_hash(files.model);
  const bool known = hash == facts_of(kind).weights_hash;
  return {.value = known ? 0.0 : 1.0,
          .unit = "of 1 hashes differ",
          .note = known ? hash
                        : fmt::format("{} is not the model that came with this version: install again, or "
                                      "unset TTT_MODEL_DIR (hash {})",
                                      files.checkpoint.path(), hash)};
}

Measured demo_mean_log_prob(const std::string& kind, const ModelFiles& files, Backend& backend) {
  const double found = mean_log_prob(english_ids(files, kLogProbTokens), backend);
  return {.value = std::abs(found - facts_of(kind).mean_log_prob),
          .bound = kLogProbTolerance,
          .unit = "off in the mean log-probability",
          .note = fmt::format("{:.5f}, {} tokens", found, kLogProbTokens)};
}

Measured demo_greedy_text(const std::string& kind, const ModelFiles& files, Backend& backend) {
  GenerationRequest request;
  request.prompt = files.encode_prompt(kGreedyPrompt, true, tokenizer::SpecialTokens::kPlain);
  request.max_tokens = kGreedyTokens;
  Engine engine(backend, files.model.config, &files.need_tokenizer());
  const auto stream = engine.submit(std::move(request));
  const Generation generation = read_stream(*stream, [](const TokenEvent&) {});
  check_interrupted();
  check_not_failed(generation);
  const std::string& text = generation.choices.front().text;
  return {.value = text == facts_of(kind).greedy_text ? 0.0 : 1.0,
          .unit = "of 1 texts differ",
          .note = fmt::format("{} tokens: \"{}\"", kGreedyTokens, escaped(text))};
}

}  // namespace ttt::cli
