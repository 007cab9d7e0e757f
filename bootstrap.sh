#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From a fresh clone to a result: installs the Debian packages that are missing, builds, and does one job.
# Progress goes to stderr; stdout carries the job's result alone. `./bootstrap.sh help` lists the jobs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
exec 3>&1 >&2  # results go to >&3

packages=(g++ cmake ninja-build pkg-config libfmt-dev libspdlog-dev nlohmann-json3-dev libcli11-dev
          libsentencepiece-dev libxxhash-dev libzip-dev libhwy-dev libboost1.81-dev libssl-dev
          libcurl4-openssl-dev prometheus-cpp-dev catch2)
commands=(g++ cmake ninja pkg-config)
toolkit=${CUDA_PATH:-/usr/local/cuda}

usage() {
  cat <<'EOF'
usage: ./bootstrap.sh [build | cuda | demo [options of ttt demo] | test | help]
  build  build build/release/ttt (the default)
  cuda   build build/cuda/ttt, which computes on NVIDIA GPUs too; needs a CUDA toolkit, which it does not install
  demo   build it and let the bundled model continue a sentence; stdout carries the text alone
  test   build everything and run all tests: release, then the address, undefined-behaviour and thread
         sanitizers; the last line on stdout is "N passed, M failed"
Missing Debian packages are installed first, with sudo where needed. Nothing else is downloaded.
EOF
}

say() { echo "bootstrap: $*"; }

die() {
  say "$@"
  exit 1
}

check_machine() {
  case "$(uname -s) $(uname -m)" in
    "Linux x86_64" | "Linux aarch64") ;;
    *) die "ttt.cpp builds on Linux for x86-64 and arm64 only; this is $(uname -s) on $(uname -m)." ;;
  esac
}

missing_packages() {
  local installed package
  installed=" $(dpkg-query -W -f '${db:Status-Status} ${Package} ' "${packages[@]}" 2>/dev/null || true)"
  for package in "${packages[@]}"; do
    [[ $installed == *" installed $package "* ]] || echo "$package"
  done
}

# quietly COMMAND...: its output is shown only where it fails.
quietly() {
  local log status=0
  log=$(mktemp)
  "$@" >"$log" 2>&1 || status=$?
  ((status == 0)) || cat "$log"
  rm -f "$log"
  return "$status"
}

