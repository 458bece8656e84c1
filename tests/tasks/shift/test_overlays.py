"""Things laid over an image: only their own pixels change, and a higher severity takes none away."""

from __future__ import annotations

import math

import pytest
import torch

from tests.tasks.shift.phantoms import draws, flat, phantom
from umsrep.tasks.shift import apply_shift, overlays


def test_text_is_white_along_the_borders_and_the_rest_stays() -> None:
    image = phantom(96)
    written = apply_shift(image, "burned-in-text", 5, 0)
    text = written != image
    assert 0.005 < float(text.float().mean()) < 0.2
    assert bool((written >= image).all())
    assert float(written[text].max()) > 0.95, "strokes are about a pixel wide here"
    other = apply_shift(1 - image, "burned-in-text", 5, 0)
    assert torch.equal(other[~text], (1 - image)[~text]), "where words stand is the seed's choice, not the image's"


def test_more_words_keep_the_first() -> None:
    few, more = (overlays.burned_in_text(flat(0.3, 96), (count, 5.0), draws()) != 0.3 for count in (2, 4))
    assert bool((more | ~few).all())
    assert int(more.sum()) > int(few.sum()) > 0


def test_a_black_corner_leaves_the_circle() -> None:
    seen = overlays.black_corner(flat(1.0, 128), 0.9, draws())
    assert float(seen.mean()) == pytest.approx(math.pi / 4 * 0.9**2, rel=0.01)
    assert float(seen[0, 0, 64, 64]) == 1
    assert float(seen[0, 0, 0, 0]) == 0


def test_bubbles_brighten_and_stains_darken() -> None:
    image = flat(0.4, 64)
    bubbles, stains = overlays.bubbles(image, (15, 20), draws()), overlays.stains(image, 3, draws())
    assert bool((bubbles >= image).all())
    assert float(bubbles.max()) < 1
    assert bool((stains <= image).all())
    assert float(stains.min()) < 0.2
    nearly = (overlays.stains(image, 1, draws()) < 0.39) & ~(stains < 0.39)
    assert not bool(nearly.any())


def test_characters_have_one_colour_a_word() -> None:
    image = torch.zeros(1, 3, 64, 64)
    written = overlays.characters(image, (1, 6, 0.5), draws())[0]
    ink = written.sum(0) > 0.5 * written.sum(0).max()
    colours = written[:, ink] / written[:, ink].sum(0)
    torch.testing.assert_close(colours, colours[:, :1].expand_as(colours), atol=1e-4, rtol=0)
    assert float(ink.float().mean()) < 0.3
    grey = overlays.characters(image[:, :1], (1, 6, 0.5), draws())
    assert grey.shape == (1, 1, 64, 64)
