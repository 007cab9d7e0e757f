// SPDX-License-Identifier: Apache-2.0
#include <dlfcn.h>

#include <optional>

#include "cuda/cublas_lt.h"

namespace ttt::cuda {
namespace {

template <typename Function>
bool look_up(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  return function != nullptr;
}

std::optional<CublasLt> symbols_of(void* library) {
  CublasLt lt;
  const bool has_all = look_up(library, "cublasLtCreate", lt.create) &&
                       look_up(library, "cublasLtDestroy", lt.destroy) &&
                       look_up(library, "cublasLtGetVersion", lt.version) &&
                       look_up(library, "cublasLtMatmulDescCreate", lt.desc_create) &&
                       look_up(library, "cublasLtMatmulDescDestroy", lt.desc_destroy) &&
                       look_up(library, "cublasLtMatmulDescSetAttribute", lt.desc_set) &&
                       look_up(library, "cublasLtMatrixLayoutCreate", lt.layout_create) &&
                       look_up(library, "cublasLtMatrixLayoutDestroy", lt.layout_destroy) &&
                       look_up(library, "cublasLtMatrixLayoutSetAttribute", lt.layout_set) &&
                       look_up(library, "cublasLtMatmulPreferenceCreate", lt.preference_create) &&
                       look_up(library, "cublasLtMatmulPreferenceDestroy", lt.preference_destroy) &&
                       look_up(library, "cublasLtMatmulPreferenceSetAttribute", lt.preference_set) &&
                       look_up(library, "cublasLtMatmulAlgoGetHeuristic", lt.find_algorithms) &&
                       look_up(library, "cublasLtMatmul", lt.multiply);
  return has_all ? std::optional(lt) : std::nullopt;
}

// Stays open until the program ends.
std::optional<CublasLt> open_library() {
  for (const char* name : {"libcublasLt.so.13", "libcublasLt.so.12"}) {
    void* const library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) continue;
    if (auto symbols = symbols_of(library)) return symbols;
    dlclose(library);
  }
  return std::nullopt;
}

}  // namespace

const CublasLt* cublas_lt() {
  static const std::optional<CublasLt> library = open_library();
  return library ? &*library : nullptr;
}

}  // namespace ttt::cuda
