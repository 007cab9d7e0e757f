#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a machine with a GPU is asked, within ten minutes: is the CUDA backend right there, and how fast is it. Run in
# the root of the sources, with the folder that benchmarks/gpu/bundle.sh made. Each part has a time limit and none
# stops the others; a tool that is missing or refused is reported as not run, with the reason.
# usage: benchmarks/gpu/check.sh BUNDLE RESULTS   (writes RESULTS/check.md and RESULTS/check.json)
set -uo pipefail
bundle=$(realpath "$1") results=$2
mkdir -p "$results"
results=$(realpath "$results")
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
ttt=$bundle/ttt tests=$bundle/cuda_device_tests
rows=() failed=0

# record NAME STATE SECONDS NOTE
record() {
  rows+=("$1|$2|$3|$4")
  [[ $2 == failed ]] && failed=$((failed + 1))
  echo "check: $1: $2 ($3 s) $4" >&2
}

# part NAME SECONDS COMMAND...: its output goes to a file of its own.
part() {
  local name=$1 limit=$2 log status=0 begin=$SECONDS
  shift 2
  log=$results/${name// /-}.txt
  timeout "$limit" "$@" >"$log" 2>&1 || status=$?
  case $status in
    0) record "$name" passed $((SECONDS - begin)) "$(last_line <"$log")" ;;
    124) record "$name" "not finished" $((SECONDS - begin)) "its $limit s were over" ;;
    *) record "$name" failed $((SECONDS - begin)) "status $status: $(last_line <"$log")" ;;
  esac
  return $status
}

last_line() { grep -v '^ *$' | tail -n 1 | tr '|' ' '; }

# The same text by both devices, in fp32 on both.
same_text() {
  local model cpu cuda
  for model in models/demo-*.gguf; do
    cpu=$("$ttt" run "$model" "The old man" -n 200 --temp 0 --device cpu 2>/dev/null) || return 1
    cuda=$("$ttt" run "$model" "The old man" -n 200 --temp 0 --device cuda --precision exact 2>/dev/null) || return 1
    [[ $cpu == "$cuda" ]] || { printf '%s: the texts differ\n%s\n---\n%s\n' "$model" "$cpu" "$cuda"; return 1; }
  done
  echo "200 tokens of both models are the same"
}

# sanitizer TOOL: on a short run, after the tool has shown that it works here.
sanitizer() {
  local tool=$1 probe
  if ! command -v compute-sanitizer >/dev/null; then
    record "compute-sanitizer $tool" "not run" 0 "there is no compute-sanitizer here"
    return
  fi
  if ! probe=$(timeout 60 compute-sanitizer --tool "$tool" --error-exitcode 9 "$tests" "[probe]" 2>&1); then
    record "compute-sanitizer $tool" "not run" 0 "refused: $(last_line <<<"$probe")"
    return
  fi
  part "compute-sanitizer $tool" 90 compute-sanitizer --tool "$tool" --error-exitcode 9 "$tests" "[short]"
}

# bench NAME OPTION...: everything that it measured, in JSON
bench() {
  local name="bench $1"
  shift
  part "$name" 60 "$ttt" bench --device cuda -r 3 -o json "$@"
  mv "$results/${name// /-}.txt" "$results/${name// /-}.json"
  rows[-1]="${rows[-1]%|*}|tokens/s: $(grep -o '"tokens_per_second": [0-9]*' "$results/${name// /-}.json" |
    grep -o '[0-9]*$' | paste -sd ' ')"
}

gpu=$(nvidia-smi --query-gpu=name,driver_version,clocks.max.sm,memory.total --format=csv,noheader 2>/dev/null |
  head -n 1)
export ttt
export -f same_text
part "devices" 30 "$ttt" info --devices
part "primitives" 60 "$tests" "primitives:*"
if part "probe" 60 "$tests" "[probe]"; then
  part "tests" 240 "$tests"
  part "same text" 60 bash -c same_text
  for tool in memcheck racecheck initcheck synccheck; do sanitizer $tool; done
  part "figures" 60 "$tests" "[.report]"
  for size in 125m 125m-mlp 1.3b 1.3b-mlp; do
    bench "$size" --random "$size" --type bf16 -p 512,2k -d 0,2k -b 1,16 -n 64
    bench "$size long" --random "$size" --type bf16 -p 32k -d 32k -n 64
  done
  for type in q8_0 q4_0; do bench "1.3b $type" --random 1.3b --type $type -p 512 -d 0 -b 1,16 -n 64; done
  # What expanding a quantised matrix for cuBLASLt brings, at the fewest rows for which it is done and at many.
  for rows in 128 512; do
    bench "1.3b q8_0 $rows rows" --random 1.3b --type q8_0 -p $rows -n 0
    bench "1.3b q8_0 $rows rows by the own kernel" --random 1.3b --type q8_0 --deterministic -p $rows -n 0
  done
  bench "125m deterministic" --random 125m --type bf16 --deterministic -p 512 -d 0 -n 64
  bench "125m exact" --random 125m --type bf16 --precision exact -p 512 -d 0 -n 32
else
  record "everything else" "not run" 0 "the simplest step does not run here: probe.txt"
fi

{
  echo "# CUDA backend on ${gpu:-a machine without a GPU that nvidia-smi knows}"
  echo
  echo "Commit $(<"$bundle/COMMIT"), $(date -u +%Y-%m-%d)."
  echo
  echo "| Part | Result | Seconds | |"
  echo "|---|---|---:|---|"
  for row in "${rows[@]}"; do echo "| ${row//|/ | } |"; done
} >"$results/check.md"
{
  printf '{"gpu": "%s", "commit": "%s", "date": "%s", "parts": [' "${gpu:-none}" "$(<"$bundle/COMMIT")" "$(date -u +%FT%TZ)"
  separator=
  for row in "${rows[@]}"; do
    IFS='|' read -r name state seconds note <<<"$row"
    note=${note//\\/\\\\}
    printf '%s\n  {"name": "%s", "result": "%s", "seconds": %s, "note": "%s"}' "$separator" "$name" "$state" \
      "$seconds" "${note//\"/\\\"}"
    separator=,
  done
  printf '\n]}\n'
} >"$results/check.json"
cat "$results/check.md"
((failed == 0))
