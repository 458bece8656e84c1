"""MedMNIST-C's corruptions: the published magnitudes and errors."""

from __future__ import annotations

import pytest

from umsrep.tasks.shift.medmnistc import BASELINES, MAGNITUDES, shifts


@pytest.mark.parametrize(
    ("data", "corruption", "published"),
    [
        ("pneumoniamnist", "pixelate", (0.8, 0.7, 0.6, 0.5, 0.4)),
        ("pneumoniamnist", "jpeg", (50, 30, 15, 10, 7)),
        ("pneumoniamnist", "gaussian-noise", (0.04, 0.05, 0.06, 0.07, 0.08)),
        ("pneumoniamnist", "speckle-noise", (0.05, 0.07, 0.10, 0.15, 0.20)),
        ("pneumoniamnist", "impulse-noise", (0.005, 0.01, 0.013, 0.017, 0.02)),
        ("pneumoniamnist", "shot-noise", (300, 200, 150, 100, 80)),
        ("pneumoniamnist", "gaussian-blur", tuple(0.15 * kernel + 0.35 for kernel in (3, 5, 7, 9, 11))),
        ("pneumoniamnist", "brightness-up", (1.1, 1.2, 1.3, 1.4, 1.5)),
        ("pneumoniamnist", "brightness-down", (0.9, 0.8, 0.7, 0.6, 0.5)),
        ("pneumoniamnist", "contrast-up", (1.1, 1.2, 1.3, 1.4, 1.6)),
        ("pneumoniamnist", "contrast-down", (0.9, 0.8, 0.7, 0.6, 0.4)),
        ("pneumoniamnist", "gamma-up", (1.1, 1.2, 1.3, 1.4, 1.6)),
        ("pneumoniamnist", "gamma-down", (0.9, 0.8, 0.7, 0.6, 0.4)),
        ("chestmnist", "gaussian-noise", (0.04, 0.08, 0.12, 0.18, 0.26)),
        ("chestmnist", "speckle-noise", (0.05, 0.15, 0.20, 0.35, 0.45)),
        ("chestmnist", "impulse-noise", (0.01, 0.03, 0.06, 0.09, 0.17)),
        ("chestmnist", "shot-noise", (60, 25, 18, 10, 5)),
    ],
)
def test_magnitudes_are_the_published_ones(data: str, corruption: str, published: tuple[float, ...]) -> None:
    assert MAGNITUDES[data][corruption] == pytest.approx(published)


def test_alexnets_errors_are_there_for_every_corruption() -> None:
    known = BASELINES["pneumoniamnist"]
    assert (known["clean"], known["gaussian-noise"], known["contrast-up"]) == (0.10085, 0.44145, 0.09530)
    for data, table in MAGNITUDES.items():
        shared = MAGNITUDES["pneumoniamnist"] if data == "chestmnist" else {}
        assert set(BASELINES[data]) == {"clean", *table, *shared}
        assert all(0 < error < 1 for error in BASELINES[data].values())


def test_ultrasound_has_the_corruptions_of_breastmnist() -> None:
    names = {s.name.removeprefix("breastmnist-") for s in shifts() if s.modalities == ("us",)}
    assert {"speckle-noise", "motion-blur", "brightness-up", "brightness-down", "contrast-down"} <= names
