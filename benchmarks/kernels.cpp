// SPDX-License-Identifier: Apache-2.0
// Each kernel checked, then timed beside the machine's limit in the same program: a plain read of as many
// bytes by the same threads, or a loop of fused multiply-adds (of 8-bit products) in registers. Limit and
// kernel take turns, and the best of all rounds counts, so that other programs on the machine disturb both
// alike. usage: kernels_benchmark [--threads=N] [--target=NAME] [options of Google Benchmark: --help]
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cpu/aligned_floats.h"
#include "cpu/block_gemm.h"
#include "cpu/dispatch.h"
#include "cpu/gemm.h"
#include "cpu/inner_loop.h"
#include "cpu/machine_probe.h"
#include "cpu/processors.h"
#include "weights/element_type.h"

namespace ttt::cpu {
namespace {

constexpr std::size_t kAlways = std::size_t{1} << 40;  // work that every thread shares
constexpr std::size_t kSinkStride = 16;
constexpr int kRounds = 15;

std::vector<float> some_floats(std::size_t count) {
  std::vector<float> values(count);
  std::uint32_t state = 1;
  for (float& value : values) {
    state = state * 1664525 + 1013904223;
    value = static_cast<float>(state >> 8) * 0x1p-23F - 1.0F;
  }
  return values;
}

// The threads, and what they can do at best. Each limit returns its work, in bytes or operations.
class Machine {
 public:
  explicit Machine(std::size_t threads) : pool(threads), sinks_(threads * kSinkStride) {}

  double read(const std::vector<PackedMatrix>& matrices) {
    double bytes = 0.0;
    for (const PackedMatrix& w : matrices) {
      pool.for_ranges(w.num_panels(), kAlways, [&](std::size_t begin, std::size_t end, std::size_t thread) {
        const std::size_t floats = (end - begin) * (w.bytes() / w.num_panels()) / sizeof(float);
        read_plainly(reinterpret_cast<const float*>(w.panel(begin)), floats, &sinks_[thread * kSinkStride]);
      });
      bytes += static_cast<double>(w.bytes());
    }
    return bytes;
  }

  double compute(bool int8) {
    std::vector<double> work(pool.num_threads());
    pool.for_ranges(pool.num_threads(), kAlways, [&](std::size_t, std::size_t, std::size_t thread) {
      float* const sink = &sinks_[thread * kSinkStride];
      work[thread] = int8 ? multiply_int8_plainly(1'000'000, sink) : multiply_add_plainly(1'000'000, sink);
    });
    double sum = 0.0;
    for (const double part : work) sum += part;
    return sum;
  }

  ThreadPool pool;

