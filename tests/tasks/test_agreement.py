"""What processes agree on before a step; with two of them in test_trainer.py, here one, and the exchange by hand."""

from __future__ import annotations

import signal
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from umsrep.errors import InputError
from umsrep.tasks.agreement import agree

BATCH: dict[str, Any] = {"index": torch.arange(4), "target.disc": torch.zeros(3, 2, 2), "target.size": torch.zeros(4)}


class Pair:
    """Two processes, of which this is the first; the other sends ``theirs``."""

    num_processes, is_main_process, device = 2, True, torch.device("cpu")

    def __init__(self, theirs: list[float]) -> None:
        self.theirs = torch.tensor(theirs)

    def reduce(self, ours: torch.Tensor) -> torch.Tensor:
        return ours + self.theirs


def test_alone() -> None:
    agreed = agree(Accelerator(), BATCH, ["disc", "size", "denoising"], due=True, received=signal.SIGTERM)
    assert agreed.batch is BATCH
    assert agreed.totals == {"disc": 3.0, "size": 4.0, "denoising": 0.0}
    assert agreed.due
    assert agreed.received == signal.SIGTERM


@pytest.mark.parametrize(
    ("flags", "received"), [([0, 0, 0, 0, 0], 0), ([0, 0, 0, 1, 0], signal.SIGTERM), ([0, 0, 0, 0, 1], signal.SIGUSR1)]
)
def test_rows_add_up_and_a_signal_anywhere_counts(flags: list[float], received: int) -> None:
    agreed = agree(Pair([2.0, 5.0, *flags]), BATCH, ["disc", "size"], due=False, received=0)
    assert agreed.totals == {"disc": 5.0, "size": 9.0}
    assert not agreed.due
    assert agreed.received == received


def test_only_the_main_process_tells_when_a_checkpoint_is_due() -> None:
    pair = Pair([0.0] * 7)
    pair.is_main_process = False
    assert not agree(pair, BATCH, ["disc", "size"], due=True, received=0).due
    pair.is_main_process = True
    assert agree(pair, BATCH, ["disc", "size"], due=True, received=0).due


def test_all_stop_at_an_unreadable_row() -> None:
    with pytest.raises(InputError, match=r"^row 3$"):
        agree(Pair([0.0] * 7), InputError("row 3"), ["disc", "size"], due=False, received=0)
    with pytest.raises(InputError, match="another process met an unreadable row"):
        agree(Pair([0.0, 0.0, 1.0, 0, 0, 0, 0]), BATCH, ["disc", "size"], due=False, received=0)
