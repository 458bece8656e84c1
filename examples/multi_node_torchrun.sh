#!/usr/bin/env bash
# Fine-tune on several machines with torchrun. On each of them, with the same first machine, and its own number from 0:
#   NODES=2 NODE=0 FIRST=10.0.0.1 GPUS=8 examples/multi_node_torchrun.sh --config run.yaml [--resume] [--key value ...]
# The output folder must be one that all machines see. batch_size is over all processes.
set -euo pipefail
: "${NODES:?number of machines}" "${NODE:?number of this one, from 0}" "${FIRST:?address of machine 0}" "${GPUS:?processes on each}"
exec torchrun --nnodes "$NODES" --node_rank "$NODE" --nproc_per_node "$GPUS" --master_addr "$FIRST" --master_port "${PORT:-29500}" \
    -m umsrep.tasks.finetune --processes $((NODES * GPUS)) "$@"
