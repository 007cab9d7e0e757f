#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `ttt serve` and llama.cpp's `llama-server` in turn on the same machine, with models of the same size and the same
# load: first token, throughput, memory, a short prompt beside a long one, and what SIGTERM does to open streams.
# usage: benchmarks/beside_llama_server.sh TTT OUR.gguf LLAMA_SERVER THEIR.gguf FOLDER [ROUNDS]
# OUR.gguf: ttt bench --random 125m --write OUR.gguf. THEIR.gguf: a Llama of that size, with a tokenizer.
set -euo pipefail
ttt=$1 our_model=$2 llama_server=$3 their_model=$4 folder=$5 rounds=${6:-3}
mkdir -p "$folder"
scratch=$(mktemp -d)
port=18191
url=http://127.0.0.1:$port
server=
trap '[[ -z $server ]] || kill -KILL "$server" 2>/dev/null || true; rm -rf "$scratch"' EXIT

start() {  # start PROGRAM CLIENTS TOKENS_EACH
  if [[ $1 == ttt ]]; then
    "$ttt" serve "$our_model" --parallel "$2" --port $port --log-format none 2>"$scratch/log" &
  else
    "$llama_server" -m "$their_model" -np "$2" -c $(($2 * $3)) -t "$(nproc)" --host 127.0.0.1 --port $port \
      >"$scratch/log" 2>&1 &
  fi
  server=$!
  until curl -sf "$url/health" >/dev/null; do
    kill -0 "$server" || { cat "$scratch/log" >&2; exit 1; }
    sleep 0.2
  done
}

stop() {
  kill -TERM "$server"
  wait "$server" || true
  server=
}

load() { "$ttt" loadtest --url "$url" -o json "$@"; }

# How many seconds after SIGTERM, in the middle of eight answers, the server has ended, with which status, and how
# many of the clients' requests failed.
interrupt() {  # interrupt NAME
  load -c 8 -n 8 --warmup 0 --input-len 16 --output-len 200 >"$folder/$1-interrupted.json" 2>/dev/null &
  local client=$! begin status=0
  sleep 3
  begin=$(date +%s.%N)
  kill -TERM "$server"
  wait "$server" || status=$?
  echo "ended after $(echo "$(date +%s.%N) - $begin" | bc) s with status $status" >"$folder/$1-interrupted.txt"
  server=
  wait "$client" || true
}

for ((round = 1; round <= rounds; ++round)); do
  for program in ttt llama; do
    name=$folder/$program-$round
    for clients in 8 32; do
      start $program $clients 256
      load -c $clients -n $((clients * 3)) --input-len 16 --output-len 128 >"$name-$clients-clients.json"
      awk '/^Vm(RSS|HWM)/ {print $1, $2, "KiB"}' "/proc/$server/status" >"$name-$clients-memory.txt"
      stop
    done
    start $program 4 8448
    load -c 1 -n 1 --warmup 0 --input-len 8192 --output-len 1 >"$name-long-prompt.json" &
    long=$!
    sleep 2
    load -c 1 -n 5 --warmup 0 --input-len 8 --output-len 2 >"$name-beside-long-prompt.json"
    wait "$long"
    stop
    start $program 8 512
    interrupt "$program-$round"
  done
done
