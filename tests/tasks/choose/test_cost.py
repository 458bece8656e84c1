"""What an encoder costs."""

from __future__ import annotations

import torch

from tests.tasks.runs import ARCH
from umsrep.tasks.choose.candidates import open_candidates
from umsrep.tasks.choose.cost import BATCHES, hardware, measure
from umsrep.zoo.cost import count_macs, count_parameters


def test_costs_are_counted_and_measured() -> None:
    [one] = open_candidates([ARCH], channels=1, image_size=32)
    cost = measure([one])[one.name]
    assert cost.size == (1, 32, 32)
    assert cost.parameters == count_parameters(one.encoder)
    assert cost.macs == count_macs(one.encoder, (1, 32, 32), method="embed")
    assert set(cost.milliseconds) == set(BATCHES)
    assert all(value > 0 for value in cost.milliseconds.values())


def test_the_processor_is_named() -> None:
    assert "thread(s)" in hardware(torch.device("cpu"))
