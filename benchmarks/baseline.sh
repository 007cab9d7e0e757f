#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The table of benchmarks/results/: `ttt bench` on random weights of the smallest and the largest official size,
# both layers, prompts and depths from 512 to 32k tokens. On two cores of 2021 it takes about half an hour, most
# of it reading 32k tokens with the large models. Run it on a quiet machine: rows in which other programs took
# more than 5 % of the processors are marked.
# usage: benchmarks/baseline.sh TTT FOLDER [SIZE ...]      e.g. build/release/ttt /tmp/results 125m 125m-mlp
set -eu
ttt=$1
folder=$2
shift 2
mkdir -p "$folder"
for size in "${@:-125m 125m-mlp 1.3b 1.3b-mlp}"; do
  for name in $size; do
    for type in f32 bf16; do
      "$ttt" bench --random "$name" --type "$type" -p 512,2K,8K,32K --prefill-repetitions 1 \
        -d 0,512,2K,8K,32K -n 32 -r 5 -o json > "$folder/$name-$type.json"
      "$ttt" bench --random "$name" --type "$type" -p 512 -d 512 -b 1,8,32 -n 32 -r 5 -o json \
        > "$folder/$name-$type-batch.json"
    done
  done
done
