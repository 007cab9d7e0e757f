#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Puts what a machine with a GPU needs into one folder: ttt and the tests of the CUDA backend, built here for that
# GPU, with every library they load but those of the C library and the driver. Needs the CUDA toolkit here and
# nothing there: the folder runs wherever glibc is not older than here.
# usage: benchmarks/gpu/bundle.sh FOLDER [ARCHITECTURE, default 90]
#        (tries it here in a root with nothing but the C library, where one may be made)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
folder=$1 architecture=${2:-90}
build=build/gpu-bundle

# The loader looks beside the program first, and for libraries that libraries need there, too (DT_RPATH).
cmake -S . -B $build -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_UNITY_BUILD=ON -DTTT_WERROR=ON -DTTT_CUDA=ON \
  -DCMAKE_CUDA_ARCHITECTURES="$architecture" -DTTT_TEST_DATA=tests -DTTT_TEST_MODELS=models \
  -DCMAKE_BUILD_RPATH="\$ORIGIN/lib" -DCMAKE_EXE_LINKER_FLAGS=-Wl,--disable-new-dtags >&2
cmake --build $build --target ttt cuda_device_tests >&2

rm -rf "$folder"
mkdir -p "$folder/lib"
cp $build/ttt $build/cuda_device_tests "$folder/"
strip "$folder/ttt" "$folder/cuda_device_tests"
# Of glibc and of the driver there must be only one in a process: the machine's own.
foreign='^(ld-linux.*|libc|libm|libdl|librt|libpthread|libresolv|libcuda|libnvidia.*|libcublas.*)\.so'
libraries() { ldd "$folder/ttt" "$folder/cuda_device_tests" | awk '/=> \// {print $1, $3}' | sort -u; }
libraries | while read -r name path; do
  [[ $name =~ $foreign ]] || cp -L "$path" "$folder/lib/$name"
done
# The program says of what commit it is, and "+dirty" where the sources were another's: check.sh asks it.
"$folder/ttt" version | head -n 1 >&2
du -sh "$folder" >&2

# In a root where nothing is but the C library and /proc, from which the loader takes $ORIGIN, both programs load, and
# ttt writes a sentence.
try_in_bare_root() {
  local root loader name path
  root=$(mktemp -d)
  # shellcheck disable=SC2064  # of this root
  trap "rm -rf '$root'" RETURN
  loader=$(ldd "$folder/ttt" | awk '/ld-linux/ {print $1}')
  { libraries; echo "${loader##*/} $loader"; } | while read -r name path; do
    [[ ! $name =~ $foreign ]] || install -D "$path" "$root$path"
  done
  cp -r "$folder" "$root/bundle"
  cp models/demo-linear.gguf "$root/"
  mkdir "$root/proc"
  # A list of tests ends with their number in place of 0.
  [[ $(in_root "$root" /bundle/cuda_device_tests --list-test-names-only || true) == *"a device reads four tokens"* ]] &&
    in_root "$root" /bundle/ttt run /demo-linear.gguf "The old man" -n 8 --temp 0 --device auto -v
}
# in_root ROOT COMMAND...
in_root() {
  # shellcheck disable=SC2016  # the inner shell's
  unshare -rm sh -c 'mount --rbind /proc "$1/proc" && exec chroot "$@"' sh "$@"
}
if ! unshare -rm mount --rbind /proc /proc 2>/dev/null; then
  echo "bundle.sh: not tried in a bare root, since none may be made here" >&2
elif try_in_bare_root >&2; then
  echo "bundle.sh: both programs start in a bare root" >&2
else
  echo "bundle.sh: the bundle does not start in a bare root" >&2
  exit 1
fi
