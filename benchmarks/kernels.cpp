// SPDX-License-Identifier: Apache-2.0
// Each kernel checked, then timed beside the machine's limit in the same program: a plain read of as many
// bytes by the same threads, or a loop of fused multiply-adds (of 8-bit products) in registers. Limit and
// kernel take turns, and the best of many rounds counts, so that other programs on the machine disturb both
// alike. usage: kernels_benchmark [THREADS [TARGET]]
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
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

using Clock = std::chrono::steady_clock;
constexpr int kRounds = 15;
constexpr std::size_t kAlways = std::size_t{1} << 40;  // work that every thread shares
constexpr std::size_t kSinkStride = 16;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

struct Best {
  double limit = 1e9, kernel = 1e9;  // seconds
};

template <class Limit, class Kernel>
Best interleave(Limit&& limit, Kernel&& kernel) {
  Best best;
  for (int round = 0; round < kRounds; ++round) {
    Clock::time_point start = Clock::now();
    limit();
    best.limit = std::min(best.limit, seconds_since(start));
    start = Clock::now();
    kernel();
    best.kernel = std::min(best.kernel, seconds_since(start));
  }
  return best;
}

std::vector<float> some_floats(std::size_t count) {
  std::vector<float> values(count);
  std::uint32_t state = 1;
  for (float& value : values) {
    state = state * 1664525 + 1013904223;
    value = static_cast<float>(state >> 8) * 0x1p-23F - 1.0F;
  }
  return values;
}

[[noreturn]] void fail(const std::string& what) {
  fmt::print(stderr, "kernels_benchmark: {}\n", what);
  std::exit(1);
}

class Benchmark {
 public:
  explicit Benchmark(std::size_t threads) : pool_(threads), sinks_(threads * kSinkStride) {}

  void products() {
    struct Shape {
      std::size_t outputs, inputs;
    };
    for (const Shape shape : {Shape{768, 768}, Shape{2048, 5504}, Shape{32000, 768}}) {
      for (const auto dtype :
           {weights::DType::kF32, weights::DType::kBF16, weights::DType::kF16, weights::DType::kQ8_0,
            weights::DType::kQ4_0, weights::DType::kQ6_K, weights::DType::kQ4_K}) {
        if (shape.inputs % weights::dtype_info(dtype).block_elements != 0) continue;
        product(dtype, shape.outputs, shape.inputs);
      }
    }
  }

  void inner_loops() {
    for (const bool mlp : {false, true}) inner_loop(mlp);
  }

 private:
  // As many copies as make 256 MiB, so that one row finds its weights in memory and not in a cache.
  void product(weights::DType dtype, std::size_t outputs, std::size_t inputs) {
    const std::vector<float> values = some_floats(outputs * inputs);
    const weights::Shape shape = {outputs, inputs};
    std::vector<std::byte> stored(*weights::tensor_bytes(dtype, shape));
    weights::from_floats(dtype, values, stored);
    const weights::TensorView tensor{.name = "w", .dtype = dtype, .shape = shape, .bytes = stored};
    const bool quantised = weights::is_block_type(dtype);
    std::vector<PackedMatrix> copies;
    const std::size_t count = std::max<std::size_t>(1, (std::size_t{256} << 20) / stored.size());
    for (std::size_t i = 0; i < count; ++i) copies.emplace_back(tensor, pool_);
    constexpr std::size_t kManyRows = 512;
    const std::vector<float> x = some_floats(kManyRows * inputs);
    AlignedFloats y(kManyRows * outputs), scratch(pool_.num_threads() * kGemmScratch);
    std::vector<QuantisedInputs> room(quantised_size(kManyRows, inputs));
    const auto multiply = [&](const PackedMatrix& w, std::size_t rows) {
      GemmInputs rows_of_x(x.data(), rows, inputs, room.data());
      gemm(pool_, w, rows_of_x, y.data(), scratch.data());
    };

    std::size_t next = 0;
    const Best one = interleave(
        [&] {
          for (const PackedMatrix& w : copies) read_plainly(w);
        },
        [&] {
          for (const PackedMatrix& w : copies) multiply(w, 1);
        });
    check(tensor, x, y);
    const double bytes = static_cast<double>(copies[0].bytes()) * static_cast<double>(count);
    fmt::print("{:>5} x {:<5} {:<5} 1 row  {:6.1f} GB/s, plain read {:6.1f}: {:3.0f} %", outputs, inputs,
               weights::dtype_info(dtype).name, bytes / one.kernel / 1e9, bytes / one.limit / 1e9,
               100.0 * one.limit / one.kernel);
    for (const std::size_t rows : {std::size_t{8}, std::size_t{32}, kManyRows}) {
      double peak_work = 0.0;
      const std::size_t num_products = std::min(copies.size(), kManyRows / rows * 4);
      const Best many = interleave([&] { peak_work = compute_plainly(quantised); },
                                   [&] {
                                     for (std::size_t i = 0; i < num_products; ++i) {
                                       multiply(copies[next++ % count], rows);
                                     }
                                   });
      check(tensor, x, y);
      const double work = 2.0 * static_cast<double>(rows * num_products) * static_cast<double>(values.size());
      fmt::print(" | {} rows {:6.1f} {} of {:6.1f}: {:3.0f} %", rows, work / many.kernel / 1e9,
                 quantised ? "GOP/s" : "GFLOP/s", peak_work / many.limit / 1e9,
                 100.0 * work / many.kernel / (peak_work / many.limit));
    }
    fmt::print("\n");
  }

