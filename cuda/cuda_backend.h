// SPDX-License-Identifier: Apache-2.0
// Backend 2: an NVIDIA GPU, compute capability 8.0 and above. Linked from cuda_absent.cpp where there is no
// CUDA toolkit: callers include this header and link ttt_cuda either way.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "engine/backend.h"
#include "engine/machine_limits.h"
#include "engine/model.h"

namespace ttt::cuda {

struct CudaDevice {
  int index = 0;
  std::string name;
  int compute_capability_major = 0;
  int compute_capability_minor = 0;
  std::uint64_t memory_bytes = 0;
};

bool cuda_built();

// One line for people: the runtime, the driver, how many devices, cuBLASLt; or why there are none.
std::string cuda_description();

// Why an installed driver offers no device where there may be one: it is too old, or it fails; and what to
// do. Empty where all is well, and where there is no driver or it finds no GPU.
std::string driver_fault();

// Empty without a driver or a device; cuda_description() says which. A device that does not answer is listed
// without numbers. Creates no context on any device.
std::vector<CudaDevice> cuda_devices();

// How a model is computed. Residual stream, norms, logits, rates, states and all sums are fp32 either way.
enum class Precision {
  kExact,  // everything else too
  kFast    // operands of products and of the inner loop in 16 bits, on tensor cores
};

struct CudaOptions {
  std::size_t num_slots = 1;
  std::size_t max_batch_tokens = 512;
  std::size_t max_logits_rows = 1;
  int device = 0;  // index
  Precision precision = Precision::kFast;
  // No cuBLASLt: bits of a sequence do not depend on how many rows come with it.
  bool deterministic = false;
  // Decode steps are launched as graphs; without, for tests, piece by piece, with the same results.
  bool graphs = true;
  // Takes a sentence for the user: what is done without, and why.
  std::function<void(const std::string&)> warn = [](const std::string&) {};
};

// A device that is not there, or cannot be used for this model. The text says what to do.
class DeviceError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// The device has not enough memory. The text says what is needed, what is free, how many slots would fit.
class DeviceMemoryError : public DeviceError {
 public:
  using DeviceError::DeviceError;
};

// Why this device cannot be used; empty if nothing speaks against it. Creates no context.
std::string why_unusable(int device);

// The same, after it was started: CUDA makes its context there, which takes some tenths of a second and
// stays.
std::string why_not_started(int device);

// Left for what CUDA takes by itself after the backend was made: code of kernels at their first launch,
// graphs.
inline constexpr std::uint64_t kReservedBytes = std::uint64_t{64} << 20;

// Device memory of a backend, in bytes, known before anything is allocated.
struct MemoryPlan {
  std::uint64_t weights = 0;
  std::uint64_t states = 0;  // of all slots
  std::uint64_t workspace = 0;

  std::uint64_t allocated() const { return weights + states + workspace; }
  std::uint64_t total() const { return allocated() + kReservedBytes; }
};
MemoryPlan plan_memory(const Model& model, const CudaOptions& options);

// Throws DeviceMemoryError where the plan exceeds what is free on the device, DeviceError where it cannot be
// used, or has no kernel for such a model.
void check_memory(const Model& model, const CudaOptions& options);

// `model` must outlive the backend. All memory is taken here; a step allocates nothing, unless it wants more
// log-probabilities than any step before it, or is the first decode step of its shape: then CUDA takes memory
// for a graph, where there is some. Throws DeviceError, DeviceMemoryError, std::bad_alloc (host memory), or
// another std::runtime_error where a call of CUDA fails.
std::unique_ptr<Backend> make_cuda_backend(const Model& model, const CudaOptions& options);

// What the device can do at best. Takes sixteen times its L2 cache, of what a backend has left free: null
// where that is not there. A reading throws DeviceLost, as a backend does. Throws DeviceError, or another
// std::runtime_error where a call of CUDA fails.
std::unique_ptr<MachineProbe> make_machine_probe(int device);

}  // namespace ttt::cuda
