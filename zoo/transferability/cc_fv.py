"""CC-FV: class consistency with feature variety, for segmentation, where the scores of whole images do not apply."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from umsrep.errors import InputError
from umsrep.zoo.transferability.checks import Floats, array_of, as_groups, same_length
from umsrep.zoo.transferability.sampling import as_levels, at_pixels

NEAREST = 1e-3
"""Added to squared distances on the unit sphere, so that two equal features have a finite energy."""


class LevelTerms(NamedTuple):
    """The two terms of one level: consistency is a distance (lower is better), variety an inverse energy (higher is better)."""

    consistency: float
    variety: float


def cc_fv(
    levels: Sequence[Any],
    masks: Any,
    *,
    classes: Sequence[int] | None = None,
    ignore: int = 255,
    groups: Any = None,
    samples: int = 100,
    pairs: int = 100,
    seed: int = 0,
) -> float:
    """Mean over the levels of log(feature variety / class consistency).

    Class consistency: the 2-Wasserstein distance between the Gaussians (mean and covariance, dividing by the number of pixels) of one
    class's features in two images, mean over pairs of images and then over classes. Feature variety: the mean over images of the inverse
    of the hyperspherical energy, which is the mean over pairs of the image's pixels of 1 / distance of their features on the unit sphere.
    docs/transferability.md says what departs from the authors' code: features are divided by their standard deviation, sums are means,
    pixels of equal features have a finite energy, and the levels are those of the encoder.

    Args:
        levels: The encoder's feature maps, a sequence of [N, C, H, W] of any size; they are interpolated at the pixels of the masks.
        masks: Class of each pixel, whole numbers [N, H, W].
        classes: The classes to look at; None: all that occur but 0, the background, and ``ignore``.
        ignore: Pixels with this number belong to no class; they still count for the variety.
        groups: The patient of each image [N]; pairs within a patient are left out. None or "" is a patient of its own.
        samples: Pixels drawn for each image and class, and for each image's variety; fewer where a class has fewer. At least 2.
        pairs: Pairs of images at the most for each class, drawn from all.
        seed: Of the draws.

    Returns:
        Any finite number; higher is better. Compare it at the same ``samples`` only.

    Raises:
        InputError: The input cannot be scored; names the level, image or class.

    Source:
        Yang et al., Pick the best pre-trained model: towards transferability estimation for medical image segmentation, MICCAI 2023.
    """
    terms = cc_fv_terms(levels, masks, classes=classes, ignore=ignore, groups=groups, samples=samples, pairs=pairs, seed=seed)
    for k, term in enumerate(terms):
        if term.consistency < 1e-7:  # of the features' standard deviation: rounding
            raise InputError(f"level {k}: a class has the same features everywhere, whose score has no bound; leave this level out")
    return float(np.mean([np.log(term.variety / term.consistency) for term in terms]))


def cc_fv_terms(
    levels: Sequence[Any],
    masks: Any,
    *,
    classes: Sequence[int] | None = None,
    ignore: int = 255,
    groups: Any = None,
    samples: int = 100,
    pairs: int = 100,
    seed: int = 0,
) -> list[LevelTerms]:
    """Return both terms of `cc_fv` for each level."""
    masks = array_of(masks)
    if masks.ndim != 3 or masks.dtype.kind not in "iub" or not masks.size:
        raise InputError(f"masks are {masks.dtype} {list(masks.shape)}; whole numbers [N, H, W] are needed")
    if samples < 2 or pairs < 1:
        raise InputError(f"samples is {samples} and pairs {pairs}; at least 2 and 1 are needed")
    maps = as_levels(levels, len(masks))
    if groups is not None:
        same_length(array_of(groups), len(masks), "groups")
    patients = as_groups(groups, len(masks))
    flat, size = masks.reshape(len(masks), -1), (masks.shape[1], masks.shape[2])
    random = np.random.default_rng(seed)
    anywhere = [_draw(random, np.arange(flat.shape[1]), samples) for _ in flat]
    wanted = sorted(set(np.unique(masks).tolist()) - {0, ignore}) if classes is None else list(classes)
    if not wanted:
        raise InputError("masks: no class but the background occurs")
    drawn = {
        c: {i: _draw(random, found, samples) for i, row in enumerate(flat) if len(found := np.flatnonzero(row == c)) >= 2} for c in wanted
    }
    couples = {c: _couples(random, list(of), patients, pairs, c) for c, of in drawn.items()}
    terms = []
    for k, level in enumerate(maps):
        everywhere = [at_pixels(level, i, pixels, size, f"level {k}") for i, pixels in enumerate(anywhere)]
        together = np.concatenate(everywhere)
        spread = float(np.sqrt(((together - together.mean(axis=0)) ** 2).sum(axis=1).mean()))
        if spread <= 1e-12 * np.abs(together).max():
            raise InputError(f"level {k}: its features are the same everywhere; such an encoder has nothing to score")
        distances = []
        for c, of in drawn.items():
            clouds = {i: cloud(at_pixels(level, i, pixels, size, f"level {k}") / spread) for i, pixels in of.items()}
            distances.append(np.mean([gaussian_wasserstein(clouds[i], clouds[j]) for i, j in couples[c]]))
        terms.append(LevelTerms(float(np.mean(distances)), float(np.mean([variety(points) for points in everywhere]))))
    return terms


class Cloud(NamedTuple):
    """A Gaussian: its mean [C], and a root [R, C] of its covariance, root' root, with R <= C."""

    mean: Floats
    root: Floats


