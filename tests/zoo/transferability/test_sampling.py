"""Maps at drawn pixels are what torch interpolates."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from umsrep.errors import InputError
from umsrep.zoo.transferability.sampling import as_levels, at_pixels


@pytest.mark.parametrize("shape", [(3, 5), (6, 10), (1, 1), (24, 17)])
def test_interpolation_is_that_of_torch(shape: tuple[int, int]) -> None:
    maps = np.random.default_rng(0).normal(size=(2, 4, *shape))
    whole = torch.nn.functional.interpolate(torch.tensor(maps), size=(12, 20), mode="bilinear", align_corners=False)
    pixels = np.array([0, 7, 19, 20, 130, 239])
    np.testing.assert_allclose(at_pixels(maps, 1, pixels, (12, 20), "level 0"), whole[1].reshape(4, -1)[:, pixels].T.numpy(), atol=1e-12)


def test_levels_are_checked_and_keep_their_type() -> None:
    half = torch.zeros(2, 3, 4, 4, dtype=torch.float16)
    assert as_levels([half], 2)[0].dtype == np.float16
    for wrong in ([], [half[0]], [half[:1]], [np.zeros((2, 3, 4, 4), dtype=complex)]):
        with pytest.raises(InputError, match="level"):
            as_levels(wrong, 2)
    with pytest.raises(InputError, match=r"level 3: image 1 .* NaN"):
        at_pixels(np.full((2, 1, 3, 3), np.nan), 1, np.array([0]), (3, 3), "level 3")