 private:
  std::vector<float> sinks_;  // what a limit computes goes here, so that it is computed
};

template <class Work>
double seconds(Work&& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// The reported time is the mean of the kernel; the rates and the share are those of the best rounds.
template <class Limit, class Kernel>
void take_turns(benchmark::State& state, const char* unit, double work, Limit&& limit, Kernel&& kernel) {
  double limit_work = 0.0;
  double best_limit = std::numeric_limits<double>::infinity(), best_kernel = best_limit;
  for ([[maybe_unused]] auto round : state) {
    best_limit = std::min(best_limit, seconds([&] { limit_work = limit(); }));
    const double time = seconds(kernel);
    best_kernel = std::min(best_kernel, time);
    state.SetIterationTime(time);
  }
  const double rate = work / best_kernel, limit_rate = limit_work / best_limit;
  state.counters[unit] = rate / 1e9;
  state.counters["limit"] = limit_rate / 1e9;
  state.counters["% of limit"] = 100.0 * rate / limit_rate;
}

struct Shape {
  std::size_t outputs, inputs;
};

constexpr std::size_t kManyRows = 512;

// A matrix in as many copies as make 256 MiB, so that one row finds its weights in memory and not in a cache.
struct Product {
  Product(Machine& machine, weights::DType type, Shape product_shape)
      : dtype(type),
        shape(product_shape),
        x(some_floats(kManyRows * shape.inputs)),
        y(kManyRows * shape.outputs),
        scratch(machine.pool.num_threads() * kGemmScratch),
        quantised(kManyRows, shape.inputs) {
    const weights::Shape extents = {shape.outputs, shape.inputs};
    stored.resize(*weights::tensor_bytes(dtype, extents));
    weights::from_floats(dtype, some_floats(shape.outputs * shape.inputs), stored);
    const weights::TensorView tensor{.name = "w", .dtype = dtype, .shape = extents, .bytes = stored};
    const std::size_t count = std::max<std::size_t>(1, (std::size_t{256} << 20) / stored.size());
    for (std::size_t i = 0; i < count; ++i) copies.emplace_back(tensor, machine.pool);
  }

  void multiply(Machine& machine, const PackedMatrix& w, std::size_t rows) {
    GemmInputs inputs(x.data(), rows, shape.inputs, quantised);
    gemm(machine.pool, w, inputs, y.data(), scratch.data());
  }

  // Whether the first row's products are right: in double, of x as the kernel sees it.
  bool is_right() const {
    std::vector<float> seen(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(shape.inputs));
    if (weights::is_block_type(dtype)) round_inputs(seen);
    std::vector<float> row(shape.inputs);
    const std::size_t row_bytes = stored.size() / shape.outputs;
    for (std::size_t output = 0; output < shape.outputs; output += 97) {
      weights::to_floats(dtype, std::span(stored).subspan(output * row_bytes, row_bytes), row);
      double sum = 0.0, magnitude = 0.0;
      for (std::size_t i = 0; i < shape.inputs; ++i) {
        const double term = static_cast<double>(row[i]) * static_cast<double>(seen[i]);
        sum += term;
        magnitude += std::abs(term);
      }
      if (!(std::abs(static_cast<double>(y[output]) - sum) <= 280.0 * 0x1p-24 * magnitude)) return false;
    }
    return true;
  }

  static void round_inputs(std::vector<float>& x) {
    for (std::size_t first = 0; first < x.size(); first += kBlockInputs) {
      QuantisedInputs rounded;
      PairedInputs pairs;
      const std::size_t count = std::min(kBlockInputs, x.size() - first);
      quantise_inputs(x.data() + first, count, rounded, pairs);
      for (std::size_t i = 0; i < count; ++i) {
        x[first + i] = rounded.scales[i / weights::kBlockWeights] * static_cast<float>(rounded.values[i]);
      }
    }
  }

  weights::DType dtype;
  Shape shape;
  std::vector<std::byte> stored;
  std::vector<PackedMatrix> copies;
  std::vector<float> x;
  AlignedFloats y, scratch;
  QuantisedBuffer quantised;
};

// The matrix that ran last, as the next benchmark mostly wants it too.
Product& product_of(Machine& machine, weights::DType dtype, Shape shape) {
  static std::unique_ptr<Product> last;
  if (last == nullptr || last->dtype != dtype || last->shape.outputs != shape.outputs ||
      last->shape.inputs != shape.inputs) {
    last.reset();
    last = std::make_unique<Product>(machine, dtype, shape);
  }
  return *last;
}

// One row is bound by memory: its limit is a plain read of the same copies.
void multiply_one_row(benchmark::State& state, Machine& machine, weights::DType dtype, Shape shape) {
  Product& product = product_of(machine, dtype, shape);
  const double bytes =
      static_cast<double>(product.copies[0].bytes()) * static_cast<double>(product.copies.size());
  take_turns(
      state, "GB/s", bytes, [&] { return machine.read(product.copies); },
      [&] {
        for (const PackedMatrix& w : product.copies) product.multiply(machine, w, 1);
      });
  if (!product.is_right()) state.SkipWithError("a product is wrong");
}

void multiply_rows(benchmark::State& state, Machine& machine, weights::DType dtype, Shape shape,
                   std::size_t rows) {
  Product& product = product_of(machine, dtype, shape);
  const bool int8 = weights::is_block_type(dtype);
  const std::size_t num_products = std::min(product.copies.size(), kManyRows / rows * 4);
  const double work = 2.0 * static_cast<double>(rows * num_products * shape.outputs * shape.inputs);
  std::size_t next = 0;
  take_turns(
      state, int8 ? "GOP/s" : "GFLOP/s", work, [&] { return machine.compute(int8); },
      [&] {
        for (std::size_t i = 0; i < num_products; ++i) {
          product.multiply(machine, product.copies[next++ % product.copies.size()], rows);
        }
      });
  if (!product.is_right()) state.SkipWithError("a product is wrong");
}

// One layer of the 125M shape: 12 heads of 64, mini-batches of 16.
class InnerLayer {
 public:
  static constexpr std::size_t f = 64, K = 16, kHeads = 12, kTokens = 512;

  InnerLayer(Machine& machine, bool mlp)
      : machine_(machine),
        mlp_(mlp),
        m_(mlp ? 4 * f : f),
        W1_(some_floats(kHeads * f * m_)),
        b1_(some_floats(kHeads * m_)),
        rows_(kHeads * K * row_floats()),
        out_(kTokens * kHeads * f),
        q_(some_floats(out_.size())),
        scratch_floats_(inner_loop_scratch_floats(f, m_, K)),
        scratch_(machine.pool.num_threads() * scratch_floats_) {
    for (float& value : W1_) value *= 0.1F;
    W2_ = W1_;
    b2_ = b1_;
  }

  void read(std::size_t tokens_at_once) {
    for (std::size_t first = 0; first < kTokens; first += tokens_at_once) {
      machine_.pool.for_tasks(kHeads, kAlways, [&](std::size_t a, std::size_t thread) {
        (mlp_ ? ttt_mlp : ttt_linear)(head(a), segment(a, first, tokens_at_once),
                                      scratch_.data() + thread * scratch_floats_);
      });
    }
  }

  bool is_finite() const {
    return std::ranges::all_of(out_, [](float value) { return std::isfinite(value); });
  }

  // Operations of kTokens: two reads through W and a sixteenth of sixteen updates of it; TTT-MLP has two
  // layers and a way back. Corrections: half of K rows, twice.
  double work() const {
    const double fm = static_cast<double>(f * m_);
    const double corrections = static_cast<double>((K + 1) * (f + m_)) / 2.0;
    const double one = mlp_ ? 7.0 * fm + 2.0 * corrections : 3.0 * fm + corrections;
    return 2.0 * static_cast<double>(kHeads * kTokens) * one;
  }

 private:
  std::size_t row_floats() const { return 2 * f + 2 * m_; }

  InnerLoopHead head(std::size_t a) {
    InnerLoopHead head;
    head.head_size = f;
    head.inner_size = m_;
    head.mini_batch_size = K;
    head.token_eta = eta_;
    head.norm_weight = norm_;
    head.norm_bias = bias_;
    head.W1 = W1_.data() + a * f * m_;
    head.b1 = b1_.data() + a * m_;
    head.W2 = W2_.data() + a * f * m_;
    head.b2 = b2_.data() + a * f;
    float* const open = rows_.data() + a * K * row_floats();
    head.key = open;
    head.hidden = open + f;
    head.gradient_1 = open + f + m_;
    head.gradient_2 = open + f + 2 * m_;
    head.open_row_stride = row_floats();
    return head;
  }

  InnerLoopRows segment(std::size_t a, std::size_t first, std::size_t count) {
    const std::size_t at = first * kHeads * f + a * f;
    InnerLoopRows rows;
    rows.position = static_cast<std::int64_t>(first);
    rows.num_rows = count;
    rows.q = rows.k = rows.v = q_.data() + at;
    rows.out = out_.data() + at;
    rows.row_stride = kHeads * f;
    rows.alpha = alpha_.data() + first;
    rows.alpha_stride = 1;
    return rows;
  }

  Machine& machine_;
  bool mlp_;
  std::size_t m_;
  std::vector<float> W1_, b1_, W2_, b2_, rows_, out_;
  std::vector<float> q_;
  std::vector<float> norm_ = std::vector<float>(f, 1.0F), bias_ = std::vector<float>(f, 0.0F);
  std::vector<float> alpha_ = std::vector<float>(kTokens, 1e-4F), eta_ = std::vector<float>(K, 0.1F);
  std::size_t scratch_floats_;
  std::vector<float> scratch_;
};

void run_inner_loop(benchmark::State& state, Machine& machine, bool mlp, std::size_t tokens_at_once) {
  InnerLayer layer(machine, mlp);
  take_turns(
      state, "GFLOP/s", layer.work(), [&] { return machine.compute(false); },
      [&] { layer.read(tokens_at_once); });
  if (!layer.is_finite()) state.SkipWithError("an inner loop is not finite");
}

template <class Run>
void add(const std::string& name, Run&& run) {
  benchmark::RegisterBenchmark(name.c_str(), run)
      ->Iterations(kRounds)
      ->UseManualTime()
      ->Unit(benchmark::kMillisecond);
}

void add_products(Machine& machine) {
  for (const Shape shape :
       {Shape{768, 768}, Shape{2048, 2048}, Shape{5504, 2048}, Shape{2048, 5504}, Shape{32000, 768}}) {
    for (const auto dtype :
         {weights::DType::kF32, weights::DType::kBF16, weights::DType::kF16, weights::DType::kQ8_0,
          weights::DType::kQ4_0, weights::DType::kQ6_K, weights::DType::kQ4_K}) {
      if (shape.inputs % weights::dtype_info(dtype).block_elements != 0) continue;
      const std::string name =
          fmt::format("product/{}x{}/{}", shape.outputs, shape.inputs, weights::dtype_info(dtype).name);
      add(name + "/rows:1", [&machine, dtype, shape](benchmark::State& state) {
        multiply_one_row(state, machine, dtype, shape);
      });
      for (const std::size_t rows :
           {std::size_t{4}, std::size_t{8}, std::size_t{16}, std::size_t{32}, kManyRows}) {
        add(fmt::format("{}/rows:{}", name, rows), [&machine, dtype, shape, rows](benchmark::State& state) {
          multiply_rows(state, machine, dtype, shape, rows);
        });
      }
    }
  }
}

void add_inner_loops(Machine& machine) {
  for (const bool mlp : {false, true}) {
    for (const std::size_t tokens : {std::size_t{1}, InnerLayer::kTokens}) {
      add(fmt::format("inner_loop/{}/tokens:{}", mlp ? "TTT-MLP" : "TTT-Linear", tokens),
          [&machine, mlp, tokens](benchmark::State& state) { run_inner_loop(state, machine, mlp, tokens); });
    }
  }
}

[[noreturn]] void fail(const std::string& what) {
  fmt::print(stderr, "kernels_benchmark: {}\n", what);
  std::exit(2);
}

int run(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);  // takes its own options away
  std::size_t threads = available_processors();
  std::string_view target;
  for (const std::string_view argument : std::vector<std::string_view>(argv + 1, argv + argc)) {
    if (argument.starts_with("--threads=")) {
      threads = std::strtoul(argument.substr(10).data(), nullptr, 10);
    } else if (argument.starts_with("--target=")) {
      target = argument.substr(9);
    } else {
      fail(fmt::format("what is {}? usage: kernels_benchmark [--threads=N] [--target=NAME] [--benchmark_...]",
                       argument));
    }
  }
  if (threads == 0 || threads > 1024) fail("--threads goes from 1 to 1024");
  try {
    choose_target(target);
  } catch (const std::invalid_argument& error) {
    fail(error.what());
  }
  benchmark::AddCustomContext("processor", processor_name());
  benchmark::AddCustomContext("threads", std::to_string(threads));
  benchmark::AddCustomContext("target", dispatch_target());
  Machine machine(threads);
  add_products(machine);
  add_inner_loops(machine);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace
}  // namespace ttt::cpu

int main(int argc, char** argv) { return ttt::cpu::run(argc, argv); }