  // The first row's products, in double, of x as the kernel sees it.
  static void check(const weights::TensorView& tensor, const std::vector<float>& all_x,
                    const AlignedFloats& y) {
    const std::size_t inputs = tensor.shape[1];
    std::vector<float> x(all_x.begin(), all_x.begin() + static_cast<std::ptrdiff_t>(inputs));
    if (weights::is_block_type(tensor.dtype)) round_inputs(x);
    std::vector<float> row(inputs);
    for (std::size_t output = 0; output < tensor.shape[0]; output += 97) {
      const std::size_t bytes = tensor.bytes.size() / tensor.shape[0];
      weights::to_floats(tensor.dtype, tensor.bytes.subspan(output * bytes, bytes), row);
      double sum = 0.0, magnitude = 0.0;
      for (std::size_t i = 0; i < inputs; ++i) {
        const double term = static_cast<double>(row[i]) * static_cast<double>(x[i]);
        sum += term;
        magnitude += std::abs(term);
      }
      const double error = std::abs(static_cast<double>(y[output]) - sum);
      if (!(error <= 280.0 * 0x1p-24 * magnitude)) fail(fmt::format("a product is off by {}", error));
    }
  }

  static void round_inputs(std::vector<float>& x) {
    for (std::size_t first = 0; first < x.size(); first += kBlockInputs) {
      QuantisedInputs quantised;
      const std::size_t count = std::min(kBlockInputs, x.size() - first);
      quantise_inputs(x.data() + first, count, quantised);
      for (std::size_t i = 0; i < count; ++i) {
        x[first + i] = quantised.scales[i / weights::kBlockWeights] * static_cast<float>(quantised.values[i]);
      }
    }
  }

  void read_plainly(const PackedMatrix& w) {
    pool_.for_ranges(w.num_panels(), kAlways, [&](std::size_t begin, std::size_t end, std::size_t thread) {
      const std::size_t floats = (end - begin) * (w.bytes() / w.num_panels()) / sizeof(float);
      cpu::read_plainly(reinterpret_cast<const float*>(w.panel(begin)), floats,
                        &sinks_[thread * kSinkStride]);
    });
  }

  double compute_plainly(bool int8 = false) {
    std::vector<double> work(pool_.num_threads());
    pool_.for_ranges(pool_.num_threads(), kAlways, [&](std::size_t, std::size_t, std::size_t thread) {
      float* const sink = &sinks_[thread * kSinkStride];
      work[thread] = int8 ? multiply_int8_plainly(1'000'000, sink) : multiply_add_plainly(1'000'000, sink);
    });
    double sum = 0.0;
    for (const double part : work) sum += part;
    return sum;
  }

