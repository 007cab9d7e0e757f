#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Instructions that a token takes after different numbers of tokens, counted by valgrind with one thread: what a clock
# cannot show on a busy machine. Two runs a depth, side by side, which differ by 32 tokens, two whole mini-batches.
# usage: benchmarks/instructions.sh TTT MODEL [DEPTHS]      (depths are multiples of 16; default "2048 32768")
set -euo pipefail
if (($# < 2)); then
  echo "usage: benchmarks/instructions.sh TTT MODEL [DEPTHS]" >&2
  exit 2
fi
ttt=$1 model=$2 depths=${3:-2048 32768}
[[ -x $ttt && -f $ttt ]] || { echo "instructions: $ttt is no program; build it first, or name it with its folder" >&2; exit 2; }
[[ -r $model ]] || { echo "instructions: cannot read the model $model" >&2; exit 2; }
command -v valgrind >/dev/null || { echo "instructions: no valgrind here; it is in the Debian package valgrind" >&2; exit 77; }
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# count PROMPT TOKENS: instructions of a whole run
count() {
  valgrind --tool=cachegrind --cache-sim=no --cachegrind-out-file=/dev/null "$ttt" run "$model" --tokens "@$1" -n "$2" \
    --temperature 0 --ignore-eos -t 1 2>&1 >/dev/null | awk '/I +refs:/ {gsub(",", "", $NF); print $NF}'
}

printf '%8s %24s\n' depth 'instructions a token'
first=
for depth in $depths; do
  seq -s, 1 "$depth" | tr , '\n' | awk '{print 3 + ($1 * 7919) % 250}' | paste -sd, >"$scratch/ids"
  count "$scratch/ids" 1 >"$scratch/one" &
  count "$scratch/ids" 33 >"$scratch/many" &
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
