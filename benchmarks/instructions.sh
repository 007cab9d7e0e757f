#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Instructions that a token takes after different numbers of tokens, counted by valgrind with one thread: what a clock
# cannot show on a busy machine. The tokens before are read without valgrind; then two runs a depth, side by side, which
# differ by 32 tokens, two whole mini-batches.
# usage: benchmarks/instructions.sh DECODE_AT_DEPTH MODEL [DEPTHS]      (default "0 2048 32768")
# DECODE_AT_DEPTH is built with -DTTT_BENCHMARKS=ON, from benchmarks/decode_at_depth.cpp.
set -euo pipefail
if (($# < 2)); then
  echo "usage: benchmarks/instructions.sh DECODE_AT_DEPTH MODEL [DEPTHS]" >&2
  exit 2
fi
program=$1 model=$2 depths=${3:-0 2048 32768}
[[ -x $program && -f $program ]] || { echo "instructions: $program is no program; build it first, or name it with its folder" >&2; exit 2; }
[[ -r $model ]] || { echo "instructions: cannot read the model $model" >&2; exit 2; }
command -v valgrind >/dev/null || { echo "instructions: no valgrind here; it is in the Debian package valgrind" >&2; exit 77; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# count DEPTH STEPS: instructions of a whole run
count() {
  valgrind --tool=cachegrind --cache-sim=no --cachegrind-out-file=/dev/null "$program" "$model" "$scratch/state" "$1" "$2" \
    2>&1 >/dev/null | awk '/I +refs:/ {gsub(",", "", $NF); print $NF}'
}

printf '%8s %24s\n' depth 'instructions a token'
first=
for depth in $depths; do
  "$program" "$model" "$scratch/state" "$depth" 0
  count "$depth" 1 >"$scratch/one" &
  count "$depth" 33 >"$scratch/many" &
  wait
  one=$(<"$scratch/one") many=$(<"$scratch/many")
  if [[ -z $one || -z $many ]]; then
    echo "instructions: valgrind gave no count" >&2
    exit 1
  fi
  token=$(((many - one) / 32))
  first=${first:-$token}
  printf '%8d %24d %+.2f %%\n' "$depth" "$token" "$(awk "BEGIN {print 100 * ($token - $first) / $first}")"
done
