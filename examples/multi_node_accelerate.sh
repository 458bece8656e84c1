#!/usr/bin/env bash
# Fine-tune on several machines with accelerate launch. On each of them, with the same first machine, and its own number from 0:
#   NODES=2 NODE=0 FIRST=10.0.0.1 GPUS=8 examples/multi_node_accelerate.sh --config run.yaml [--resume] [--key value ...]
# Precision comes from the run's config; the launcher's own is set to no so that it asks nothing.
set -euo pipefail
: "${NODES:?number of machines}" "${NODE:?number of this one, from 0}" "${FIRST:?address of machine 0}" "${GPUS:?processes on each}"
exec accelerate launch --multi_gpu --num_machines "$NODES" --machine_rank "$NODE" --num_processes $((NODES * GPUS)) \
    --main_process_ip "$FIRST" --main_process_port "${PORT:-29500}" --mixed_precision no --dynamo_backend no \
    -m umsrep.tasks.finetune --processes $((NODES * GPUS)) "$@"
