#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The endpoint under load beside `ttt bench` on the same machine, one after the other: throughput at 8 and 32
# clients, the server's own time per token, a short prompt beside a long one, and 256 streams for ten minutes.
# Run it on a quiet machine; half an hour, or less with SECONDS_OF_STREAMS.
# usage: benchmarks/load.sh TTT DEMO.gguf FOLDER [SECONDS_OF_STREAMS]
set -euo pipefail
ttt=$1 demo=$2 folder=$3 seconds=${4:-600}
mkdir -p "$folder"
scratch=$(mktemp -d)
server=
trap '[[ -z $server ]] || kill "$server" 2>/dev/null || true; rm -rf "$scratch"' EXIT

start() {  # start MODEL [options of serve]
  rm -f "$scratch/log"
  "$ttt" serve "$@" --uds "$scratch/socket" --log-format none 2>"$scratch/log" &
  server=$!
  until grep -q "serving" "$scratch/log"; do
    kill -0 "$server" || { cat "$scratch/log" >&2; exit 1; }
    sleep 0.2
  done
}

stop() {
  kill -TERM "$server"
  wait "$server"
  server=
}

load() { "$ttt" loadtest --uds "$scratch/socket" -o json "$@"; }

resident() { awk '/^(VmRSS|VmHWM)/ {print $1, $2, "KiB"}' "/proc/$server/status"; }

"$ttt" bench --random 125m --write "$scratch/125m.gguf"

# Throughput: the same tokens decoded, first by the engine alone. A server's answer includes its prompt.
"$ttt" bench "$scratch/125m.gguf" -p 0 -d 16 -b 1,8,32 -n 128 -r 3 -o json >"$folder/125m-bench.json"
for clients in 1 8 32; do
  start "$scratch/125m.gguf" --parallel "$clients"
  load -c "$clients" -n $((clients * 3)) --input-len 16 --output-len 128 >"$folder/125m-$clients-clients.json"
  stop
done

# A short prompt while one of 8,192 tokens is being read.
start "$scratch/125m.gguf" --parallel 4
load -c 1 -n 1 --warmup 0 --input-len 8192 --output-len 1 >"$folder/125m-long-prompt.json" &
long=$!
sleep 2
load -c 1 -n 5 --warmup 0 --input-len 8 --output-len 2 >"$folder/125m-beside-long-prompt.json"
wait "$long"
load -c 1 -n 5 --input-len 8 --output-len 2 >"$folder/125m-no-long-prompt.json"
stop

# What the server itself costs: processor time per token of all threads but the engine's, with a model whose steps
# take nearly nothing.
server_microseconds() {  # server_microseconds TOKENS
  local task ticks=0
  for task in "/proc/$server/task/"*; do
    [[ $(<"$task/comm") == ttt-engine || $(<"$task/comm") == ttt-compute ]] && continue
    ticks=$((ticks + $(awk '{print $14 + $15}' "$task/stat")))
  done
  echo "$((ticks * 1000000 / $(getconf CLK_TCK) / $1)) us of the server's own processor time per token"
}

"$ttt" bench "$demo" -p 0 -d 16 -b 1,8 -n 256 -r 5 -o json >"$folder/demo-bench.json"
for clients in 1 8; do
  start "$demo" --parallel "$clients"
  load -c "$clients" -n $((clients * 8)) --input-len 16 --output-len 256 --warmup 0 >"$folder/demo-$clients-clients.json"
  server_microseconds $((clients * 8 * 256)) >"$folder/demo-$clients-clients-server-time.txt"
  stop
done

# 256 streams at once.
start "$demo" --parallel 256
load -c 256 --duration $((seconds / 10 + 1)) --input-len 16 --output-len 256 >/dev/null  # the heap finds its size
resident >"$folder/demo-256-streams-memory-before.txt"
load -c 256 --duration "$seconds" --input-len 16 --output-len 256 --percentiles 50,90,99,99.9 >"$folder/demo-256-streams.json"
resident >"$folder/demo-256-streams-memory-after.txt"
stop