def cloud(points: Floats) -> Cloud:
    """Return mean and covariance (dividing by P) of points [P, C]; the root is R of a QR decomposition, or the points if P < C."""
    mean = points.mean(axis=0)
    apart = (points - mean) / np.sqrt(len(points))
    return Cloud(mean, apart if len(points) <= points.shape[1] else np.linalg.qr(apart).R)


def gaussian_wasserstein(first: Cloud, second: Cloud) -> float:
    """2-Wasserstein distance of two Gaussians; tr (S1 S2)^(1/2) is the nuclear norm of root1 root2': no matrix is rooted."""
    apart = ((first.mean - second.mean) ** 2).sum()
    cross = np.linalg.svd(first.root @ second.root.T, compute_uv=False).sum()
    return float(np.sqrt(max(apart + (first.root**2).sum() + (second.root**2).sum() - 2 * cross, 0)))


def variety(points: Floats) -> float:
    """Inverse of the mean over pairs of 1 / sqrt(squared distance + 1e-3) of the points [P, C] put on the unit sphere."""
    norms = np.sqrt((points**2).sum(axis=1, keepdims=True))
    on_sphere = np.divide(points, norms, out=np.zeros_like(points), where=norms > 0)
    upper = np.triu_indices(len(points), k=1)
    inner = (on_sphere @ on_sphere.T)[upper]
    squares = (on_sphere**2).sum(axis=1)
    return float(1 / (1 / np.sqrt(np.maximum(squares[upper[0]] + squares[upper[1]] - 2 * inner, 0) + NEAREST)).mean())


def _draw(random: np.random.Generator, pixels: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    return pixels if len(pixels) <= most else np.sort(random.choice(pixels, most, replace=False))


def _couples(random: np.random.Generator, images: list[int], patients: NDArray[np.int64], most: int, name: int) -> list[tuple[int, int]]:
    """Draw pairs of images of different patients."""
    couples = [(i, j) for k, i in enumerate(images) for j in images[k + 1 :] if patients[i] != patients[j]]
    if not couples:
        raise InputError(f"masks: class {name} has at least two pixels in fewer than two patients; more images, or leave it out of classes")
    return [couples[k] for k in sorted(random.choice(len(couples), min(most, len(couples)), replace=False))]
