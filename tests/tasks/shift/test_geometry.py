"""Geometry: image and mask move together, to where the formulas say."""

from __future__ import annotations

import pytest
import torch

from tests.tasks.shift.phantoms import draws, flat, phantom
from umsrep.tasks.shift import geometry


def test_depth_keeps_the_transducer_and_shrinks_the_rest() -> None:
    image, mask = torch.zeros(1, 1, 60, 60), torch.zeros(1, 60, 60, dtype=torch.long)
    image[..., 40:44, 28:32], mask[..., 40:44, 28:32] = 1, 1
    _, moved = geometry.depth(image, mask, 2.0, draws())
    assert moved is not None
    assert torch.equal(moved[0].eq(1).nonzero().unique(), torch.tensor([20, 21, 29, 30]))  # rows 40-43 to 20-21, columns about the middle
    assert bool((moved[0, 30:] == 255).all())
    assert bool((moved[0, :30, 15:45] != 255).all())


def test_sweep_speed_stretches_time_from_the_left() -> None:
    image, mask = torch.zeros(1, 1, 16, 40), torch.zeros(1, 16, 40, dtype=torch.long)
    mask[..., 10:12] = 1
    _, faster = geometry.sweep_speed(image, mask, 2.0, draws())
    assert faster is not None
    assert faster[0, 0].eq(1).nonzero().flatten().tolist() == [20, 21, 22, 23]
    _, slower = geometry.sweep_speed(image, mask, 0.5, draws())
    assert slower is not None
    assert slower[0, 0].eq(1).nonzero().flatten().tolist() == [5]
    assert bool((slower[..., 20:] == 255).all())


def test_a_lower_velocity_scale_aliases() -> None:
    """At half the scale +0.75 of the old limit, beyond the new one of 0.5, is shown at 0.75 - 1 = -0.25: half way down the new display."""
    image, mask = torch.zeros(1, 1, 80, 8), torch.zeros(1, 80, 8, dtype=torch.long)
    mask[:, 9:11] = 1  # rows run from +1 to -1: row 9.5 is +0.7625 of the limit
    image[:, :, 9:11] = 1
    shown, moved = geometry.velocity_scale(image, mask, 0.5, draws())
    assert moved is not None
    rows = moved[0, :, 0].eq(1).nonzero().flatten()
    assert float(rows.float().mean()) == pytest.approx(39.5 + 0.475 * 40, abs=1)
    assert float(shown[0, 0, rows].min()) > 0.4
    assert not bool((moved == 255).any())


def test_collimation_hides_what_it_darkens() -> None:
    shown, masks = geometry.collimate(flat(0.7).expand(3, 1, 32, 32), torch.ones(3, 2, 32, 32, dtype=torch.uint8), 0.1, draws(rows=3))
    assert masks is not None
    assert torch.equal(masks[:, 0] == 255, shown[:, 0] == 0)
    assert torch.equal(masks[:, 0], masks[:, 1])
    assert 0.2 < float((shown == 0).float().mean()) < 0.5


def test_magnification_moves_image_and_mask_alike() -> None:
    mask = (phantom(64)[0] > 0.62).long()
    image, moved = geometry.magnify(mask[None, None].float(), mask[None], 2.0, draws())
    assert moved is not None
    assert torch.equal(moved[0], mask[16:48, 16:48].repeat_interleave(2, 0).repeat_interleave(2, 1))
    assert float(((image[0, 0] > 0.5) != (moved[0] == 1)).float().mean()) < 0.02
    small, hidden = geometry.magnify(image, mask[None], 0.5, draws())
    assert hidden is not None
    assert int((hidden != geometry.IGNORE).sum()) == 32 * 32
    assert float(small[0, 0][hidden[0] == geometry.IGNORE].abs().max()) == 0


def test_at_a_factor_of_one_nothing_moves() -> None:
    image, mask = phantom(40)[None], (phantom(40) > 0.5).long()
    for operation in (geometry.magnify, geometry.depth, geometry.sweep_speed, geometry.velocity_scale):
        shown, moved = operation(image, mask, 1.0, draws())
        torch.testing.assert_close(shown, image, atol=1e-5, rtol=0)
        assert moved is not None
        assert torch.equal(moved, mask)
        assert operation(image, None, 1.0, draws())[1] is None
