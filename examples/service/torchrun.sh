#!/usr/bin/env bash
# Starts one host of a training run: the first host asks the service for the plan, the others wait until
# it has been written, and all read the same file.
#
#   NODE_RANK=0 NODES=4 HEAD=host0 RUN=17 ./torchrun.sh config.json cluster.yaml train.py --lr 1e-4
#
# SHARED is a folder that all hosts see. MESHWRIGHT_SERVER names the service; MESHWRIGHT_TOKEN holds the
# token, where it wants one. RUN has to be another one for each start: a plan of an older start is never
# taken for this one's.
set -euo pipefail

model=$1 cluster=$2
shift 2
: "${MESHWRIGHT_SERVER:?names the service, such as http://plans:8080}" "${RUN:?numbers this start}"
rank=${NODE_RANK:-0} nodes=${NODES:-1} shared=${SHARED:-.}
plan=$shared/plan.json mark=$shared/.planned-$RUN
patience=600

if [ "$rank" = 0 ]; then
  # Within 10 minutes and some seconds there is a plan, or this fails; nothing waits for ever.
  meshwright submit train "$model" --cluster "$cluster" --global-batch "${GLOBAL_BATCH:-512}" \
    --for torch-pipelining -o "$plan" --force --wait "${patience}s" --fallback "${FALLBACK:-heuristic}"
  touch "$mark"
fi

waited=0
until [ -e "$mark" ]; do
  if [ "$waited" -ge $((patience + 60)) ]; then
    echo "the first host has written no plan within $waited s" >&2
    exit 1
  fi
  sleep 1
  waited=$((waited + 1))
done

exec torchrun --nnodes "$nodes" --node-rank "$rank" --nproc-per-node "${GPUS:-8}" \
  --master-addr "${HEAD:-localhost}" --master-port "${PORT:-29500}" "$@" --plan "$plan"
