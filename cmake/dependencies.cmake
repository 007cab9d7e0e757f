# SPDX-License-Identifier: Apache-2.0
# Every library from outside, in one place. THIRD_PARTY.md lists them with their licences.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(fmt 9 REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json 3.11 REQUIRED)
find_package(CLI11 2.1 REQUIRED)
find_package(hwy 1.0 REQUIRED)
find_package(Boost 1.81 REQUIRED)  # headers alone: Beast and Asio
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(CURL 7.85 REQUIRED)  # headers alone: opened when it is used
find_package(prometheus-cpp REQUIRED)
pkg_check_modules(sentencepiece REQUIRED IMPORTED_TARGET sentencepiece)
pkg_check_modules(libzip REQUIRED IMPORTED_TARGET libzip>=1.7)
pkg_check_modules(xxhash REQUIRED IMPORTED_TARGET libxxhash)
if(TTT_TESTS)
  find_package(Catch2 2.13 REQUIRED)
endif()
if(TTT_CUDA STREQUAL "ON")
  find_package(CUDAToolkit 12.8 REQUIRED)  # the first that knows compute capability 12.0
  if(NOT CMAKE_CUDA_COMPILER)
    set(CMAKE_CUDA_COMPILER ${CUDAToolkit_NVCC_EXECUTABLE})  # it need not be in PATH
  endif()
  if(NOT CMAKE_CUDA_ARCHITECTURES AND NOT DEFINED ENV{CUDAARCHS})
    # Every compute capability that the kernels are tested for; each toolkit from 12.8 on knows them.
    set(CMAKE_CUDA_ARCHITECTURES "80;86;89;90;100;120" CACHE STRING "Compute capabilities of the kernels")
  endif()
  enable_language(CUDA)
endif()
