#!/usr/bin/env bash
# Starts the planning service on example plans and says where they are seen: demo_ui.sh PROGRAM.
# MESHWRIGHT_LISTEN is the address that it listens on.
set -euo pipefail
cd "$(dirname "$0")/.."
program=$1
listen=${MESHWRIGHT_LISTEN:-127.0.0.1:8080}
mkdir -p out
"$program" serve --database out/demo.db --listen "$listen" &
service=$!
trap 'kill "$service" 2>/dev/null; wait "$service" || true' EXIT
trap 'exit 130' INT TERM
for _ in $(seq 100); do
  "$program" jobs --server "http://$listen" --check >/dev/null 2>&1 && break
  kill -0 "$service" || exit 1
  sleep 0.1
done
"$program" jobs --server "http://$listen" --check >/dev/null || exit 1
# What was planned before is answered from there.
submit() { "$program" submit --server "http://$listen" "$@" -o out/demo.json --force --wait 5m >/dev/null; }
submit examples/models/gpt2_small.onnx --cluster examples/clusters/a100-node.yaml --algorithm m-topo
submit examples/models/llama-2-70b.json --cluster examples/clusters/pod.yaml --workload training \
  --global-batch 512 --sequence-length 4096
newest=$("$program" jobs --server "http://$listen" | grep -o 'plan_[0-9a-f]*' | head -1)
address="http://$listen/#/plans${newest:+/$newest}"
echo
echo "open $address (Ctrl C ends it)"
command -v xdg-open >/dev/null 2>&1 && [ -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ] && xdg-open "$address" || true
wait "$service"
