"""ORB start: the aggregation bit by bit, images without keypoints last, the same set for the same seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage.feature import ORB

from umsrep import InputError
from umsrep.tasks.active import orb, orb_initial_set


def textured(seed: int, side: int = 128) -> NDArray[np.uint8]:
    blocks = np.random.default_rng(seed).integers(0, 256, (side // 8, side // 8), dtype=np.uint8)
    return np.kron(blocks, np.ones((8, 8), dtype=np.uint8))


def test_the_vector_is_the_share_of_ones_over_the_keypoints() -> None:
    image = textured(0)
    detector: Any = ORB(n_keypoints=orb.KEYPOINTS)
    detector.detect_and_extract((image.astype(np.float64) - image.min()) / (float(image.max()) - image.min()))
    vector = orb.orb_vector(image)
    assert vector is not None
    np.testing.assert_allclose(np.asarray(vector, dtype=np.float64), detector.descriptors.mean(axis=0), rtol=1e-6)
    assert vector.shape == (orb.BITS,)


def test_scale_and_form_of_the_grey_levels_do_not_count(tmp_path: Path) -> None:
    image = textured(1)
    wanted = orb.orb_vector(image)
    assert wanted is not None
    Image.fromarray(image).save(tmp_path / "a.png")
    same = [
        image.astype(np.float32) * 16 - 1000,
        np.stack([image] * 3, axis=2),
        torch.from_numpy(image.astype(np.float32) / 255)[None],
        Image.fromarray(image),
        tmp_path / "a.png",
    ]
    for other in same:
        found = orb.orb_vector(other)
        assert found is not None
        assert np.abs(found - wanted).max() <= 0.03  # a bit may turn by rounding


def test_images_without_keypoints_come_last() -> None:
    images = [np.zeros((32, 32), dtype=np.uint8), textured(0), np.full((40, 50), 7.5), textured(1), textured(2)]
    found = orb_initial_set(images, 5, 3)
    assert sorted(found[:3].tolist()) == [1, 3, 4]
    assert sorted(found[3:].tolist()) == [0, 2]
    assert orb_initial_set(images, 5, 3).tolist() == found.tolist()
    assert orb_initial_set(images, 2, 3).tolist() == found[:2].tolist()
    assert orb_initial_set(images[:1], 1, 0).tolist() == [0]


def test_the_first_is_drawn_and_the_others_are_farthest_from_those_before() -> None:
    vectors = orb.OrbVectors(np.zeros((5, 256), dtype=np.float32), np.array([True, True, True, True, False]))
    vectors.vectors[:, 0] = [0.0, 0.1, 0.5, 1.0, 0.0]
    free = np.ones(5, dtype=bool)
    firsts = {int(orb.pick_by_orb(vectors, free, ~free, 1, seed).rows[0]) for seed in range(40)}
    assert firsts == {0, 1, 2, 3}
    seed = next(s for s in range(40) if orb.pick_by_orb(vectors, free, ~free, 1, s).rows[0] == 1)
    picks = orb.pick_by_orb(vectors, free, ~free, 5, seed)
    assert picks.rows.tolist() == [1, 3, 0, 2, 4]
    np.testing.assert_allclose(picks.distances, [0, 0.9, (0.1 + 1.0) / 2, (0.4 + 0.5 + 0.5) / 3, np.nan], rtol=1e-6)
    before = np.array([False, False, False, True, False])  # going on
    assert orb.pick_by_orb(vectors, ~before, before, 1, 0).rows.tolist() == [0]


def test_small_images_are_enlarged() -> None:
    assert orb.orb_vector(textured(4)[:64:2, :64:2]) is not None


def test_a_wrong_image_is_named() -> None:
    with pytest.raises(InputError, match="image 1: image: holds NaN"):
        orb_initial_set([textured(0), np.full((32, 32), np.nan)], 1, 0)
    with pytest.raises(InputError, match="image 0: int"):
        orb_initial_set([3], 1, 0)
    with pytest.raises(InputError, match="budget 3: only 2"):
        orb_initial_set([textured(0), textured(1)], 3, 0)
