#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The CPU backend and its tests, cross-compiled for arm64 and run under qemu: correctness only, no speed.
# Installs nothing; where a tool is missing it says which package has it, and exits 77 (skipped).
# usage: tests/arm64.sh [options of the test program]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=build/arm64

# need COMMAND PACKAGE
need() {
  command -v "$1" >/dev/null && return
  echo "arm64: skipped: no $1 here; it is in the Debian package $2"
  exit 77
}
need aarch64-linux-gnu-g++ g++-aarch64-linux-gnu
qemu=qemu-aarch64
command -v qemu-aarch64-static >/dev/null && qemu=qemu-aarch64-static  # of the package qemu-user-static
need "$qemu" qemu-user

# Libraries as headers: arm64 builds of the packages are not needed. A folder of links, so that no other header
# of this machine is found.
mkdir -p "$out/include"
rm -f "$out"/*.o
for header in catch2 fmt hwy nlohmann xxhash.h; do
  if [[ ! -e /usr/include/$header ]]; then
    echo "arm64: skipped: no /usr/include/$header here; ./bootstrap.sh installs what it belongs to"
    exit 77
  fi
  ln -sfn "/usr/include/$header" "$out/include/$header"
done

# What the tests of cpu/ need, but for those that run a scheduler or import files. What other libraries are needed
# for (tokenizer, zip archives) is left out by the linker where nothing reaches it; the tests write models without a
# tokenizer, so what is reached and not there is never called.
shopt -s extglob
sources=(weights/!(stored_zip|torch_checkpoint).cpp engine/*.cpp cpu/*.cpp
         tests/{main,naive,random_model}.cpp tests/cpu/!(isolation|imported).cpp)
compiler=(aarch64-linux-gnu-g++ -std=c++20 -O2 -ffunction-sections -fdata-sections -I. -isystem "$out/include"
          -ffp-contract=off -Wall -Wextra -DFMT_HEADER_ONLY -DXXH_INLINE_ALL "-DTTT_TEST_DATA=\"$PWD/tests\""
          "-DTTT_MODELS=\"$PWD/models\"")
command -v ccache >/dev/null && compiler=(ccache "${compiler[@]}")

echo "arm64: compiling ${#sources[@]} files into $out"
printf '%s\n' "${sources[@]}" |
  xargs -P "$(nproc)" -I{} bash -c 'source=$1; shift; "$@" -c "$source" -o "'"$out"'/${source//\//_}.o"' \
    _ {} "${compiler[@]}"
aarch64-linux-gnu-g++ -static -Wl,--gc-sections,--unresolved-symbols=ignore-in-object-files "$out"/*.o -o "$out/cpu_tests"
"$qemu" "$out/cpu_tests" "$@"
