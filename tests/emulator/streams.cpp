// SPDX-License-Identifier: Apache-2.0
// Streams, events and launches of the emulated CUDA runtime.
#include <dlfcn.h>

#include <chrono>

#include "block_emulator.h"
#include "tests/emulator/machine.h"
#include "tests/kernel_name.h"

struct CUevent_st {
  CUstream_st* stream = nullptr;  // null: not recorded, or all before it is done
  std::uint64_t ticket = 0;       // done when as many of the stream's pieces of work are
  std::shared_ptr<std::chrono::steady_clock::time_point> reached;
};

namespace ttt::emulator {
namespace {

using Clock = std::chrono::steady_clock;

std::string look_up_name(const void* kernel) {
  Dl_info info{};
  if (dladdr(kernel, &info) == 0 || info.dli_sname == nullptr) return "kernel without a name";
  return test::kernel_name(info.dli_sname);
}

// A look-up goes through all symbols of the program: once for each kernel.
const std::string& kernel_name(const void* kernel) {
  static std::map<const void*, std::string> names;
  std::string& name = names[kernel];
  if (name.empty()) name = look_up_name(kernel);
  return name;
}

void count(const Work& work) {
  test::RuntimeCalls& counters = machine().counters;
  if (work.kind == Work::Kind::kKernel) ++counters.launches[work.name];
  if (work.kind == Work::Kind::kCopy) ++counters.copies;
  if (work.kind == Work::Kind::kFill) ++counters.fills;
}

void run(const Work& work, bool fails) {
  if (fails) {
    machine().sticky_error = cudaErrorLaunchFailure;
  } else {
    work.run();
  }
}

cudaError_t capture(CUstream_st& stream, Work work) {
  if (stream.capture->is_spoiled) return cudaErrorStreamCaptureInvalidated;
  if (work.kind == Work::Kind::kEvent) return refuse_on_capturing(&stream);  // not emulated
  stream.capture->graph->nodes.push_back(std::make_shared<const Work>(std::move(work)));
  return cudaSuccess;
}

}  // namespace

void run_until(CUstream_st* stream, std::uint64_t ticket) {
  const DeviceAtWork at_work;
  while (stream->done < ticket && !stream->work.empty()) {
    const std::function<void()> work = std::move(stream->work.front());
    stream->work.pop_front();
    ++stream->done;
    if (machine().sticky_error == cudaSuccess) work();
  }
}

void run_all() {
  for (CUstream_st* stream : machine().streams) run_until(stream, stream->queued);
}

cudaError_t put(cudaStream_t stream, Work work) {
  if (machine().sticky_error != cudaSuccess) return machine().sticky_error;
  if (machine().streams.contains(stream) && stream->capture != nullptr) {
    return capture(*stream, std::move(work));
  }
  return put(stream, std::make_shared<const Work>(std::move(work)));
}

cudaError_t put(cudaStream_t stream, const SharedWork& work) {
  if (machine().sticky_error != cudaSuccess) return machine().sticky_error;
  if (stream == nullptr && refuse_while_capturing() != cudaSuccess) return cudaErrorStreamCaptureImplicit;
  if (stream != nullptr && !machine().streams.contains(stream)) return cudaErrorInvalidResourceHandle;
  count(*work);
  const bool fails = work->kind == Work::Kind::kKernel && takes_effect_now(machine().failing_kernel);
  if (stream == nullptr) {
    run_all();
    const DeviceAtWork at_work;
    if (machine().sticky_error == cudaSuccess) run(*work, fails);
    return machine().sticky_error;
  }
  stream->work.push_back([work, fails] { run(*work, fails); });
  ++stream->queued;
  return cudaSuccess;
}

cudaError_t put_kernel(const void* kernel, unsigned grid_x, unsigned grid_y, unsigned threads,
                       std::size_t shared_bytes, std::function<void()> body, cudaStream_t stream) {
  const Lock lock(machine().mutex);
  constexpr unsigned kMaxThreads = 1024, kMaxGridY = 65535, kMaxGridX = (1U << 31) - 1;
  if (machine().devices.empty()) return report(cudaErrorNoDevice);
  if (grid_x == 0 || grid_y == 0 || threads == 0 || threads > kMaxThreads || grid_x > kMaxGridX ||
      grid_y > kMaxGridY) {
    return report(cudaErrorInvalidConfiguration);
  }
  if (device_of_thread().code_error != cudaSuccess) return report(device_of_thread().code_error);
  if (shared_bytes > device_of_thread().shared_bytes_per_block) return report(cudaErrorInvalidValue);
  const int device = current_device();
  if (stream != nullptr && machine().streams.contains(stream) && stream->device != device) {
    return report(cudaErrorInvalidResourceHandle);
  }
  ++machine().counters.launch_calls;
  if (takes_effect_now(machine().failing_launch)) {
    refuse_on_capturing(stream);
    return report(cudaErrorLaunchOutOfResources);
  }
  const std::string name = kernel_name(kernel);
  return report(put(stream, {.kind = Work::Kind::kKernel, .name = name, .run = [=, body = std::move(body)] {
                               const KernelAtWork at_work(device);
                               run_grid(name, {grid_x, grid_y, threads, shared_bytes}, body);
                             }}));
}

}  // namespace ttt::emulator

