"""Every shift on every severity: size, range, determinism, batch against rows, growth with severity on real images; masks; mistakes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.tasks.shift.phantoms import image_for, phantom
from umsrep.errors import InputError
from umsrep.tasks.shift import SHIFTS, apply_shift, apply_shift_batch, apply_shift_with_mask
from umsrep.tasks.shift.shift import SEVERITIES


@pytest.mark.parametrize("name", SHIFTS)
def test_every_shift_keeps_the_contract_of_an_image(name: str) -> None:
    image = image_for(name)
    before = image.clone()
    batch = torch.stack([image, image.flip(-1)])
    for severity in SEVERITIES:
        shifted = apply_shift(image, name, severity, 3)
        assert shifted.shape == image.shape
        assert shifted.dtype == torch.float32
        assert float(shifted.min()) >= 0
        assert float(shifted.max()) <= 1
        assert torch.equal(image, before)
        assert torch.equal(shifted, apply_shift(image, name, severity, 3))
        assert not torch.equal(shifted, image)
        rows = apply_shift_batch(batch, name, severity, [3, 4])
        torch.testing.assert_close(rows[0], shifted, atol=1e-5, rtol=0)
        torch.testing.assert_close(rows[1], apply_shift(batch[1], name, severity, 4), atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def pictures(unpacked: Callable[[str], Path]) -> dict[int, Tensor]:
    """Eight real images of one channel (ultrasound of nerves), and eight coloured ones (nuclei), at 64 px."""
    found = {}
    for channels, name in ((1, "us_nerve"), (3, "nuclei")):
        kept: list[Tensor] = []
        for path in sorted((unpacked(name) / "images").iterdir()):
            with Image.open(path) as file:
                small = np.array(file.convert("L" if channels == 1 else "RGB").resize((64, 64)), dtype=np.float32) / 255
            image = torch.from_numpy(small).reshape(64, 64, channels).permute(2, 0, 1)
            if channels == 1 or float((image[0] - image[2]).abs().mean()) > 0.05:
                kept.append(image)
            if len(kept) == 8:
                break
        found[channels] = torch.stack(kept)
    return found


@pytest.mark.parametrize("name", SHIFTS)
def test_the_distance_grows_with_severity(name: str, pictures: dict[int, Tensor]) -> None:
    images = pictures[3 if SHIFTS[name].colour else 1]
    distance = [float((apply_shift_batch(images, name, s, range(8)) - images).abs().mean()) for s in SEVERITIES]
    assert distance[0] > 0
    assert all(a < b for a, b in itertools.pairwise(distance)), distance


@pytest.mark.parametrize("name", [n for n, s in SHIFTS.items() if s.colour])
def test_a_shift_of_colour_refuses_grey(name: str) -> None:
    for grey in (phantom(), phantom().expand(3, -1, -1)):
        with pytest.raises(ValueError, match="changes colours"):
            apply_shift(grey, name, 1, 0)


def test_mistakes_are_named() -> None:
    image = phantom()
    with pytest.raises(InputError, match=r"no shift is called 'scater'.*'scatter'"):
        apply_shift(image, "scater", 1, 0)
    for severity in (0, 6, 2.5, 2.0, True):
        with pytest.raises(InputError, match="severity must be a whole number from 1 to 5"):
            apply_shift(image, "scatter", severity, 0)  # type: ignore[arg-type]
    for wrong in (image * 2 - 1, image * float("nan"), (image * 255).to(torch.uint8), image[0], image[None]):
        with pytest.raises(InputError, match="must be"):
            apply_shift(wrong, "scatter", 1, 0)
    with pytest.raises(InputError, match="1 seeds for 2 images"):
        apply_shift_batch(torch.stack([image, image]), "scatter", 1, [0])
    with pytest.raises(InputError, match="masks must be"):
        apply_shift_with_mask(image, torch.zeros(30, 32, dtype=torch.uint8), "scatter", 1, 0)


@pytest.mark.parametrize("name", [n for n, s in SHIFTS.items() if s.geometric])
def test_masks_move_with_their_image(name: str) -> None:
    mask = (phantom(96)[0] > 0.62).to(torch.uint8)
    image = mask[None].float() * 0.8 + 0.1
    for severity in SEVERITIES:
        shifted, moved = apply_shift_with_mask(image, mask, name, severity, 5)
        torch.testing.assert_close(shifted, apply_shift(image, name, severity, 5))
        assert moved.dtype == mask.dtype
        known = moved != 255
        assert float(shifted[0][~known].max() if (~known).any() else 0) == 0
        wrong = ((shifted[0] > 0.5) != (moved == 1)) & known
        assert float(wrong.float().mean()) < 0.01
        assert not torch.equal(moved, mask)


def test_a_shift_that_moves_nothing_leaves_the_mask() -> None:
    mask = (phantom()[0] > 0.6).long()
    _, moved = apply_shift_with_mask(phantom(), torch.stack([mask, 1 - mask]), "scatter", 5, 0)
    assert torch.equal(moved, torch.stack([mask, 1 - mask]))


@pytest.mark.gpu
@pytest.mark.parametrize("name", SHIFTS)
def test_a_gpu_gives_what_the_cpu_gives(name: str) -> None:
    image = image_for(name)
    on_gpu = apply_shift(image.cuda(), name, 4, 1)
    assert on_gpu.is_cuda
    assert float((on_gpu.cpu() - apply_shift(image, name, 4, 1)).abs().mean()) < 1e-3
