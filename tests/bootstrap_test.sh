#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs bootstrap.sh with a PATH of stand-ins and checks what it refuses, and what it says to do next. Nothing
# is installed or built.
# shellcheck disable=SC2016  # a stand-in's body expands when it runs
set -u
bootstrap=$(dirname "${BASH_SOURCE[0]}")/../bootstrap.sh
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failures=0

# stub NAME BODY: a command on the stand-in PATH.
stub() {
  printf '#!/bin/bash\n%s\n' "$2" >"$scratch/bin/$1"
  chmod +x "$scratch/bin/$1"
}

# fresh_path: real small tools, a Linux machine, every package there but catch2, an apt-get that only notes
# what it was asked.
fresh_path() {
  local tool
  rm -rf "${scratch:?}/bin" "$scratch/asked"
  mkdir "$scratch/bin"
  for tool in bash cat dirname env head mktemp rm sed sort; do
    ln -s "$(command -v "$tool")" "$scratch/bin/$tool"
  done
  stub uname '[[ $1 == -s ]] && echo Linux || echo x86_64'
  stub dpkg-query 'for name; do [[ $name == [-\$]* || $name == catch2 ]] || echo -n "installed $name "; done'
  stub sudo '"$@"'
  stub apt-get "echo \"\$@\" >>$scratch/asked; [[ \$* != *install* ]]"
}

# expect STATUS STREAM TEXT ARGUMENTS...: bootstrap.sh ends with STATUS, STREAM (out, err) holds TEXT, and a
# failure leaves stdout empty.
expect() {
  local status=$1 stream=$2 text=$3 got=0
  shift 3
  PATH=$scratch/bin /bin/bash "$bootstrap" "$@" >"$scratch/out" 2>"$scratch/err" || got=$?
  if [[ $got != "$status" || $(<"$scratch/$stream") != *"$text"* ]] ||
    [[ $status != 0 && -s $scratch/out ]]; then
    echo "bootstrap.sh $*: wanted exit $status and '$text' on std$stream; got exit $got and"
    cat "$scratch/out" "$scratch/err"
    failures=$((failures + 1))
  fi
}

fresh_path
expect 0 out "usage: ./bootstrap.sh" help
expect 2 err "unknown job 'tset'" tset
expect 2 err "test takes no arguments, got: fast" test fast

expect 2 err "cuda takes no arguments, got: 12.8" cuda 12.8

expect 1 err "the packages could not be installed" build
if [[ $(<"$scratch/asked") != "-q update"*"--no-install-recommends install catch2" ]]; then
  echo "only the missing package should be asked for; apt-get was asked: $(<"$scratch/asked")"
  failures=$((failures + 1))
fi

fresh_path
stub uname '[[ $1 == -s ]] && echo Darwin || echo arm64'
expect 1 err "builds on Linux for x86-64 and arm64 only; this is Darwin on arm64" build

fresh_path
rm "$scratch/bin/apt-get"
expect 1 err "no apt-get and no g++ here; install what these Debian 12 packages hold: g++ cmake" build

# Every package is there, and no nvcc but a stand-in.
fresh_path
stub dpkg-query 'for name; do [[ $name == [-\$]* ]] || echo -n "installed $name "; done'
export CUDA_PATH=$scratch/toolkit
expect 1 err "no nvcc in PATH or $scratch/toolkit/bin; install a CUDA toolkit, 12.8 or newer" cuda
stub nvcc 'echo "Cuda compilation tools, release 12.4, V12.4.131"'
expect 1 err "$scratch/bin/nvcc is of CUDA 12.4; install a CUDA toolkit, 12.8 or newer" cuda
mkdir -p "$scratch/toolkit/bin"
stub nvcc 'echo "Cuda compilation tools, release 13.0, V13.0.88"'
mv "$scratch/bin/nvcc" "$scratch/toolkit/bin/nvcc"
stub cmake 'echo "$CUDACXX $*" >>'"$scratch/asked"'; exit 1'
expect 1 err "the build failed (above)" cuda
if [[ $(<"$scratch/asked") != "$scratch/toolkit/bin/nvcc --"*"preset cuda"* ]]; then
  echo "cmake should be asked for the preset cuda with the nvcc that was found: $(<"$scratch/asked")"
  failures=$((failures + 1))
fi

exit $((failures > 0))