using namespace ttt::emulator;

cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, 0); }

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  const Lock lock(machine().mutex);
  if (machine().devices.empty()) return report(cudaErrorNoDevice);
  if (takes_effect_now(machine().failing_allocation)) return report(cudaErrorMemoryAllocation);
  *stream = new CUstream_st;
  (*stream)->device = current_device();
  machine().streams.insert(*stream);
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const Lock lock(machine().mutex);
  if (!machine().streams.contains(stream)) return report(cudaErrorInvalidResourceHandle);
  run_until(stream, stream->queued);
  machine().streams.erase(stream);
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const Lock lock(machine().mutex);
  if (const cudaError_t refused = stream == nullptr ? refuse_while_capturing() : refuse_on_capturing(stream);
      refused != cudaSuccess) {
    return report(refused);
  }
  ++machine().counters.synchronisations;
  if (stream == nullptr) {
    run_all();
  } else if (machine().streams.contains(stream)) {
    run_until(stream, stream->queued);
  } else {
    return report(cudaErrorInvalidResourceHandle);
  }
  return report(machine().sticky_error);
}

// Who asks makes it go on, or asking again and again would never end.
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  const Lock lock(machine().mutex);
  if (!machine().streams.contains(stream)) return report(cudaErrorInvalidResourceHandle);
  if (const cudaError_t refused = refuse_on_capturing(stream); refused != cudaSuccess) return report(refused);
  if (stream->work.empty()) return machine().sticky_error;
  run_until(stream, stream->done + 1);
  return cudaErrorNotReady;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const Lock lock(machine().mutex);
  if (event->stream == nullptr) return cudaSuccess;
  return report(
      put(stream,
          {.kind = Work::Kind::kEvent, .name = {}, .run = [awaited = event->stream, ticket = event->ticket] {
             if (machine().streams.contains(awaited)) run_until(awaited, ticket);
           }}));
}

cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, 0); }

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = new CUevent_st;
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const Lock lock(machine().mutex);
  event->reached = std::make_shared<Clock::time_point>();
  const cudaError_t error =
      put(stream, {.kind = Work::Kind::kEvent, .name = {}, .run = [reached = event->reached] {
                     *reached = Clock::now();
                   }});
  event->stream = stream;
  event->ticket = stream != nullptr ? stream->queued : 0;
  return report(error);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const Lock lock(machine().mutex);
  if (const cudaError_t refused = refuse_while_capturing(); refused != cudaSuccess) return report(refused);
  ++machine().counters.synchronisations;
  if (machine().streams.contains(event->stream)) run_until(event->stream, event->ticket);
  return report(machine().sticky_error);
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  const Lock lock(machine().mutex);
  if (const cudaError_t refused = refuse_while_capturing(); refused != cudaSuccess) return report(refused);
  if (!machine().streams.contains(event->stream) || event->stream->done >= event->ticket) {
    return machine().sticky_error;
  }
  run_until(event->stream, event->stream->done + 1);
  return cudaErrorNotReady;
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t stop) {
  const Lock lock(machine().mutex);
  if (start->reached == nullptr || stop->reached == nullptr) return report(cudaErrorInvalidResourceHandle);
  *milliseconds = std::chrono::duration<float, std::milli>(*stop->reached - *start->reached).count();
  return cudaSuccess;
}
