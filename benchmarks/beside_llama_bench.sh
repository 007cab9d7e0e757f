#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# `ttt bench` and one or more llama-bench programs in turn: a TTT model beside a Llama of the same size and type.
# usage: beside_llama_bench.sh TTT MODEL LLAMA RESULTS NAME=PEER...
#   TTT          the program `ttt`
#   MODEL LLAMA  two .gguf files
#   RESULTS      a folder; gets a JSON file for each program and round
#   NAME=...     a peer and its options, for example "ik=/opt/ik_llama.cpp/bin/llama-bench -rtr 1"
# Environment: ROUNDS (2), THREADS (2), PROMPT (512), TOKENS (32), REPEAT (2), DEPTH (none): tokens read before
set -eu
[ $# -ge 5 ] || { sed -n '3,9s/^# //p' "$0" >&2; exit 2; }
ttt=$1 model=$2 llama=$3 results=$4
shift 4
prompt=${PROMPT:-512} tokens=${TOKENS:-32} threads=${THREADS:-2} repeat=${REPEAT:-2} depth=${DEPTH:-}
mkdir -p "$results"
for round in $(seq "${ROUNDS:-2}"); do
  "$ttt" bench "$model" -p "$prompt" -d "0${depth:+,$depth}" -n "$tokens" -r "$repeat" -t "$threads" -o json \
    > "$results/ttt-$round.json"
  # shellcheck disable=SC2086
  for peer in "$@"; do
    bench=${peer#*=} name=${peer%%=*}
    $bench -m "$llama" -p "$prompt" -n "$tokens" -r "$repeat" -t "$threads" -o json > "$results/$name-$round.json"
    [ -n "$depth" ] || continue
    # Decoding after a prompt, which each of these programs spells in its own way.
    if $bench --help 2>&1 | grep -q n-depth; then after="-n $tokens -d $depth"; else after="-n 0 -gp $depth,$tokens"; fi
    $bench -m "$llama" -p 0 $after -r 1 -t "$threads" -o json > "$results/$name-depth-$round.json"
  done
done
