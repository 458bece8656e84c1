"""CC-FV: its two terms against plain formulas, and what it must prefer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from tests.zoo.transferability.sets import Array, rotation
from umsrep.errors import InputError
from umsrep.zoo.transferability import cc_fv, cc_fv_terms
from umsrep.zoo.transferability.cc_fv import cloud, gaussian_wasserstein, variety


def scene(images: int = 6, noise: float = 0.3, offset: float = 0.0, seed: int = 0) -> tuple[list[Array], Array]:
    """Masks with two classes and an ignored corner; two levels whose features follow the class, each image moved by ``offset``."""
    random = np.random.default_rng(seed)
    masks = np.zeros((images, 24, 24), dtype=np.uint8)
    for mask in masks:
        y, x = random.integers(1, 6, 2)
        mask[y : y + 9, x : x + 9] = 1
        mask[y + 10 : y + 17, x : x + 9] = 2
        mask[:2, :2] = 255
    colours = random.normal(size=(256, 5))
    level = colours[masks].transpose(0, 3, 1, 2)
    moved = level + random.normal(size=level.shape) * noise + random.normal(size=(images, 5, 1, 1)) * offset
    return [moved, moved[:, :, ::2, ::2].copy()], masks


@pytest.mark.parametrize(("first", "second", "columns"), [(40, 30, 4), (10, 12, 25), (2, 9, 3)])
def test_distance_of_gaussians(first: int, second: int, columns: int) -> None:
    random = np.random.default_rng(0)
    a, b = random.normal(size=(first, columns)), 2 * random.normal(size=(second, columns)) @ rotation(columns) + 1
    s, t = np.cov(a.T, ddof=0), np.cov(b.T, ddof=0)
    root = np.real(sqrtm(s + 1e-12 * np.eye(columns)))
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ t @ root), 0)).sum()
    expected = ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum() + np.trace(s) + np.trace(t) - 2 * cross
    assert gaussian_wasserstein(cloud(a), cloud(b)) == pytest.approx(np.sqrt(expected), rel=1e-4)
    assert gaussian_wasserstein(cloud(a), cloud(a + 3)) == pytest.approx(3 * np.sqrt(columns), rel=1e-6)
    assert gaussian_wasserstein(cloud(a), cloud(a)) == pytest.approx(0, abs=1e-6)


def test_variety_is_the_inverse_energy_on_the_sphere() -> None:
    points = np.array([[3.0, 0.0], [0.0, 0.2], [-1.0, 0.0]])
    energies = [1 / np.sqrt(d + 1e-3) for d in (2, 4, 2)]
    assert variety(points) == pytest.approx(1 / np.mean(energies))
    assert variety(np.ones((9, 4))) == pytest.approx(np.sqrt(1e-3))
    assert variety(np.zeros((3, 2))) == pytest.approx(np.sqrt(1e-3))


def test_terms_add_up() -> None:
    levels, masks = scene()
    terms = cc_fv_terms(levels, masks)
    assert cc_fv(levels, masks) == pytest.approx(np.mean([np.log(t.variety / t.consistency) for t in terms]))
    assert cc_fv(levels[:1], masks) == pytest.approx(np.log(terms[0].variety / terms[0].consistency))


def test_prefers_classes_that_look_alike_in_all_images_and_varied_features() -> None:
    levels, masks = scene()
    apart, _ = scene(offset=2.0)
    assert cc_fv(apart, masks) < cc_fv(levels, masks) - 0.5
    pointing = [level + 50 for level in levels]  # all features in nearly one direction; distances between them are the same
    (near,), (there,) = cc_fv_terms(levels[:1], masks), cc_fv_terms(pointing[:1], masks)
    assert there.consistency == pytest.approx(near.consistency)
    assert there.variety < near.variety / 4


def test_scale_and_rotation_of_a_level_do_not_matter() -> None:
    levels, masks = scene()
    moved: list[Any] = [np.einsum("nchw,cd->ndhw", level, rotation(5, k)) * 10.0 ** (3 - 6 * k) for k, level in enumerate(levels)]
    assert cc_fv(moved, masks) == pytest.approx(cc_fv(levels, masks), rel=1e-9)


def test_deterministic_for_a_seed_and_inputs_unchanged() -> None:
    levels, masks = scene()
    for array in (*levels, masks):
        array.setflags(write=False)
    values = [cc_fv(levels, masks, samples=20, pairs=5, seed=seed) for seed in (0, 0, 1)]
    assert values[0] == values[1] != values[2]
    assert values[2] == pytest.approx(values[0], abs=0.5)
    tensors = [torch.tensor(np.array(level)) for level in levels]
    assert cc_fv(tensors, torch.tensor(np.array(masks)), samples=20, pairs=5) == values[0]


def test_ignored_pixels_are_no_class_and_pairs_within_a_patient_do_not_count() -> None:
    levels, masks = scene(offset=1.0)
    assert cc_fv(levels, masks) == cc_fv(levels, masks, classes=[1, 2])
    assert cc_fv(levels, masks, classes=[1]) != cc_fv(levels, masks)
    twice = [np.repeat(level, 2, axis=0) for level in levels]
    patients = np.repeat(np.arange(6), 2)
    grouped = cc_fv_terms(twice, np.repeat(masks, 2, axis=0), groups=patients, samples=1000)[0]
    assert grouped.consistency == pytest.approx(cc_fv_terms(levels, masks, samples=1000)[0].consistency)


def test_refusals() -> None:
    levels, masks = scene()
    with pytest.raises(InputError, match="no class but the background"):
        cc_fv(levels, masks * 0)
    with pytest.raises(InputError, match="class 7 has at least two pixels in fewer than two patients"):
        cc_fv(levels, masks, classes=[1, 7])
    with pytest.raises(InputError, match="fewer than two patients"):
        cc_fv(levels, masks, groups=["p"] * 6)
    with pytest.raises(InputError, match="level 1: its features are the same everywhere"):
        cc_fv([levels[0], levels[1] * 0 + 3], masks)
    with pytest.raises(InputError, match="level 0: a class has the same features everywhere"):
        cc_fv([np.eye(3)[np.minimum(masks, 2)].transpose(0, 3, 1, 2)], masks, classes=[1])
    levels[1][2] = np.nan
    with pytest.raises(InputError, match="level 1: image 2"):
        cc_fv(levels, masks)
    with pytest.raises(InputError, match=r"masks are float64"):
        cc_fv(levels, masks * 1.0)
    with pytest.raises(InputError, match="level 0 is"):
        cc_fv(levels, masks[:5])
    with pytest.raises(InputError, match="groups have 2 rows"):
        cc_fv(levels, masks, groups=["p", "q"])
    with pytest.raises(InputError, match="samples is 1"):
        cc_fv(levels, masks, samples=1)