install_packages() {
  local missing as_root=() command
  if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    for command in "${commands[@]}"; do
      command -v "$command" >/dev/null ||
        die "no apt-get and no $command here; install what these Debian 12 packages hold: ${packages[*]}"
    done
    say "no apt-get here; expecting what these Debian 12 packages hold: ${packages[*]}"
    return
  fi
  mapfile -t missing < <(missing_packages)
  ((${#missing[@]} > 0)) || return 0
  if ((EUID != 0)); then
    command -v sudo >/dev/null ||
      die "packages are missing; as root, run: apt-get install --no-install-recommends ${missing[*]}"
    as_root=(sudo)
  fi
  say "installing Debian packages: ${missing[*]}"
  quietly "${as_root[@]}" apt-get -q update ||
    say "the package lists could not be refreshed; trying those at hand"
  quietly "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get -q -y --no-install-recommends install "${missing[@]}" ||
    die "the packages could not be installed (above); check the network and /etc/apt, then run this again"
}

configure() {
  local preset=$1
  [[ CMakePresets.json -nt build/$preset/build.ninja ]] || return 0  # else ninja sees to it
  say "configuring build/$preset"
  quietly cmake --preset "$preset"
}

# g++ 12's ThreadSanitizer stops where the kernel randomises addresses over more than 28 bits.
fixed_addresses=()
if setarch -R true 2>/dev/null; then
  fixed_addresses=(setarch -R)
fi

# build PRESET TARGET...
build() {
  local preset=$1
  shift
  configure "$preset" || return
  say "building $* in build/$preset"
  "${fixed_addresses[@]}" cmake --build --preset "$preset" --target "$@"  # runs test programs, to list tests
}

build_program() {
  build release ttt || die "the build failed (above)"
}

# The toolkit is the user's to choose: it is large, and has to suit the driver.
build_cuda() {
  local nvcc found
  nvcc=$(command -v nvcc) || nvcc=$toolkit/bin/nvcc
  [[ -x $nvcc ]] ||
    die "no nvcc in PATH or $toolkit/bin; install a CUDA toolkit, 12.8 or newer, that the driver knows" \
      "(https://developer.nvidia.com/cuda-downloads), then run this again"
  found=$("$nvcc" --version | sed -nE 's/^.*, release ([0-9]+\.[0-9]+),.*$/\1/p')
  [[ $(printf '%s\n' 12.8 "${found:-0}" | sort -V | head -n 1) == 12.8 ]] ||
    die "$nvcc is of CUDA ${found:-(version unknown)}; install a CUDA toolkit, 12.8 or newer, that the driver knows"
  export CUDACXX=$nvcc
  build cuda ttt || die "the build failed (above)"
}

total_passed=0
total_failed=0
summary=()

# failures LOG: of what ctest printed, each test that failed, with its output.
failures() {
  awk '/^ *[0-9]+\/[0-9]+ Test +#/ { shown = /\*\*\*/ && !/\*\*\*Skipped/ }
       /^ +Start +[0-9]+: |^[0-9]+% tests passed/ { shown = 0 }
       shown { print "  " $0 }' "$1"
}

# skipped LOG: the names of the tests that ctest skipped, a line each.
skipped() { sed -nE 's/^ *[0-9]+\/[0-9]+ Test +#[0-9]+: (.*[^ .]) *\.*\*\*\*Skipped.*$/\1/p' "$1"; }

# test_variant PRESET TARGET...: builds the targets, runs the preset's tests, adds to the summary.
test_variant() {
  local preset=$1 log counts failed total passed skipped
  if ! build "$@"; then
    total_failed=$((total_failed + 1))
    summary+=("$preset: the build failed")
    return
  fi
  log=$(mktemp)
  say "testing in build/$preset"
  "${fixed_addresses[@]}" ctest --preset "$preset" -j "$(nproc)" | tee "$log" || true
  counts=$(sed -nE 's/^[0-9]+% tests passed, ([0-9]+) tests? failed out of ([0-9]+)$/\1 \2/p' "$log")
  read -r failed total <<<"${counts:-1 1}"  # a ctest that ran nothing is a failure
  mapfile -t skipped < <(skipped "$log")  # ctest counts them among the passed
  passed=$((total - failed - ${#skipped[@]}))
  total_passed=$((total_passed + passed))
  total_failed=$((total_failed + failed))
  ((failed == 0)) || summary+=("$(failures "$log")")
  summary+=("$preset: $passed passed, $failed failed, ${#skipped[@]} not run" "${skipped[@]/#/  not run: }")
  rm -f "$log"
}

test_all() {
  test_variant release all all_verify_interface_header_sets
  test_variant asan test_programs
  test_variant tsan test_programs
  printf '%s\n' "${summary[@]}" "$total_passed passed, $total_failed failed" >&3
  ((total_failed == 0))
}

job=${1:-build}
shift || true
case $job in
  help | -h | --help)
    usage >&3
    exit
    ;;
  build | cuda | demo | test) ;;
  *)
    say "unknown job '$job'"
    usage
    exit 2
    ;;
esac
[[ $job == demo || $# == 0 ]] || { say "$job takes no arguments, got: $*"; exit 2; }

check_machine
install_packages
case $job in
  build)
    build_program
    say "built build/release/ttt"
    ;;
  cuda)
    build_cuda
    say "built build/cuda/ttt; build/cuda/ttt info --devices lists what it can use here"
    ;;
  demo)
    build_program
    exec build/release/ttt demo "$@" >&3
    ;;
  test) test_all ;;
esac
