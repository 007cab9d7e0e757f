// SPDX-License-Identifier: Apache-2.0
// What a device can do at best. The emulator's clock says nothing of a GPU: its figures are only there.
#include "engine/machine_limits.h"

#ifndef TTT_ON_DEVICE
#include <emulated_device.h>
#endif

#include <catch2/catch.hpp>
#include <cmath>

#include "cuda/cuda_backend.h"
#include "tests/cuda/installed_library.h"
#include "tests/cuda/launches.h"

using namespace ttt;

namespace {

void check_figures(const MachineLimits& limits) {
  for (const double figure :
       {limits.read_bytes_per_second, limits.flops_per_second, limits.half_flops_per_second}) {
    CHECK(std::isfinite(figure));
    CHECK(figure > 0.0);
  }
  CHECK(limits.int8_ops_per_second == 0.0);
}

}  // namespace

TEST_CASE("a device's limits are measured, each time anew") {
  const auto probe = cuda::make_machine_probe(0);
  REQUIRE(probe != nullptr);
  check_figures(probe->measure());
  const test::Launches launches;
  check_figures(probe->measure());
  launches.check({{"probe_fill", 0}, {"cublas_lt_multiply", 0}});
}

TEST_CASE("the better of two readings counts, limit by limit") {
  const MachineLimits best = best_of({.read_bytes_per_second = 2.0, .flops_per_second = 1.0},
                                     {.read_bytes_per_second = 1.0, .half_flops_per_second = 3.0});
  CHECK(best.read_bytes_per_second == 2.0);
  CHECK(best.flops_per_second == 1.0);
  CHECK(best.int8_ops_per_second == 0.0);
  CHECK(best.half_flops_per_second == 3.0);
}

#ifdef TTT_ON_DEVICE

TEST_CASE("limits of this device", "[.report]") {
  const test::InstalledLibrary installed;
  const auto probe = cuda::make_machine_probe(0);
  REQUIRE(probe != nullptr);
  for (int reading = 0; reading < 5; ++reading) {
    const MachineLimits limits = probe->measure();
    WARN("read " << limits.read_bytes_per_second * 1e-9 << " GB/s, fp32 " << limits.flops_per_second * 1e-12
                 << " TFLOP/s, 16 bits " << limits.half_flops_per_second * 1e-12 << " TFLOP/s");
  }
}

#else

TEST_CASE("where there is a library, its products are among what is measured") {
  const test::InstalledLibrary installed;
  const test::Launches launches;
  check_figures(cuda::make_machine_probe(0)->measure());
  const int multiplied = test::runtime_calls().launches["cublas_lt_multiply"];
  CHECK(multiplied >= 2);  // one to begin with
  emulator::refuse_outputs(256);
  check_figures(cuda::make_machine_probe(0)->measure());
  CHECK(test::runtime_calls().launches["cublas_lt_multiply"] == multiplied);
}

TEST_CASE("a device without memory to spare has no probe, and nothing is left behind") {
  const std::size_t before = emulator::allocated_bytes();
  emulator::fail_allocation(1);
  CHECK(cuda::make_machine_probe(0) == nullptr);
  CHECK(cudaGetLastError() == cudaSuccess);
  CHECK(cuda::make_machine_probe(0) != nullptr);  // and gone at once
  CHECK(emulator::allocated_bytes() == before);
}

TEST_CASE("a probe whose kernel fails has lost the device") {
  const auto probe = cuda::make_machine_probe(0);
  emulator::fail_kernel(2);
  CHECK_THROWS_AS(probe->measure(), DeviceLost);
  emulator::reset_errors();
  CHECK_NOTHROW(probe->measure());
}

#endif
