#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The inner loop's share of the time of a step: `perf` samples stacks of `ttt bench`, and of those of the calling
# thread inside CpuBackend::submit(), which is a whole step, counts those inside ttt_linear() or ttt_mlp(). Needs perf
# and the right to use it.
# usage: benchmarks/inner_loop_share.sh TTT MODEL [options of ttt bench, such as -p 512 -n 0]
set -euo pipefail
if (($# < 2)); then
  echo "usage: benchmarks/inner_loop_share.sh TTT MODEL [options of ttt bench]" >&2
  exit 2
fi
[[ -x $1 && -f $1 ]] || { echo "inner_loop_share: $1 is no program; build it first, or name it with its folder" >&2; exit 2; }
command -v perf >/dev/null || { echo "inner_loop_share: no perf here; it is in the Debian package linux-perf" >&2; exit 77; }
samples=$(mktemp)
trap 'rm -f "$samples"' EXIT
ttt=$1
shift
perf record --quiet --event cpu-clock --freq 499 --call-graph dwarf,16384 --output "$samples" -- "$ttt" bench "$@"
perf script --no-inline --fields comm,tid,ip,sym --input "$samples" 2>/dev/null | awk '
  BEGIN { RS = "" }
  /CpuBackend::submit/ {
    ++steps
    if (/cpu::ttt_linear|cpu::ttt_mlp/) ++inner
  }
  END {
    if (steps == 0) { print "no sample was inside a step"; exit 1 }
    printf "inner loop: %d of %d samples, %.1f %%\n", inner, steps, 100 * inner / steps
  }'
