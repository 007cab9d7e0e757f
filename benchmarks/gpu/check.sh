#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What a machine with a GPU is asked, within ten minutes: is the CUDA backend right there, and how fast is it. Run in
# the root of the sources, with the folder that benchmarks/gpu/bundle.sh made. Each part has a time limit and none
# stops the others; a tool that is missing or refused is reported as not run, with the reason, and so is what does
# not fit into SECONDS as a whole. The exit status is 0 where nothing failed and nothing was cut short.
# usage: benchmarks/gpu/check.sh BUNDLE RESULTS [SECONDS, default 600]
#        (writes RESULTS/check.md and RESULTS/check.json)
set -uo pipefail
if (($# < 2 || $# > 3)) || [[ ! ${3-600} =~ ^[1-9][0-9]*$ ]]; then
  echo "usage: benchmarks/gpu/check.sh BUNDLE RESULTS [SECONDS, default 600]" >&2
  exit 2
fi
bundle=$(realpath "$1") results=$2 deadline=${3-600}
kill_after=5  # seconds, for a program that hangs in the driver
mkdir -p "$results"
results=$(realpath "$results")
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
ttt=$bundle/ttt tests=$bundle/cuda_device_tests
rows=() failed=0 cut_short=0

# record NAME STATE SECONDS NOTE
record() {
  rows+=("$1|$2|$3|$4")
  case $2 in
    failed) failed=$((failed + 1)) ;;
    "not finished" | "not run in time") cut_short=$((cut_short + 1)) ;;
  esac
  echo "check: $1: $2 ($3 s) $4" >&2
}

# within SECONDS: what is left of them before the deadline; fails where there is nothing.
within() {
  local left=$((deadline - SECONDS - kill_after))
  ((left > 0)) && echo $((left < $1 ? left : $1))
}

# part NAME SECONDS COMMAND...: its output goes to a file of its own.
part() {
  local name=$1 limit log status=0 begin=$SECONDS
  if ! limit=$(within "$2"); then
    record "$name" "not run in time" 0 "not run: the $deadline s of the whole were over"
    return 1
  fi
  shift 2
  log=$results/${name// /-}.txt
  timeout -k $kill_after "$limit" "$@" >"$log" 2>&1 || status=$?
  case $status in
    0) record "$name" passed $((SECONDS - begin)) "$(last_line <"$log")" ;;
    124 | 137) record "$name" "not finished" $((SECONDS - begin)) "its $limit s were over" ;;
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
  local tool=$1 probe status=0 limit begin=$SECONDS name="compute-sanitizer $1"
  if ! command -v compute-sanitizer >/dev/null; then
    record "$name" "not run" 0 "there is no compute-sanitizer here"
    return
  fi
  if ! limit=$(within 60); then
    record "$name" "not run in time" 0 "not run: the $deadline s of the whole were over"
    return
  fi
  probe=$(timeout -k $kill_after "$limit" compute-sanitizer --tool "$tool" --error-exitcode 9 "$tests" "[probe]" 2>&1) ||
    status=$?
  # A tool that refuses to work here does not run the program: nothing comes from it.
  if ((status == 124 || status == 137)); then
    record "$name" "not finished" $((SECONDS - begin)) "the $limit s of its first run were over"
  elif ((status == 9)) || { ((status != 0)) && grep -q '^\(test cases:\|All tests passed\)' <<<"$probe"; }; then
    echo "$probe" >"$results/${name// /-}.txt"
    record "$name" failed $((SECONDS - begin)) "status $status of its first run: $(last_line <<<"$probe")"
  elif ((status != 0)); then
    record "$name" "not run" $((SECONDS - begin)) "refused: $(last_line <<<"$probe")"
  elif ! found_nothing <<<"$probe"; then  # it may have run the program without looking
    status=1
    record "$name" "not run" $((SECONDS - begin)) "it told of nothing that it looked at: $(last_line <<<"$probe")"
  fi
  ((status == 0)) || return
  part "$name" 90 compute-sanitizer --tool "$tool" --error-exitcode 9 "$tests" "[short]" || return
  if ! found_nothing <"$results/${name// /-}.txt"; then
    unset 'rows[-1]'
    record "$name" failed $((SECONDS - begin)) "it ended without a summary: $(last_line <"$results/${name// /-}.txt")"
  fi
}

