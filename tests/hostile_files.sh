#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Converts hostile files under strace: each is refused, and no process is started, no connection made, nothing
# opened for writing and nothing in the file system changed.
# Usage: hostile_files.sh TTT TESTS    (the program; the folder of this file). Exit status 77: strace cannot run here.
set -u
ttt=$1
tests=$2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

if ! strace -f -o "$scratch/log" true 2> "$scratch/errors"; then
  echo "skipped: strace is missing or may not trace here: $(head -1 "$scratch/errors")"
  exit 77
fi

mkdir "$scratch/hostile"
cp "$tests"/golden/import/hostile/* "$scratch/hostile"
head -c 100000 /dev/zero | tr '\0' '\221' > "$scratch/hostile/msgpack-deep.streaming"  # an array in an array ...
head -c 200000 "$tests/golden/import/torch-bin-views/pytorch_model.bin" > "$scratch/hostile/truncated-zip.bin"
head -c 300000 "$tests/golden/import/jax-ttt-mlp-trainstate-bf16/streaming_train_state" \
  > "$scratch/hostile/truncated.streaming"

# What a refused conversion must not do. Threads of the program itself are no new process.
changes='execve|execveat|fork|vfork|clone|clone3|socket|connect|bind|sendto|mkdir|mkdirat|mknod|mknodat|rename'
changes+='|renameat|renameat2|link|linkat|symlink|symlinkat|unlink|unlinkat|rmdir|truncate|ftruncate|chmod|fchmod'
changes+='|fchmodat|chown|fchown|fchownat|creat|pwrite64|pwritev|sendfile|copy_file_range|ptrace|kill|tkill'
side_effects() {  # of the run whose log is "$scratch/log"
  grep -vE '^[0-9]+ +execve\("'"$ttt"'"' "$scratch/log" |
    grep -E "^[0-9]+ +($changes)\(|^[0-9]+ +open(at|at2)?\(.*O_(WRONLY|RDWR|CREAT|TRUNC|APPEND)" |
    grep -vE 'CLONE_THREAD|"/dev/null"'  # stands in for a standard stream that is closed
}
convert() {  # FILE OUT
  strace -f -qq -s 64 -o "$scratch/log" "$ttt" convert "$1" "$2" > "$scratch/out" 2> "$scratch/errors"
}

# The check itself: a file that is converted does show in the log.
convert "$tests/golden/import/jax-ttt-mlp-trainstate-bf16" "$scratch/good.gguf"
if [ ! -s "$scratch/good.gguf" ] || ! side_effects | grep -q O_CREAT; then
  echo "a conversion that writes a file does not show: the log has another form than this script knows"
  tail -5 "$scratch/log" "$scratch/errors"
  exit 1
fi
rm "$scratch/good.gguf"

failed=0
refused=0
for file in "$scratch"/hostile/*; do
  convert "$file" "$scratch/out.gguf"
  code=$?
  if [ $code -ne 3 ]; then
    echo "$(basename "$file"): exit code $code, wanted 3: $(head -c 300 "$scratch/errors")"
    failed=1
  elif side_effects > "$scratch/found"; [ -s "$scratch/found" ]; then
    echo "$(basename "$file"): did more than read:"
    head -5 "$scratch/found"
    failed=1
  elif [ -e "$scratch/out.gguf" ]; then
    echo "$(basename "$file"): left a file"
    failed=1
  else
    refused=$((refused + 1))
  fi
done
[ $refused -ge 8 ] || { echo "only $refused hostile files were tried"; failed=1; }
[ $failed -eq 0 ] && echo "$refused files refused without a side effect"
exit $failed
