#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Puts what a machine with a GPU needs into one folder: ttt and the tests of the CUDA backend, built here for that
# GPU, with every library they load but those of the C library and the driver. Needs the CUDA toolkit here and
# nothing there: the folder runs wherever glibc is not older than here.
# usage: benchmarks/gpu/bundle.sh FOLDER [ARCHITECTURE, default 90]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
folder=$1 architecture=${2:-90}
build=build/gpu-bundle

# The loader looks beside the program first, and for libraries that libraries need there, too (DT_RPATH).
cmake -S . -B $build -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_UNITY_BUILD=ON -DTTT_WERROR=ON -DTTT_CUDA=ON \
  -DCMAKE_CUDA_ARCHITECTURES="$architecture" -DTTT_TEST_DATA=tests -DTTT_TEST_MODELS=models \
  -DCMAKE_BUILD_RPATH="\$ORIGIN/lib" -DCMAKE_EXE_LINKER_FLAGS=-Wl,--disable-new-dtags >&2
cmake --build $build --target ttt cuda_device_tests >&2

rm -rf "$folder"
mkdir -p "$folder/lib"
cp $build/ttt $build/cuda_device_tests "$folder/"
strip "$folder/ttt" "$folder/cuda_device_tests"
# Of glibc and of the driver there must be only one in a process: the machine's own.
foreign='^(ld-linux.*|libc|libm|libdl|librt|libpthread|libresolv|libcuda|libnvidia.*|libcublas.*)\.so'
ldd "$folder/ttt" "$folder/cuda_device_tests" | awk '/=> \// {print $1, $3}' | sort -u |
  while read -r name path; do
    [[ $name =~ $foreign ]] || cp -L "$path" "$folder/lib/$name"
  done
# The program says of what commit it is, and "+dirty" where the sources were another's: check.sh asks it.
"$folder/ttt" version | head -n 1 >&2
du -sh "$folder" >&2
