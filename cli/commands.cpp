// SPDX-License-Identifier: Apache-2.0
#include "cli/commands.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "cli/config_file.h"
#include "cli/exit_code.h"
#include "cli/man_page.h"
#include "cli/standard_streams.h"
#include "engine/random_weights.h"

namespace ttt::cli {
namespace {

constexpr std::int64_t kAnyCount = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kMaxThreads = 1024;
constexpr std::int64_t kMaxCacheBytes = std::int64_t{1} << 60;
constexpr std::int64_t kMaxParallel = 512;  // a step of the backend takes so many tokens
constexpr double kMaxTemperature = 100.0;

// What names the input or the output of one call is not taken from the environment.
void no_environment(Option& option) { option.environment.clear(); }

void add_model(Command& command, std::string& model, std::string help) {
  command.text("-m,--model,MODEL", model, "MODEL", std::move(help));
}

constexpr const char* kModelHelp = "a .gguf file or a Hugging Face folder; the first argument, or -m";
constexpr const char* kJsonHelp = "print one JSON object instead of text";

}  // namespace

Commands::Commands() {
  add_run();
  add_demo();
  add_serve();
  add_info();
  add_tokenize();
  add_convert();
  add_export();
  add_quantize();
  add_eval();
  add_bench();
  add_loadtest();
  add_selftest();
  add_doctor();
  add_about();
}

Command* Commands::find(std::string_view name) {
  const auto it = std::ranges::find_if(list_, [&](const Command& command) { return command.is_named(name); });
  return it == list_.end() ? nullptr : &*it;
}

void Commands::parse(Command& command, std::span<const std::string> arguments) {
  command.parse(arguments, [&](const std::string* given) {
    doctor_.config_file = config_path(given);
    if (!doctor_.config_file) return std::vector<Setting>();
    try {
      return read_settings(*doctor_.config_file, list_, command);
    } catch (const std::runtime_error& error) {
      if (!command.is_named("doctor")) throw;
      doctor_.config_error = error.what();
      return std::vector<Setting>();
    }
  });
}

Command& Commands::add(Command command) {
  list_.push_back(std::move(command));
  return list_.back();
}

void Commands::add_verbose(Command& command) {
  command.flag("-v,--verbose", verbose_, "say on stderr what is done");
}

void Commands::add_device_options(Command& command, ModelOptions& options) {
  command
      .text("--device", options.device, "auto|cpu|cuda[:i]",
            "where to compute; auto: an NVIDIA GPU if there is one with room, else the CPU")
      .suggestions = {"auto", "cpu", "cuda"};
  command.choice(
      "--precision", options.precision, {"auto", "fast", "exact"},
      "of a GPU; fast: operands of 16 bits, sums and states of 32; exact: everything of 32, slower; "
      "auto: fast. The CPU is exact");
  command.integer("-t,--threads", options.threads, {0, kMaxThreads}, "N",
                  "threads; 0: the processors that affinity and cgroup allow");
  command.text("--cpu-target", options.cpu_target, "NAME",
               "which kernels compute, where it must not be the best that this machine has: `ttt version` "
               "lists them; results are bitwise equal within one target");
  command.flag("--no-mmap", options.no_mmap,
               "read weights from the file one by one, not through a mapping: for network file systems");
  command.flag("--deterministic", options.deterministic,
               "on a GPU, the same bits whatever runs beside (a CPU always does)");
  command.text(
      "--packed-cache", options.packed_cache, "DIR",
      "keep the weights in this folder as a CPU computes with them: the next start maps them instead of "
      "packing them anew; the folder may be emptied at any time");
  command.integer("--packed-cache-limit", options.packed_cache_limit, {0, kMaxCacheBytes}, "BYTES",
                  "of all files in that folder; those used longest ago are removed");
  command.flag("--mlock", options.mlock, "keep weights and states from being swapped out");
  command.flag("--no-huge-pages", options.no_huge_pages, "use small pages of memory, to compare");
  command.flag("--pin-threads", options.pin_threads,
               "tie each thread to a processor, spread over the memory nodes: each then reads the weights of "
               "its own node");
  command.choice(
      "--numa", options.numa, {"off", "distribute"},
      "distribute: --pin-threads, and it is told where there is one memory node; to use one node of "
      "several, start the program with numactl --cpunodebind=N --membind=N");
  add_verbose(command);
}

void Commands::add_run() {
  Command& run =
      add({"run", "MODEL [PROMPT] [options]", "read a prompt and continue it; many with --batch",
           "Reads a prompt and continues it. The prompt is the argument after the model, or comes from -p, "
           "-f, --tokens or a pipe. Only the continuation goes to stdout, as it is generated; Ctrl-C ends "
           "it and keeps what is there. With --batch each line of a file is a prompt with its own options, "
           "many run at once, and what was interrupted goes on with --resume.",
           [this] {
             run_.ignored = find("run")->ignored_given();
             return cli::run(run_);
           }});
  run.alias("generate");
  add_model(run, run_.model.model, kModelHelp);
  run.text("PROMPT", run_.positional_prompt, "PROMPT", "the prompt; - reads stdin");
  no_environment(run.optional_text("-p,--prompt", run_.prompt, "TEXT", "the prompt; may begin with a dash"));
  no_environment(run.optional_text("-f,--file", run_.file, "FILE",
                                   "read the prompt from a file (- is stdin), without its final newline"));
  no_environment(
      run.optional_text("--tokens", run_.tokens, "IDS",
                        "the prompt as token ids, 1,2,3 or @FILE; nothing is put in front of them"));
  no_environment(
      run.optional_text("--state-in", run_.state.in, "FILE",
                        "go on behind the sequence that --state-out saved there, without reading "
                        "it again; a prompt, if there is one, follows as it stands (a piped one with -f -)"));
  no_environment(run.optional_text("--state-out", run_.state.out, "FILE",
                                   "save the sequence with all that was learned from it, also after Ctrl-C"));
  add_sampling_options(run, run_.sampling);
  run.flag("--echo", run_.echo, "print the prompt before its continuation");
  run.flag("--no-bos", run_.no_bos, "do not put the begin-of-text token before the prompt");
  run.flag("--parse-special", run_.parse_special, "read </s> and the like in the prompt as special tokens");
  run.flag("--timings", run_.timings, "print load time, tokens per second and time to first token on stderr");
  run.flag("--json", run_.json, kJsonHelp);
  add_batch_options(run);
  add_device_options(run, run_.model);
  constexpr const char* kIgnoredHelp = "accepted and ignored: there is no context window here";
  run.ignore("-c,--ctx-size,--max-model-len", kIgnoredHelp);
  run.ignore("--rope-*", kIgnoredHelp);
  run.ignore("-fa,--flash-attn", kIgnoredHelp, {"on", "off", "auto", "0", "1"});
  run.ignore("-ctk,--cache-type-k", kIgnoredHelp);
  run.ignore("-ctv,--cache-type-v", kIgnoredHelp);
  run.ignore("-ngl,--n-gpu-layers", "accepted and ignored: --device says what computes all layers");
  run.example("ttt run model.gguf \"Once upon a time\" -n 100", "continue a sentence by 100 tokens");
  run.example("ttt run model.gguf -f book.txt -n 0 --timings", "measure how fast a long text is read");
  run.example("ttt run model.gguf -p \"Dear\" --num 3 --seed 1", "three continuations, the prompt read once");
  run.example("ttt run model.gguf -p \"-x\" --temp 0 --json", "the most probable continuation, as JSON");
}

void Commands::add_batch_options(Command& run) {
  BatchOptions& batch = run_.batch;
  no_environment(run.optional_text("--batch", batch.input, "FILE",
                                   "answer every line of this JSON Lines file (- is stdin) instead of one "
                                   "prompt; fields as in OpenAI's completions, the rest from the options"));
  no_environment(run.optional_text("-o,--output", batch.output, "FILE",
                                   "of --batch: the file to write, one record a line, in the order in which "
                                   "lines are done; - or nothing is stdout"));
  run.integer("--parallel,--max-num-seqs,-np", batch.parallel, {1, kMaxParallel}, "N",
              "of --batch: sequences at once; answers do not depend on it");
  run.choice(
      "--bad-lines", batch.bad_lines, {"report", "stop"},
      "of --batch: write a record that says what is wrong and go on, or stop there; code 1 in the end");
  no_environment(
      run.flag("--resume", batch.resume, "of --batch: answer only the lines that the output lacks"));
  no_environment(run.flag("--force", batch.force, "of --batch: replace an existing output"));
  run.example("ttt run model.gguf --batch in.jsonl -o out.jsonl --seed 1 -n 100",
              "answer many prompts; each line {\"prompt\": \"...\"}, with \"id\" and options where wanted");
  run.example("ttt run model.gguf --batch in.jsonl -o out.jsonl --seed 1 -n 100 --resume",
              "go on after Ctrl-C or a crash: the same answers as without");
}

void Commands::add_demo() {
  Command& demo = add({"demo", "[options]", "let the bundled model continue a sentence",
                       "Runs the small model that comes with the program: no download, same text each time.",
                       [this] { return cli::demo(demo_); }});
  no_environment(demo.choice("-m,--model", demo_.model, {"linear", "mlp"}, "which bundled model"));
  no_environment(demo.text("-p,--prompt", demo_.prompt, "TEXT", "how the text begins"));
  demo.integer("-n,--max-tokens,--n-predict,--predict", demo_.max_tokens, {-1, kAnyCount}, "N",
               "tokens to generate; -1: until the end-of-text token or Ctrl-C");
  demo.number("--temperature,--temp", demo_.temperature, 0.0, kMaxTemperature, "T", "sampling temperature");
  demo.integer("-s,--seed", demo_.seed, {0, kAnyCount}, "N", "seed of the sampler");
  demo.integer("-t,--threads", demo_.threads, {0, kMaxThreads}, "N", "threads; 0: all usable processors");
  demo.flag("--timings", demo_.timings, "print load time and tokens per second on stderr");
  add_verbose(demo);
  demo.example("ttt demo --model mlp --seed 7", "another text, by the TTT-MLP model");
}

void Commands::add_info() {
  Command& info = add(
      {"info", "[MODEL] [options]", "describe a model, a saved state, or --devices; --check reads all of it",
       "Prints what a model is: family, size, precision, tokenizer, bytes of state per sequence, "
       "hash. With --check it reads every weight and ends with code 3 if the file is not sound. Of a file "
       "that --state-out of 'ttt run' wrote, the sequence and the model that it belongs to.",
       [this] { return cli::info(info_); }});
  add_model(info, info_.model, kModelHelp);
  no_environment(info.flag("--tensors", info_.tensors, "list every tensor"));
  no_environment(
      info.flag("--check", info_.check,
                "verify the hash, look for NaN and infinity, compare the tokenizer's special tokens"));
  no_environment(
      info.flag("--devices", info_.devices, "list what this machine can compute on, instead of a model"));
  info.flag("--json", info_.json, kJsonHelp);
  add_verbose(info);
  info.example("ttt info model.gguf --check", "is the download complete and undamaged?");
}

void Commands::add_tokenize() {
  Command& tokenize = add({"tokenize", "MODEL [TEXT] [options]", "text to token ids",
                           "Prints one token a line: its id and its piece (U+2581 stands for a space).",
                           [this] { return cli::tokenize(tokenize_); }});
  add_model(tokenize, tokenize_.model,
            "a .gguf file, a Hugging Face folder, a tokenizer.model or a tokenizer.json");
  tokenize.text("TEXT", tokenize_.text, "TEXT", "the text; - or nothing reads stdin");
  no_environment(tokenize.optional_text("-f,--file", tokenize_.file, "FILE", "read the text from a file"));
  no_environment(tokenize.flag("--ids", tokenize_.ids, "print the ids alone, as 1,2,3"));
  no_environment(tokenize.flag("--pieces", tokenize_.pieces, "print the pieces alone, one a line"));
  no_environment(tokenize.flag("--count", tokenize_.count, "print the number of tokens alone"));
  tokenize.flag("--no-bos", tokenize_.no_bos, "without the begin-of-text token that a prompt gets");
  tokenize.flag("--parse-special", tokenize_.parse_special, "read </s> and the like as special tokens");
  tokenize.flag("--json", tokenize_.json, kJsonHelp);
  add_verbose(tokenize);
  tokenize.example("ttt tokenize model.gguf -f book.txt --count", "how many tokens is this?");

  Command& detokenize = add({"detokenize", "MODEL [IDS]", "token ids to text",
                             "Prints the text of a list of ids such as 1,2,3.",
                             [this] { return cli::detokenize(detokenize_); }});
  add_model(detokenize, detokenize_.model,
            "a .gguf file, a Hugging Face folder, a tokenizer.model or a tokenizer.json");
  detokenize.text("IDS", detokenize_.ids, "IDS", "the ids; - or nothing reads stdin");
  add_verbose(detokenize);
}

void Commands::add_serve() {
  ServeOptions& o = serve_;
  Command& serve = add({"serve", "MODEL [options]", "an OpenAI-style completion endpoint over HTTP",
                        "Answers POST /v1/completions and, for models with a chat template, "
                        "/v1/chat/completions as OpenAI's API does, whole or streamed, many clients "
                        "at once. It is reached "
                        "from this machine alone unless --host says otherwise. SIGTERM or Ctrl-C lets "
                        "running requests finish; a "
                        "second one ends at once.",
                        [this] { return cli::serve(serve_); }});
  add_model(serve, o.model.model, kModelHelp);
  serve.text("--host", o.host, "ADDRESS", "where to listen");
  serve.integer("--port", o.port, {0, 65535}, "N", "0: a free one, told at start");
  serve.optional_text("--uds", o.socket, "PATH", "listen on this Unix socket instead");
  serve.list("-a,--served-model-name,--alias", o.names, "NAME",
             "a name that clients may ask for; * accepts all (default: the file's name)");
  serve.optional_text("--chat-template", o.chat_template, "NAME",
                      "how a chat becomes a prompt: plain, chatml, llama2, or a file with a known Jinja text "
                      "(default: the model's own, if it is known)");
  serve.list("--preload-state", o.preloaded_states, "NAME=FILE",
             "a file of ttt run --state-out; completions with \"state\": \"NAME\" go on from it");
  serve
      .list("--api-key", o.api_keys, "KEY",
            "a key that clients must send; seen by others in the process list")
      .secret = true;
  serve.optional_text("--api-key-file", o.api_key_file, "FILE",
                      "keys that clients must send, one a line; one that begins with # is a comment");
  serve.flag("--allow-unauthenticated", o.allow_unauthenticated, "let other machines in without a key");
  serve.flag("--metrics-open", o.metrics_open, "ask no key for /metrics");
  serve.list("--allowed-hosts", o.allowed_hosts, "NAME",
             "accept this Host header too, when on a loopback address");
  serve.list("--cors-origins", o.cors_origins, "ORIGIN",
             "let web pages from there call the server; *: from all");
  serve.integer("--parallel,--max-num-seqs,-np", o.max_num_seqs, {0, kMaxParallel}, "N",
                "sequences at once; 0: as many as memory allows, 64 at most");
  serve.integer("--max-queue", o.max_queue, {1, kAnyCount}, "N",
                "requests that may wait; more are answered with 429");
  serve.integer("--max-prompt-tokens", o.max_prompt_tokens, {0, kAnyCount}, "N", "longest prompt; 0: any");
  serve.integer("--max-output-tokens", o.max_output_tokens, {0, kAnyCount}, "N",
                "most tokens that a request gets, whatever it asks for; 0: any");
  serve.integer("--max-logprobs", o.max_logprobs, {0, kMaxTopLogProbs}, "N", "log-probabilities of a token");
  serve.integer("--max-stop", o.max_stop, {0, static_cast<std::int64_t>(kMaxStopStrings)}, "N",
                "stop strings of a request");
  serve.integer("--max-body", o.max_body, {1024, std::int64_t{1} << 30}, "BYTES",
                "largest body of a request");
  serve.flag("--strict-fields", o.strict_fields,
             "refuse fields that are not known, instead of ignoring them");
  serve.number("--request-timeout", o.request_timeout, 0.0, 1e9, "SECONDS",
               "end a request after so long, waiting included; 0: never");
  serve.number("--shutdown-timeout", o.shutdown_timeout, 0.0, 1e9, "SECONDS",
               "how long running requests may go on after SIGTERM");
  serve.number("--sse-ping", o.sse_ping, 0.1, 1e6, "SECONDS",
               "silence of a stream before a comment fills it");
  serve.choice("--log-format", o.log_format, {"text", "json", "none"},
               "one line on stderr for each request; never prompts or keys");
  add_device_options(serve, o.model);
  serve.example("ttt serve model.gguf",
                "then: curl http://127.0.0.1:8080/v1/completions -d '{\"prompt\": \"Hello\"}'");
  serve.example("ttt serve model.gguf --chat-template plain", "chat with a model that was not taught to");
  serve.example("ttt serve model.gguf --preload-state book=book.tttstate",
                "a book that was read once, asked about by many");
  serve.example("ttt serve model.gguf --host 0.0.0.0 --api-key-file keys.txt", "reached from other machines");
}

void Commands::add_convert() {
  Command& convert =
      add({"convert", "SRC OUT.gguf [options]", "make a .gguf file of a checkpoint",
           "Writes one file with the weights and the tokenizer. It appears whole or not at all; "
           "Ctrl-C leaves nothing behind (a second one may leave a .ttt-*.tmp file).",
           [this] { return cli::convert(convert_); }});
  convert.text(
      "SRC", convert_.source, "SRC",
      "a Hugging Face folder (config.json, *.safetensors, tokenizer.model or .json), a .gguf file, or a JAX "
      "checkpoint (streaming_train_state, streaming_params) or a PyTorch one (*.bin), or the folder "
      "that holds it");
  convert.text("OUT", convert_.output, "OUT", "the file to write");
  convert.choice("--type", convert_.type, {"f32", "f16", "bf16", "q8_0", "q6_k", "q4_k", "q4_0"},
                 "type of the matrices; norms, rates, convolutions and initial fast weights stay f32; `ttt "
                 "quantize` has more to say on q8_0, q6_k, q4_k and q4_0");
  Option& preset =
      convert.optional_text("--preset", convert_.preset, "SIZE",
                            "of a JAX checkpoint: the size it must have, 125m, 350m, 760m, 1.3b, or 125m-mlp "
                            "and so on; its tensors "
                            "tell the size anyway, this tells that training was the published one");
  preset.suggestions = official_sizes();
  no_environment(preset);
  no_environment(convert.number("--base-lr", convert_.base_lr, 0.0, 1e6, "X",
                                "of a JAX checkpoint: the inner base learning rate of training, which no "
                                "tensor tells; 0: as config.json or --preset says, else 1 for TTT-Linear "
                                "and 0.1 for TTT-MLP, with a warning"));
  no_environment(convert.optional_text(
      "--tokenizer", convert_.tokenizer, "FILE",
      "the tokenizer to put in: a tokenizer.model, a tokenizer.json of Llama's kind, or a "
      ".gguf file that has one; else the folder's own"));
  no_environment(convert.flag("--dry-run", convert_.dry_run, "say what SRC is, write nothing"));
  no_environment(convert.flag("--verify", convert_.verify,
                              "before the file gets its name, read it again: compare every weight with the "
                              "source, run the self-test on it; what fails is not kept"));
  no_environment(convert.text("--reference", convert_.verification.reference, "FILE",
                              "of --verify, and implies it: a safetensors file with token_ids (or input_ids) "
                              "and the logits that the model must give"));
  no_environment(convert.number("--max-error", convert_.verification.max_error, 0.0, 1e6, "X",
                                "of --reference: the largest error of a logit, over the rms of all; 0: 2e-5, "
                                "and any where weights were rounded"));
  no_environment(convert.flag("--force", convert_.force, "replace an existing file"));
  add_verbose(convert);
  convert.example("ttt convert folder model.gguf --type bf16", "half the size, made once");
  convert.example(
      "ttt convert streaming_train_state model.gguf --preset 1.3b-mlp --tokenizer tokenizer.model",
      "a published JAX checkpoint, as training wrote it");
  convert.example("ttt convert folder model.gguf --verify --reference logits.safetensors",
                  "and prove that it was read right");
}

void Commands::add_export() {
  Command& command = add(
      {"export", "MODEL OUT_FOLDER [options]", "a model back to a Hugging Face folder",
       "Writes model.safetensors, config.json and tokenizer.model, which the official PyTorch code reads. "
       "Weights "
       "keep their bits. The folder appears whole or not at all; one that is there must be empty.",
       [this] { return cli::export_folder(export_); }});
  add_model(command, export_.model, kModelHelp);
  command.text("OUT", export_.output, "OUT_FOLDER", "the folder to make");
  no_environment(
      command.flag("--dequantize", export_.dequantize,
                   "write quantised weights as f32, rounded as they are, instead of refusing them"));
  add_verbose(command);
  command.example("ttt export model.gguf folder", "for training on, or for other programs");
}

void Commands::add_quantize() {
  Command& quantize = add(
      {"quantize", "IN OUT.gguf [options]", "a model with its matrices in fewer bits",
       "Writes a model again with its matrices in another type: q8_0 takes 8.5 bits a weight, q6_k "
       "6.56, q4_k and q4_0 4.5, of which q4_k keeps more. "
       "The embedding and the output head are q6_k where the others are q4_k, and q8_0 where they are "
       "q4_0, unless --keep says otherwise: an embedding's error enters the model as it is, a head's goes "
       "straight into the probabilities, and no later layer can make up for it. A matrix whose rows are "
       "no whole number of blocks of 256 becomes q4_0 in place of q4_k, and q8_0 in place of q6_k; of "
       "blocks of 32, f16. Norms, rates, convolutions and initial fast weights stay f32.",
       [this] { return cli::quantize(quantize_); }});
  quantize.text("IN", quantize_.source, "SRC", "a .gguf file or a Hugging Face folder");
  quantize.text("OUT", quantize_.output, "OUT", "the file to write");
  quantize.choice("--type", quantize_.type, {"q8_0", "q6_k", "q4_k", "q4_0", "f16", "bf16"},
                  "type of the matrices");
  no_environment(quantize.list(
      "--keep", quantize_.keep, "PATTERN=TYPE",
      "another type for the matrices whose names match, as in 'blk.0.*=f16' or 'output*=q4_0'; the "
      "first that matches counts"));
  no_environment(quantize.flag("--requantize", quantize_.requantize,
                               "take a model that is quantised already, and round it a second time"));
  no_environment(quantize.flag("--report", quantize_.report,
                               "print the mix of types, bytes and the relative rms error of every matrix"));
  no_environment(quantize.choice("-o,--output", quantize_.format, {"md", "json"},
                                 "of --report: tables for people, or JSON"));
  no_environment(quantize.text(
      "-f,--file", quantize_.file, "FILE",
      "add to the report, and so ask for it, what both models predict of this text (- is stdin): "
      "perplexity, Kullback-Leibler divergence, how often the same token is on top; on the CPU, with both in "
      "memory at once"));
  no_environment(quantize.optional_integer(
      "--tokens", quantize_.tokens, {static_cast<std::int64_t>(kMinComparedTokens), kAnyCount}, "N",
      "of -f: read this many ids in all, bos included, instead of the whole text"));
  quantize.integer("-t,--threads", quantize_.threads, {0, kMaxThreads}, "N",
                   "of -f: threads; 0: the processors that affinity and cgroup allow");
  no_environment(quantize.flag("--force", quantize_.force, "replace an existing file"));
  add_verbose(quantize);
  quantize.example("ttt quantize model.gguf model-q8.gguf", "a quarter of the size, almost no loss");
  quantize.example("ttt quantize model.gguf model-q4.gguf --type q4_k --keep 'blk.0.*=q6_k' --report",
                   "an eighth of the size; what does each matrix lose?");
  quantize.example("ttt quantize model.gguf model-q4.gguf --type q4_k -f book.txt --tokens 8K",
                   "and what does the model lose, on 8192 tokens of a book?");
}

void Commands::add_eval() {
  Command& ppl =
      add({"eval ppl", "MODEL -f FILE [options]", "loss and perplexity of a text",
           "Reads a text once, whatever its length, and tells how well each token was predicted: mean loss "
           "in nats, perplexity, bits per byte, and the loss by position. One bos token comes first.",
           [this] { return eval_ppl(ppl_); }});
  add_model(ppl, ppl_.model.model, kModelHelp);
  no_environment(ppl.text("-f,--file", ppl_.file, "FILE", "the text; - is stdin"));
  no_environment(ppl.optional_integer("--tokens", ppl_.tokens, {2, kAnyCount}, "N",
                                      "read this many ids in all, bos included, instead of the whole text"));
  ppl.flag("--json", ppl_.json, kJsonHelp);
  add_device_options(ppl, ppl_.model);
  ppl.example("ttt eval ppl model.gguf -f book.txt --tokens 32K", "the first 32768 tokens of a book");

  Command& logits =
      add({"eval logits", "MODEL --ids IDS -o FILE [options]", "raw logits as a safetensors file",
           "Writes the logits after each of the given token ids, for comparison with other "
           "implementations. Nothing is put in front of the ids.",
           [this] { return eval_logits(logits_); }});
  add_model(logits, logits_.model.model, kModelHelp);
  no_environment(logits.text("--ids", logits_.ids, "IDS", "token ids, 1,2,3 or @FILE"));
  no_environment(logits.text("-o,--output", logits_.output, "FILE", "the .safetensors file to write"));
  no_environment(
      logits.flag("--state", logits_.state, "add the state after the last token, as state.<name>"));
  no_environment(logits.flag("--force", logits_.force, "replace an existing file"));
  add_device_options(logits, logits_.model);
}

void Commands::add_bench() {
  Command& bench = add(
      {"bench", "MODEL | --random SIZE [options]", "measure how fast a model reads and writes",
       "Reads prompts and decodes tokens at several depths and batches, and prints tokens per second with "
       "their spread, the time of a step, the time to the first token, memory, and the share of what this "
       "machine could do at best, measured by the same threads between the repetitions. Rows in which "
       "other programs took more than 5 % of the processors are marked.",
       [this] { return cli::bench(bench_); }});
  add_model(bench, bench_.model.model, kModelHelp);
  Option& random = bench.optional_text("--random", bench_.random, "SIZE",
                                       "random weights of an official size instead: 125m, 350m, 760m, 1.3b, "
                                       "or 125m-mlp and so on");
  random.suggestions = official_sizes();
  no_environment(random);
  bench.choice("--type", bench_.type, {"f32", "f16", "bf16", "q8_0", "q6_k", "q4_k", "q4_0"},
               "type of the matrices of --random");
  no_environment(bench.optional_text("--write", bench_.write, "FILE",
                                     "write the random model to a .gguf file and stop"));
  no_environment(bench.flag("--force", bench_.force, "replace an existing file"));
  no_environment(bench.text("-p,--prefill", bench_.prefill, "N,...", "lengths of prompts to read; 0: none"));
  no_environment(bench.text("-d,--depth", bench_.depth, "N,...", "decode after so many tokens"));
  no_environment(bench.text("-b,--batch-sizes", bench_.batch, "N,...", "decode so many sequences at once"));
  no_environment(bench.integer("-n,--decode", bench_.decode, {0, kAnyCount}, "N",
                               "tokens that each sequence writes in a repetition; 0: none"));
  no_environment(bench.integer("-r,--repetitions", bench_.repetitions, {1, 10'000}, "N",
                               "repetitions of every row, after one that is not counted"));
  no_environment(bench.integer("--prefill-repetitions", bench_.prefill_repetitions, {0, 10'000}, "N",
                               "repetitions of prompts; 0: as many as -r"));
  bench.choice("-o,--output", bench_.output, {"md", "html", "csv", "json", "jsonl"},
               "a table; a page with charts; numbers; everything; a line for each row");
  no_environment(bench.optional_text("--compare", bench_.compare, "FILE",
                                     "show what changed since this report in JSON (md and html)"));
  add_device_options(bench, bench_.model);
  bench.example("ttt bench model.gguf", "one prompt of 512 tokens, 64 tokens written");
  bench.example("ttt bench model.gguf -d 2k,8k,32k -r 10 -o html > bench.html",
                "charts to look at or to send");
  bench.example("ttt bench --random 125m -p 512,2k -d 0,2k,8k -b 1,8,32", "no download: an official size");
}

void Commands::add_loadtest() {
  LoadtestOptions& o = loadtest_;
  Command& load =
      add({"loadtest", "[--url URL] [options]", "measure a completion server under load",
           "Sends streamed completions to any OpenAI-style server and prints requests and tokens per second, "
           "and the times to the first token, between tokens and of whole answers. With --rate requests "
           "arrive at random moments whatever the server does; without, each client sends its next request "
           "when its last one is answered. --output json has the key names of vLLM's bench serve.",
           [this] { return cli::loadtest(loadtest_); }});
  no_environment(load.text("--url,--base-url", o.url, "URL", "the server, with or without /v1"));
  no_environment(load.optional_text("--uds", o.socket, "PATH", "reach it through this Unix socket"));
  no_environment(load.optional_text("-m,--model", o.model, "NAME",
                                    "the model to ask for (default: the first that the server lists)"));
  load.optional_text("--api-key-file", o.api_key_file, "FILE", "the key to send, on its first line");
  no_environment(load.integer("-n,--num-prompts", o.requests, {0, kAnyCount}, "N",
                              "requests to send; 0: 64, or any number with --duration"));
  no_environment(
      load.number("--duration", o.duration, 0.0, 1e9, "SECONDS", "send for so long; 0: until all are sent"));
  no_environment(load.number("--rate,--request-rate", o.rate, 0.0, 1e6, "N",
                             "requests a second; 0: as fast as --concurrency allows"));
  no_environment(load.number("--burstiness", o.burstiness, 1e-3, 1e6, "N",
                             "with --rate: 1 as in a Poisson process, less in bursts, more evenly"));
  no_environment(load.integer("-c,--concurrency,--max-concurrency", o.concurrency, {0, 100'000}, "N",
                              "requests at once, at most; 0: 8, or any number with --rate"));
  no_environment(
      load.integer("--warmup", o.warmup, {0, 10'000}, "N", "requests before, which are not counted"));
  no_environment(load.text("--input-len", o.prompt_length, "N|MIN-MAX", "tokens of a prompt, random ids"));
  no_environment(load.text("--output-len", o.output_length, "N|MIN-MAX", "tokens of an answer, at most"));
  no_environment(
      load.optional_text("--prompts", o.prompts, "FILE", "a prompt on each line, in place of random ids"));
  no_environment(load.integer("--vocab", o.vocab_size, {0, std::int64_t{1} << 30}, "N",
                              "random ids are below this; 0: as the server tells, or 256"));
  no_environment(load.flag("--ignore-eos", o.ignore_eos, "ask for answers that do not end by themselves"));
  no_environment(load.integer("-s,--seed", o.seed, {0, kAnyCount}, "N", "of lengths, ids and arrivals"));
  no_environment(
      load.number("--timeout", o.timeout, 0.001, 1e9, "SECONDS", "a request that takes longer has failed"));
  no_environment(load.text("--percentiles", o.percentiles, "P,...", "which to print"));
  no_environment(load.text("--goodput", o.goodput, "LIMITS",
                           "count requests within these milliseconds: ttft:200,tpot:50,e2el:2000"));
  load.choice("-o,--output", o.output, {"md", "json"}, "a table for people, or everything as JSON");
  load.example("ttt loadtest --url http://127.0.0.1:8080 -c 32",
               "32 clients, each with one request at a time");
  load.example("ttt loadtest --rate 2 --duration 60 --input-len 100-2000",
               "two requests a second for a minute");
}

void Commands::add_selftest() {
  Command& selftest = add(
      {"selftest", "[MODEL] [options]", "does this program compute right on this machine? and this model?",
       "Compares small random models with a double-precision evaluation, checks that results depend on "
       "neither "
       "chunking, batch nor threads, that states can be saved, loaded and rewound, and that the "
       "bundled models write what they should. With a MODEL it checks that file, too, within "
       "about a minute. One line a check; ends with 1 if one failed, with 3 if the MODEL cannot "
       "be opened.",
       [this] { return cli::selftest(selftest_); }});
  add_model(selftest, selftest_.model.model, "a .gguf file or a Hugging Face folder to check, too");
  selftest.flag("--json", selftest_.json, kJsonHelp);
  add_device_options(selftest, selftest_.model);
  selftest.example("ttt selftest model.gguf", "is everything as it should be, after installing?");
}

void Commands::add_doctor() {
  Command& doctor = add(
      {"doctor", "[MODEL...] [options]", "a report on program, machine and models, for bug tickets",
       "Reports version, processor, memory, control group, system, settings and, for each MODEL, whether it "
       "opens and fits into memory. Names of users and hosts, folders and secrets are left out. Problems are "
       "listed last, with advice; they do not change the exit code, but a MODEL that cannot be opened ends "
       "it with 3.",
       [this] { return run_doctor(); }});
  doctor.list("MODEL", doctor_.models, "MODEL", "a .gguf file or a Hugging Face folder to examine");
  no_environment(doctor.flag("--paths", doctor_.paths, "show whole paths; the home folder stays ~"));
  doctor.flag("--json", doctor_.json, kJsonHelp);
  add_verbose(doctor);
  doctor.example("ttt doctor model.gguf", "what to put into a bug ticket; does this model fit here?");
}

int Commands::run_doctor() {
  for (const Command& command : list_) {
    for (const Option& option : command.options()) {
      if (option.environment.empty()) continue;
      doctor_.variables.push_back(option.environment);
      if (option.kind == Option::Kind::kInteger || option.kind == Option::Kind::kNumber) {
        doctor_.numeric_variables.push_back(option.environment);
      }
    }
  }
  for (const char* name : {"TTT_CONFIG", "TTT_MODEL_DIR"}) doctor_.variables.emplace_back(name);
  return cli::doctor(doctor_);
}

void Commands::add_about() {
  Command& version = add({"version", "[--json]", "what this program is",
                          "Prints version, commit, compiler, processor, CUDA and libraries, for bug reports.",
                          [this] { return cli::version(version_); }});
  version.flag("--json", version_.json, kJsonHelp);

  add({"man", "", "the manual page", "Prints the manual page in roff: ttt man | man -l -", [this] {
         write_stdout(man_page(list_));
         return static_cast<int>(kOk);
       }});

  Command& completion = add(
      {"completion", "bash|zsh|fish", "a script by which a shell completes ttt's command lines",
       "Prints a script that completes commands, options, their choices and files. For bash: source <(ttt "
       "completion bash); for fish: ttt completion fish | source; for zsh: save it as _ttt in a folder of "
       "$fpath.",
       [this] { return cli::completion(list_, completion_); }});
  completion.choice("SHELL", completion_.shell, {"bash", "zsh", "fish"}, "the shell");
  completion.example("source <(ttt completion bash)", "complete with the Tab key in this bash");

  Command& help = add({"help", "[COMMAND | WORD]", "help on a command, or a search in all options",
                       "Prints the options of a command, or every option that a word occurs in.",
                       [this] { return cli::help(list_, help_); }});
  Option& topic = help.text("TOPIC", help_.topic, "TOPIC", "a command or a word");
  for (const Command& command : list_) topic.suggestions.push_back(command.name());

  help.text("REST", help_.topic_rest, "REST", "second word of a command such as eval ppl");
}

}  // namespace ttt::cli
