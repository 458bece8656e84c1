"""The page's picture and table: phantoms in range, every shift in the table as docs/shifts.md has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from umsrep.tasks.shift.gallery import draw, phantom, phantom_of, table
from umsrep.tasks.shift.registry import SHIFTS, find_shift

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(("modality", "channels"), [("cxr", 1), ("us", 1), ("histology", 3)])
def test_phantoms_are_images_in_range(modality: str, channels: int) -> None:
    image = phantom(modality, 48)
    assert image.shape == (channels, 48, 48)
    assert float(image.min()) >= 0
    assert float(image.max()) <= 1
    assert float(image.std()) > 0.05


def test_every_shift_has_a_phantom_with_its_channels() -> None:
    assert {phantom_of(s) for s in SHIFTS.values()} == {"cxr", "us", "doppler", "histology"}
    assert {phantom_of(s) for s in SHIFTS.values() if s.colour} == {"histology"}


def test_the_table_is_that_of_the_page() -> None:
    assert table() in (ROOT / "docs" / "shifts.md").read_text(encoding="utf-8")


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    draw([find_shift("scatter")], tmp_path / "shifts.png", columns=5)
    assert (tmp_path / "shifts.png").read_bytes().startswith(b"\x89PNG")
