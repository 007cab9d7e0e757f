#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs benchmarks/gpu/check.sh with stand-ins for the programs of a bundle and for NVIDIA's tools, and checks what it
# reports and how it ends.
# shellcheck disable=SC2016  # a stand-in's body expands when it runs
set -u
check=$(dirname "${BASH_SOURCE[0]}")/../benchmarks/gpu/check.sh
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failures=0
mkdir "$scratch/bin" "$scratch/bundle"
export TTT_CHECK_COMMANDS=$scratch/commands.sh

# stand_in FILE BODY
stand_in() {
  printf '#!/bin/bash\n%s\n' "$2" >"$scratch/$1"
  chmod +x "$scratch/$1"
}

# A machine on which everything passes.
sound_machine() {
  stand_in bundle/ttt 'case $1 in
  version) echo "ttt 0.1.0 (0123abc+dirty)" ;;
  bench) echo "{\"tokens_per_second\": 42}" ;;
  *) echo "some text" ;;
esac'
  stand_in bundle/cuda_device_tests 'echo "All tests passed (1 assertion in 1 test case)"'
  stand_in commands.sh 'echo "ok: with $1"'
  stand_in bin/nvidia-smi 'echo "Stand-in, 580, 1980 MHz, 1000 MiB"'
  stand_in bin/compute-sanitizer 'shift 4; "$@" && echo "========= ERROR SUMMARY: 0 errors"'
}

complain() {
  echo "check.sh: $*"
  cat "$scratch/results/check.md" "$scratch/output"
  failures=$((failures + 1))
}

# expect STATUS TEXT [SECONDS]: check.sh ends with STATUS, and its page has a line with TEXT.
expect() {
  local got=0
  rm -rf "$scratch/results"
  PATH=$scratch/bin:$PATH bash "$check" "$scratch/bundle" "$scratch/results" ${3:+"$3"} >"$scratch/output" 2>&1 || got=$?
  [[ $got == "$1" ]] || complain "wanted exit $1, got $got"
  sed -i -E 's/\| [0-9]+ \|/| 0 |/' "$scratch/results/check.md"  # a part may take a second or two
  grep -qF "$2" "$scratch/results/check.md" || complain "wanted '$2'"
}

sound_machine
expect 0 "Commit 0123abc+dirty, "
grep -qF "| commands | passed | 0 | ok: with $scratch/bundle/ttt |" "$scratch/results/check.md" || complain "no commands"
grep -qF '| fault | passed |' "$scratch/results/check.md" || complain "no kernel was made to fail"
grep -qF '| devices | passed |' "$scratch/results/check.md" || complain "the first part is missing"
for table in figures flat matrix; do
  grep -qF "| $table | passed |" "$scratch/results/check.md" && [[ -s $scratch/results/$table.txt ]] ||
    complain "no table of errors: $table"
done
grep -qF '| bench 1.3b q8_0 512 rows | passed | 0 | tokens/s: 42 |' "$scratch/results/check.md" || complain "no bench"
grep -qF '"commit": "0123abc+dirty"' "$scratch/results/check.json" || complain "no commit in the JSON"

# A finding is one also where the tool makes it in its first run, and so is a test that fails under it.
stand_in bin/compute-sanitizer '[[ $2 != racecheck ]] || { echo "RACECHECK SUMMARY: 1 hazard"; exit 9; }; shift 4; exec "$@"'
expect 1 "| compute-sanitizer racecheck | failed | 0 | status 9 of its first run: RACECHECK SUMMARY: 1 hazard |"
stand_in bin/compute-sanitizer 'echo "test cases: 1 | 1 failed"; exit 1'
expect 1 "| compute-sanitizer memcheck | failed | 0 | status 1 of its first run: test cases: 1   1 failed |"
# A tool that refuses to work is not the backend's failure, and not its success where it lets the program run.
stand_in bin/compute-sanitizer 'echo "Error: the device is not supported"; exit 1'
expect 0 "| compute-sanitizer memcheck | not run | 0 | refused: Error: the device is not supported |"
stand_in bin/compute-sanitizer 'shift 4; "$@"; echo "Error: the device is not supported"'
expect 0 "| compute-sanitizer memcheck | not run | 0 | it told of nothing that it looked at: Error: the device"
stand_in bin/compute-sanitizer '[[ $6 == "[probe]" ]] && echo "ERROR SUMMARY: 0 errors"; shift 4; exec "$@"'
expect 1 "| compute-sanitizer memcheck | failed | 0 | it ended without a summary: All tests passed"

sound_machine
stand_in commands.sh 'echo "failed: the server ended with 6"; exit 1'
expect 1 "| commands | failed | 0 | status 1: failed: the server ended with 6 |"

sound_machine
stand_in bundle/cuda_device_tests '[[ $# == 0 ]] && exit 3; echo "All tests passed"'
expect 1 "| tests | failed | 0 | status 3: "
stand_in bundle/cuda_device_tests '[[ $1 != "[probe]" ]] || exit 1'
expect 1 "| everything else | not run | 0 | the simplest step does not run here: probe.txt |"

# A table of errors that does not come in its time or is over its bars stops no other part.
sound_machine
stand_in bundle/cuda_device_tests '[[ $1 != "[.flat]" ]] || exit 1; echo "All tests passed"'
expect 1 "| flat | failed | 0 | status 1: "
grep -qF '| matrix | passed |' "$scratch/results/check.md" || complain "a failed table stops the next"

# What hangs is ended, what then has no time is named, and neither is a success. Five seconds are kept for what
# does not end when it is asked to.
sound_machine
stand_in bundle/cuda_device_tests '[[ $# != 0 ]] || exec sleep 60; echo "All tests passed"'
expect 1 "| tests | not finished | " 8
grep -qF '| bench 125m exact | not run in time | 0 | not run: the 8 s of the whole were over |' \
  "$scratch/results/check.md" || complain "what had no time is not named"

got=0
bash "$check" "$scratch/bundle" "$scratch/results" soon >"$scratch/output" 2>&1 || got=$?
[[ $got == 2 ]] || complain "wanted exit 2 for a number of seconds that is none, got $got"

exit $((failures > 0))
