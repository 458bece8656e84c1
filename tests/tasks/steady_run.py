"""Run as a program, alone or by torchrun: a run in which nothing depends on how rows are shared out (see test_parallel.py).

Batch norms use their stored statistics and nothing drops out; the rest is `umsrep.fit` as it is.
"""

from __future__ import annotations

import sys

import torch
from torch import nn

from umsrep.tasks import pictures
from umsrep.tasks.config_file import load_config
from umsrep.tasks.strategies import Strategy
from umsrep.tasks.trainer import fit

usual = Strategy.apply


def apply(self: Strategy, step: int, module: nn.Module) -> None:
    usual(self, step, module)
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm | nn.Dropout):
            part.eval()


def steady() -> None:
    """Let runs of this process be so."""
    Strategy.apply = apply  # type: ignore[method-assign]
    pictures.draw_samples = lambda *_: None
    pictures.draw_curves = lambda *_: None


if __name__ == "__main__":
    torch.set_num_threads(1)
    steady()
    fit(load_config(sys.argv[1], sys.argv[2:]))