  // 12 heads of 64, mini-batches of 16: one layer of the 125M shape.
  void inner_loop(bool mlp) {
    constexpr std::size_t f = 64, K = 16, kHeads = 12, kTokens = 512;
    const std::size_t m = mlp ? 4 * f : f;
    const std::size_t stride = 2 * f + 2 * m;
    std::vector<float> W1 = some_floats(kHeads * f * m), b1 = some_floats(kHeads * m), W2 = W1, b2 = b1;
    for (auto* weights : {&W1, &W2}) {
      for (float& value : *weights) value *= 0.1F;
    }
    std::vector<float> rows(kHeads * K * stride), out(kTokens * kHeads * f);
    const std::vector<float> q = some_floats(out.size()), norm(f, 1.0F), bias(f, 0.0F);
    const std::vector<float> alpha(kTokens, 1e-4F), eta(K, 0.1F);
    const std::size_t scratch_floats = inner_loop_scratch_floats(f, m, K);
    std::vector<float> scratch(pool_.num_threads() * scratch_floats);
    const auto run = [&](std::size_t tokens_at_once) {
      for (std::size_t first = 0; first < kTokens; first += tokens_at_once) {
        pool_.for_tasks(kHeads, kAlways, [&](std::size_t a, std::size_t thread) {
          float* const open = rows.data() + a * K * stride;
          const InnerLoopHead head{f,
                                   m,
                                   K,
                                   eta,
                                   norm,
                                   bias,
                                   W1.data() + a * f * m,
                                   b1.data() + a * m,
                                   W2.data() + a * f * m,
                                   b2.data() + a * f,
                                   open,
                                   open + f,
                                   open + f + m,
                                   open + f + 2 * m,
                                   stride};
          const std::size_t at = first * kHeads * f + a * f;
          const InnerLoopRows segment{static_cast<std::int64_t>(first),
                                      tokens_at_once,
                                      q.data() + at,
                                      q.data() + at,
                                      q.data() + at,
                                      out.data() + at,
                                      kHeads * f,
                                      alpha.data() + first,
                                      1,
                                      nullptr,
                                      0};
          (mlp ? ttt_mlp : ttt_linear)(head, segment, scratch.data() + thread * scratch_floats);
        });
      }
    };
    // Multiply-adds of a token: two reads through W and a sixteenth of sixteen updates of it; TTT-MLP has
    // two layers and a way back. Corrections: half of K rows, twice.
    const double fm = static_cast<double>(f * m);
    const double corrections = static_cast<double>((K + 1) * (f + m)) / 2.0;
    const double token_work =
        2.0 * static_cast<double>(kHeads) * (mlp ? 7.0 * fm + 2.0 * corrections : 3.0 * fm + corrections);
    for (const std::size_t at_once : {std::size_t{1}, kTokens}) {
      double peak_work = 0.0;
      const Best best = interleave([&] { peak_work = compute_plainly(); }, [&] { run(at_once); });
      if (!std::ranges::all_of(out, [](float value) { return std::isfinite(value); })) {
        fail("an inner loop is not finite");
      }
      const double rate = token_work * static_cast<double>(kTokens) / best.kernel;
      fmt::print("{} 12 x 64, {:>3} at once: {:9.0f} tokens/s, {:5.1f} GFLOP/s of {:.1f}: {:3.0f} %\n",
                 mlp ? "TTT-MLP   " : "TTT-Linear", at_once, static_cast<double>(kTokens) / best.kernel,
                 rate / 1e9, peak_work / best.limit / 1e9, 100.0 * rate / (peak_work / best.limit));
    }
  }

  ThreadPool pool_;
  std::vector<float> sinks_;  // what a limit computes goes here, so that it is computed
};

int run(const std::vector<std::string_view>& arguments) {
  const std::size_t threads =
      arguments.empty() ? available_processors() : std::strtoul(arguments[0].data(), nullptr, 10);
  if (threads == 0 || threads > 1024 || arguments.size() > 2) {
    fail("usage: kernels_benchmark [THREADS [TARGET]]");
  }
  try {
    choose_target(arguments.size() == 2 ? arguments[1] : "");
  } catch (const std::invalid_argument& error) {
    fail(error.what());
  }
  fmt::print("{}, {} threads, {}\n", processor_name(), threads, dispatch_target());
  Benchmark benchmark(threads);
  benchmark.products();
  benchmark.inner_loops();
  return 0;
}

}  // namespace
}  // namespace ttt::cpu

int main(int argc, char** argv) {
  return ttt::cpu::run(std::vector<std::string_view>(argv + 1, argv + argc));
}
