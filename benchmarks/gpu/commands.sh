#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What commands do with a GPU: refusals, Ctrl-C, the program's own check, perplexity beside the CPU's, and a server with
# many clients. A part of benchmarks/gpu/check.sh; run in the root of the sources.
# usage: benchmarks/gpu/commands.sh TTT
set -uo pipefail
ttt=$1
model=models/demo-linear.gguf
scratch=$(mktemp -d)
server=
trap 'kill "$server" 2>/dev/null; rm -rf "$scratch"' EXIT

fail() {
  echo "failed: $*"
  cat "$scratch/out" "$scratch/err" 2>/dev/null
  exit 1
}

# expect CODE TEXT COMMAND...: ends with CODE, and says TEXT on stderr.
expect() {
  local code=$1 text=$2 got=0
  shift 2
  "$@" >"$scratch/out" 2>"$scratch/err" || got=$?
  [[ $got == "$code" ]] || fail "wanted exit $code, got $got: $*"
  grep -qF -- "$text" "$scratch/err" || fail "wanted '$text': $*"
  echo "ok: exit $code, '$text'"
}

run=("$ttt" run "$model" "The old man" -n 8 --temp 0)
expect 2 "finds no GPU" env CUDA_VISIBLE_DEVICES= "${run[@]}" --device cuda
expect 0 "finds no GPU" env CUDA_VISIBLE_DEVICES= "${run[@]}" -v
expect 2 "there is no cuda:77" "${run[@]}" --device cuda:77
expect 4 "are needed" "$ttt" bench --random 1.3b-mlp --type bf16 -b 4096 -n 2 -p 0 --device cuda  # 535 GiB of states

# What was written before Ctrl-C stays.
timeout -s INT 5 "$ttt" run "$model" "The old man" -n -1 --ignore-eos --device cuda >"$scratch/out" 2>"$scratch/err"
code=$?
[[ $code == 124 && -s $scratch/out ]] || fail "Ctrl-C after 5 s: exit $code"
! grep -q "error" "$scratch/err" || fail "Ctrl-C: an error"
echo "ok: Ctrl-C after $(wc -w <"$scratch/out") words"

"$ttt" selftest --device cuda >"$scratch/out" 2>"$scratch/err" || fail "selftest"
echo "ok: selftest: $(tail -n 1 "$scratch/out")"

# perplexity DEVICE...: of the README, which is English.
perplexity() {
  "$ttt" eval ppl "$model" -f README.md --json "$@" 2>"$scratch/err" | grep -oE '"perplexity": *[0-9.]+' | head -n 1 | grep -oE "[0-9.]+$"
}
cpu=$(perplexity --device cpu) fast=$(perplexity --device cuda)
awk -v a="$cpu" -v b="$fast" 'BEGIN { exit !(a > 1 && (a - b) / a < 1e-3 && (b - a) / a < 1e-3) }' ||
  fail "perplexity: $cpu by the CPU, $fast in fast mode"
echo "ok: perplexity $cpu by the CPU, $fast in fast mode"

"$ttt" serve "$model" --device cuda --port 0 --parallel 64 --log-format none 2>"$scratch/err" &
server=$!
for ((i = 0; i < 100; ++i)); do
  url=$(grep -oE 'http://127\.0\.0\.1:[0-9]+' "$scratch/err" | head -n 1)
  [[ -z $url ]] || break
  sleep 0.1
done
[[ -n $url ]] || fail "the server does not start"
"$ttt" loadtest --url "$url" -c 64 -n 512 --input-len 10-200 --output-len 64 --ignore-eos >"$scratch/out" 2>>"$scratch/err" ||
  fail "loadtest"
cat "$scratch/out"
grep -q '^512 requests answered and 0 failed' "$scratch/out" || fail "not all requests were answered"
kill -TERM $server
wait $server || fail "the server ended with $?"
echo "ok: 512 requests of 64 clients, and an orderly end"
