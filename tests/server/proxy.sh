#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The nginx configuration of docs/server.md, run: completions pass it, and streams come token by token.
# usage: proxy.sh TTT ROOT    (the program; the source tree). Exit status 77: there is no nginx here.
set -euo pipefail
ttt=$1 root=$2
nginx=$(PATH=$PATH:/usr/sbin command -v nginx) || {
  echo "skipped: no nginx here; it is in the Debian package nginx-light"
  exit 77
}
scratch=$(mktemp -d)
children=()
trap 'kill "${children[@]}" 2>/dev/null || true; wait; rm -rf "$scratch"' EXIT

until_true() {  # COMMAND...: for ten seconds at most
  for _ in $(seq 100); do
    if "$@"; then return; fi
    sleep 0.1
  done
  echo "this did not become true: $*"
  cat "$scratch"/*.log
  exit 1
}

"$ttt" serve "$root/models/demo-linear.gguf" --port 0 2>"$scratch/serve.log" &
children+=($!)
until_true grep -q "serving demo-linear at http" "$scratch/serve.log"
address=$(sed -nE 's/.*serving .* at http:\/\/([0-9.:]+) .*/\1/p' "$scratch/serve.log")

location=$(sed -n '/^```nginx$/,/^```$/p' "$root/docs/server.md" | sed '/^```/d')
cat >"$scratch/nginx.conf" <<EOF
daemon off;
pid $scratch/nginx.pid;
error_log $scratch/nginx.log;
events {}
http {
  access_log off;
  client_body_temp_path $scratch/body;
  proxy_temp_path $scratch/proxy;
  fastcgi_temp_path $scratch/fastcgi;
  uwsgi_temp_path $scratch/uwsgi;
  scgi_temp_path $scratch/scgi;
  server {
    listen unix:$scratch/socket;
    server_name localhost;
    ${location//127.0.0.1:8080/$address}
  }
}
EOF
"$nginx" -e "$scratch/nginx.log" -p "$scratch" -c "$scratch/nginx.conf" 2>"$scratch/start.log" &
children+=($!)
until_true test -S "$scratch/socket"

"$ttt" loadtest --uds "$scratch/socket" --url http://127.0.0.1 -n 4 -c 2 --input-len 8 --output-len 600 -o json \
  >"$scratch/report.json"
figure() { sed -nE 's/.*"'"$1"'": ([0-9.]+),?/\1/p' "$scratch/report.json"; }
[[ $(figure completed) == 4 ]]
awk -v first="$(figure max_ttft_ms)" -v whole="$(figure mean_e2el_ms)" 'BEGIN {
  printf "through nginx: first token after %s ms, whole answer after %s ms\n", first, whole
  exit !(first > 0 && first < whole / 2)  # a buffering proxy hands over all of it at the end
}'
