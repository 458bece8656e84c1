import math

import pytest
import torch
from torch import Tensor

from umsrep.tasks.augment.geometry import IGNORE, affine_grid, sample

EYE = ((1.0, 0.0), (0.0, 1.0))


def numbered(height: int = 6, width: int = 8) -> tuple[Tensor, Tensor]:
    image = torch.arange(height * width, dtype=torch.float32).reshape(1, height, width) / (height * width)
    return image, (image[0] * height * width).round().to(torch.uint8)


def test_the_unit_matrix_leaves_every_pixel_where_it_is():
    image, mask = numbered()
    moved, masks = sample(image, {"m": mask}, affine_grid((6, 8), EYE))
    assert torch.allclose(moved, image, atol=1e-6)
    assert torch.equal(masks["m"], mask)


def test_a_shift_moves_by_whole_pixels_and_ignores_what_comes_in():
    image, mask = numbered()
    moved, masks = sample(image, {"m": mask}, affine_grid((6, 8), EYE, right=2 / 8, down=1 / 6))
    assert torch.allclose(moved[0, 1:, 2:], image[0, :-1, :-2], atol=1e-5)
    assert torch.equal(masks["m"][1:, 2:], mask[:-1, :-2])
    assert (masks["m"][0] == IGNORE).all()
    assert (masks["m"][:, :2] == IGNORE).all()
    assert float(moved[0, 0].abs().max()) == 0


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_are_those_of_rot90(turns):
    image, mask = numbered(7, 7)
    cos, sin = round(math.cos(turns * math.pi / 2)), round(math.sin(turns * math.pi / 2))
    moved, masks = sample(image, {"m": torch.stack([mask, mask])}, affine_grid((7, 7), ((cos, sin), (-sin, cos))))
    assert torch.allclose(moved, image.rot90(-turns, (-2, -1)), atol=1e-5)  # clockwise
    assert torch.equal(masks["m"][1], mask.rot90(-turns))
