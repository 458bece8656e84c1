"""Stored masks; masks of whole data sets in test_dataset.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from umsrep.errors import InputError
from umsrep.tasks.data.masks import image_size, read_mask


def test_a_mask_has_the_size_of_its_header_also_when_it_is_turned(tmp_path: Path) -> None:
    picture, exif = Image.fromarray(np.zeros((9, 12), dtype=np.uint8)), Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "plain.png")
    picture.save(tmp_path / "turned.png", exif=exif)
    for name, size in (("plain.png", (12, 9)), ("turned.png", (9, 12))):
        assert image_size(tmp_path / name) == size
        assert read_mask(tmp_path / name, "row 2").shape == size[::-1]


def test_a_colour_picture_is_no_mask(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "m.png")
    with pytest.raises(InputError, match=r"row 2: mask 'm\.png': colour mode RGB"):
        read_mask(tmp_path / "m.png", "row 2: mask")