# Whether a tool says that it looked, and found nothing.
found_nothing() { grep -q 'SUMMARY: 0 '; }

# bench NAME OPTION...: everything that it measured, in JSON
bench() {
  local name="bench $1"
  shift
  part "$name" 60 "$ttt" bench --device cuda -r 3 -o json "$@" || return
  mv "$results/${name// /-}.txt" "$results/${name// /-}.json"
  rows[-1]="${rows[-1]%|*}|tokens/s: $(grep -o '"tokens_per_second": [0-9]*' "$results/${name// /-}.json" |
    grep -o '[0-9]*$' | paste -sd ' ')"
}

# Of the program, as in what it writes of its benches: "ttt 0.1.0 (0123abc)"
commit=$("$ttt" version 2>/dev/null | sed -nE '1s/^ttt .* \((.*)\)$/\1/p')
gpu=$(nvidia-smi --query-gpu=name,driver_version,clocks.max.sm,memory.total --format=csv,noheader 2>/dev/null |
  head -n 1)
export ttt
export -f same_text
part "devices" 30 "$ttt" info --devices
part "primitives" 60 "$tests" "primitives:*"
if part "probe" 60 "$tests" "[probe]"; then
  part "tests" 240 "$tests"
  part "same text" 60 bash -c same_text
  part "commands" 90 bash "${TTT_CHECK_COMMANDS:-benchmarks/gpu/commands.sh}" "$ttt"  # a test has others
  part "fault" 60 "$tests" "[.fault]"
  for tool in memcheck racecheck initcheck synccheck; do sanitizer $tool; done
  part "figures" 60 "$tests" "[.report]"
  part "flat" 90 "$tests" "[.flat]"
  part "matrix" 90 "$tests" "[.matrix]"
  for size in 125m 125m-mlp 1.3b 1.3b-mlp; do
    bench "$size" --random "$size" --type bf16 -p 512,2k -d 0,2k -b 1,16 -n 64
    bench "$size long" --random "$size" --type bf16 -p 32k -d 32k -n 64
  done
  for type in q8_0 q4_0; do bench "1.3b $type" --random 1.3b --type $type -p 512 -d 0 -b 1,16 -n 64; done
  # What expanding a quantised matrix for cuBLASLt brings, at the fewest rows for which it is done and at many.
  for length in 128 512; do
    bench "1.3b q8_0 $length rows" --random 1.3b --type q8_0 -p $length -n 0
    bench "1.3b q8_0 $length rows by the own kernel" --random 1.3b --type q8_0 --deterministic -p $length -n 0
  done
  bench "125m deterministic" --random 125m --type bf16 --deterministic -p 512 -d 0 -n 64
  bench "125m exact" --random 125m --type bf16 --precision exact -p 512 -d 0 -n 32
else
  record "everything else" "not run" 0 "the simplest step does not run here: probe.txt"
fi

{
  echo "# CUDA backend on ${gpu:-a machine without a GPU that nvidia-smi knows}"
  echo
  echo "Commit ${commit:-unknown}, $(date -u +%Y-%m-%d)."
  echo
  echo "| Part | Result | Seconds | |"
  echo "|---|---|---:|---|"
  for row in "${rows[@]}"; do echo "| ${row//|/ | } |"; done
} >"$results/check.md"
{
  printf '{"gpu": "%s", "commit": "%s", "date": "%s", "parts": [' "${gpu:-none}" "${commit:-unknown}" "$(date -u +%FT%TZ)"
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
((failed + cut_short == 0))
