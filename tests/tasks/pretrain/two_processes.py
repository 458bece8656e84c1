"""Run as a program: one pretraining run on two CPU processes (see test_loop.py)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from accelerate import debug_launcher

from tests.tasks.pretrain.test_loop import config
from umsrep.tasks.pretrain.loop import pretrain


def _run(method: str, data: str, output: str, changes: str) -> None:
    pretrain(config(method, Path(data), Path(output), **json.loads(changes)))


if __name__ == "__main__":
    torch.set_num_threads(1)
    debug_launcher(_run, args=tuple(sys.argv[1:5]), num_processes=2)
