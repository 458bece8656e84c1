"""Random numbers of shifts: by row and seed, the same at every severity, the same alone and in a batch."""

from __future__ import annotations

import pytest
import torch

from tests.tasks.shift.phantoms import phantom
from umsrep.tasks.shift import apply_shift
from umsrep.tasks.shift.draws import Draws, row_seed

CPU = torch.device("cpu")


def test_a_row_draws_the_same_alone_and_in_a_batch() -> None:
    rate = torch.tensor([[2.0, 50.0], [2.0, 50.0], [2.0, 50.0]])
    batch = Draws("a", [5, 6, 5], CPU)
    alone = Draws("a", [6], CPU)
    for found, own in (
        (batch.uniform(4), alone.uniform(4)),
        (batch.normal(2, 3), alone.normal(2, 3)),
        (batch.integers(10**6, 4), alone.integers(10**6, 4)),
        (batch.poisson(rate), alone.poisson(rate[:1])),
    ):
        assert torch.equal(found[1], own[0])
        assert torch.equal(found[0], found[2])
        assert not torch.equal(found[0], found[1])


def test_shifts_of_one_seed_draw_different_numbers() -> None:
    assert not torch.equal(Draws("a", [5], CPU).uniform(8), Draws("b", [5], CPU).uniform(8))


def test_counts_have_the_mean_of_their_rate() -> None:
    counts = Draws("a", [0], CPU).poisson(torch.full((1, 10_000), 9.0))
    assert float(counts.mean()) == pytest.approx(9, abs=0.15)  # five standard errors
    assert float(counts.var()) == pytest.approx(9, rel=0.08)


def test_the_seed_of_a_row_is_of_what_it_shows() -> None:
    assert row_seed(0, "a.png") == row_seed(0, "a.png")
    known = [row_seed(0, "a.png"), row_seed(1, "a.png"), row_seed(0, "b.png"), row_seed(0, "a.png", 0), row_seed(0, "a.png", 1)]
    assert len(set(known)) == 5
    assert all(0 <= seed < 2**32 for seed in known)
    assert row_seed(7, "images/00.png") == 958306206  # written sets hold such numbers: they must not change


@pytest.mark.parametrize(
    "name", ["dose", "grid-lines", "collimation", "burned-in-text", "pneumoniamnist-impulse-noise", "octmnist-motion-blur"]
)
def test_another_seed_draws_anew(name: str) -> None:
    image = phantom(48)
    assert not torch.equal(apply_shift(image, name, 5, 0), apply_shift(image, name, 5, 1))
