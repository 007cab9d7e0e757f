// SPDX-License-Identifier: Apache-2.0
#include "tests/emulator/machine.h"

#include "block_emulator.h"

extern "C" {
[[gnu::weak]] void __asan_poison_memory_region(const volatile void* at, std::size_t bytes);
[[gnu::weak]] void __asan_unpoison_memory_region(const volatile void* at, std::size_t bytes);
}

namespace ttt::emulator {
namespace {

// Each host thread chooses for itself; it begins with device 0.
struct Choice {
  int device = 0;
  int installation = 0;  // of which it is a device
};
thread_local Choice choice_of_thread;

bool lies_in(const Regions& regions, const void* at) {
  const auto after = regions.upper_bound(static_cast<std::byte*>(const_cast<void*>(at)));
  if (after == regions.begin()) return false;
  const auto& [memory, region] = *std::prev(after);
  return at < memory + region.bytes;
}

template <typename Mark>
void mark_all(Mark mark) {
  for (const auto& [memory, region] : machine().device_memory) mark(memory, region.bytes);
}

template <typename Mark>
void mark_others(int device, Mark mark) {
  for (const auto& [memory, region] : machine().device_memory) {
    if (region.device != device) mark(memory, region.bytes);
  }
}

}  // namespace

Machine& machine() {
  static Machine the_machine;
  return the_machine;
}

cudaError_t report(cudaError_t error) {
  if (error != cudaSuccess) machine().last_error = error;
  return error;
}

bool takes_effect_now(int& countdown) { return countdown > 0 && --countdown == 0; }

int current_device() {
  return choice_of_thread.installation == machine().installations ? choice_of_thread.device : 0;
}

void choose_device(int device) {
  if (!machine().keeps_first_device) choice_of_thread = {device, machine().installations};
}

bool has_device(int device) {
  return device >= 0 && static_cast<std::size_t>(device) < machine().devices.size();
}

const DeviceDescription& description_of(int device) {
  return machine().devices[static_cast<std::size_t>(device)];
}

const DeviceDescription& device_of_thread() { return description_of(current_device()); }

std::size_t used_bytes(int device) {
  std::size_t used = 0;
  for (const auto& [memory, region] : machine().device_memory) {
    if (region.device == device) used += region.bytes;
  }
  return used;
}

bool on_device(const void* at) { return lies_in(machine().device_memory, at); }
bool pinned(const void* at) { return lies_in(machine().pinned_memory, at); }

void poison(void* memory, std::size_t bytes) {
  if (__asan_poison_memory_region != nullptr) __asan_poison_memory_region(memory, bytes);
}

void unpoison(void* memory, std::size_t bytes) {
  if (__asan_unpoison_memory_region != nullptr) __asan_unpoison_memory_region(memory, bytes);
}

DeviceAtWork::DeviceAtWork() {
  if (machine().executing++ == 0) mark_all(unpoison);
}

DeviceAtWork::~DeviceAtWork() {
  if (--machine().executing == 0) mark_all(poison);
}

KernelAtWork::KernelAtWork(int device) : device_(device) { mark_others(device_, poison); }
KernelAtWork::~KernelAtWork() { mark_others(device_, unpoison); }

void set_devices(std::vector<DeviceDescription> devices) {
  const Lock lock(machine().mutex);
  if (!machine().device_memory.empty()) throw Error("devices changed while memory is allocated on them");
  machine().devices = std::move(devices);
  ++machine().installations;
}

void set_driver(const DriverDescription& driver) {
  const Lock lock(machine().mutex);
  machine().driver = driver;
}

void keep_first_device(bool keep) {
  const Lock lock(machine().mutex);
  machine().keeps_first_device = keep;
}

std::size_t allocated_bytes() {
  const Lock lock(machine().mutex);
  std::size_t used = 0;
  for (const auto& [memory, region] : machine().device_memory) used += region.bytes;
  return used;
}

void fail_allocation(int n) {
  const Lock lock(machine().mutex);
  machine().failing_allocation = n;
}

void fail_launch(int n) {
  const Lock lock(machine().mutex);
  machine().failing_launch = n;
}

void fail_kernel(int n) {
  const Lock lock(machine().mutex);
  machine().failing_kernel = n;
}

void hide_fault_from_choice(bool hide) {
  const Lock lock(machine().mutex);
  machine().choice_hides_fault = hide;
}

void reset_errors() {
  const Lock lock(machine().mutex);
  machine().sticky_error = machine().last_error = cudaSuccess;
  machine().failing_allocation = machine().failing_launch = machine().failing_kernel = 0;
}

}  // namespace ttt::emulator

namespace ttt::test {

RuntimeCalls runtime_calls() {
  const emulator::Lock lock(emulator::machine().mutex);
  return emulator::machine().counters;
}

void reset_runtime_calls() {
  const emulator::Lock lock(emulator::machine().mutex);
  emulator::machine().counters = {};
}

std::size_t num_graphs() {
  const emulator::Lock lock(emulator::machine().mutex);
  return emulator::machine().graphs.size();
}

}  // namespace ttt::test
