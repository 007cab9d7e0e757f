// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cxxabi.h>

#include <cstdlib>
#include <memory>
#include <string>

namespace ttt::test {

// Of a kernel's symbol: that of "void ttt::cuda::name<64>(ttt::cuda::Params)" is "name<64>".
inline std::string kernel_name(const char* symbol) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> demangled(
      abi::__cxa_demangle(symbol, nullptr, nullptr, &status), std::free);
  std::string name = status == 0 ? demangled.get() : symbol;
  name = name.substr(0, name.find('('));
  if (const std::size_t space = name.find(' '); space != std::string::npos && space < name.find('<')) {
    name.erase(0, space + 1);
  }
  for (std::size_t colons = name.find("::"); colons < name.find('<'); colons = name.find("::")) {
    name.erase(0, colons + 2);
  }
  return name;
}

}  // namespace ttt::test
