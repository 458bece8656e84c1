"""StrongAugment's operations as shifts: all nineteen, inside the ranges that training draws from."""

from __future__ import annotations

import pytest
import torch

from tests.tasks.shift.phantoms import draws, phantom
from umsrep.tasks.augment.operations import OPERATIONS, apply_operation
from umsrep.tasks.shift import apply_shift
from umsrep.tasks.shift.strong import MAGNITUDES, shifts


def test_every_operation_is_a_shift_inside_its_range() -> None:
    assert {operation for operation, _, _ in MAGNITUDES.values()} == set(OPERATIONS)
    for name, (operation, _, magnitudes) in MAGNITUDES.items():
        if not OPERATIONS[operation].parameters:
            continue
        low, high = OPERATIONS[operation].low, OPERATIONS[operation].high
        for magnitude in magnitudes:
            for value in magnitude if isinstance(magnitude, tuple) else (magnitude,):
                assert low <= value <= high, name


@pytest.mark.parametrize("name", ["gamma-up", "posterize", "tone-down", "hue-up"])
def test_a_shift_is_the_operation_at_its_magnitude(name: str) -> None:
    image = phantom(32, 3)
    operation, _, magnitudes = MAGNITUDES[name]
    third = magnitudes[2]
    want = apply_operation(image, operation, (third[0], third[1]) if isinstance(third, tuple) else third)
    torch.testing.assert_close(apply_shift(image, f"strong-{name}", 3, 0), want.clamp(0, 1))


def test_an_operation_without_magnitude_is_mixed_in() -> None:
    image = phantom(32)
    whole = apply_operation(image, "equalize")
    torch.testing.assert_close(apply_shift(image, "strong-equalize", 5, 0), whole)
    torch.testing.assert_close(apply_shift(image, "strong-equalize", 2, 0), torch.lerp(image, whole, 0.4))


def test_noise_is_drawn_by_row() -> None:
    (noise,) = (s for s in shifts() if s.name == "strong-noise")
    rows = noise.operation(phantom(32)[None].expand(2, -1, -1, -1), 0.2, draws(rows=2))
    assert not torch.equal(rows[0], rows[1])
    torch.testing.assert_close(rows[0], noise.operation(phantom(32)[None], 0.2, draws())[0])
