"""A first set to annotate, from ORB descriptors alone: no model and no label is needed."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F

from umsrep.errors import InputError
from umsrep.tasks.active.checks import Rows, check_count
from umsrep.tasks.active.medal import Picks, pick_farthest
from umsrep.tasks.progress import track
from umsrep.zoo.stored import read_stored

SIDE = 128
"""Longer side in pixels to which images are brought before keypoints are looked for."""
KEYPOINTS = 100
"""Most keypoints of an image, those with the strongest Harris response."""
BITS = 256


def orb_vector(image: Any) -> NDArray[np.float32] | None:
    """Return one image's ORB descriptors (Rublee et al. 2011; scikit-image) as one vector.

    The image becomes grey (mean of its channels), its longer side `SIDE` pixels (bilinear, antialiased, also enlarged), and its grey levels
    are stretched so that the least is 0 and the greatest 1. Of each of the at most `KEYPOINTS` keypoints ORB gives 256 bits; the vector is
    the share of ones of each bit over the keypoints.

    Args:
        image: Path, PIL image, or array [H, W] or [H, W, C] of any numbers.

    Returns:
        float32 [256], 0-1; None for an image without keypoints (blank, or too smooth).

    Raises:
        InputError: for an image that cannot be read, or holds NaN.
    """
    from skimage.feature import ORB

    array = _grey(image)
    low, high = float(array.min()), float(array.max())
    if not low < high:
        return None
    scaled = torch.from_numpy((array - low) / (high - low))[None, None]
    height, width = array.shape
    size = [max(1, round(side * SIDE / max(height, width))) for side in (height, width)]
    fitted = F.interpolate(scaled, size=size, mode="bilinear", antialias=True, align_corners=False)[0, 0].clamp(0, 1).numpy()
    detector: Any = ORB(n_keypoints=KEYPOINTS)  # type: ignore[no-untyped-call]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # angles of flat patches
            detector.detect_and_extract(fitted.astype(np.float64))
    except RuntimeError:  # "found no features"
        return None
    if not len(detector.descriptors):
        return None
    vector: NDArray[np.float32] = detector.descriptors.mean(axis=0, dtype=np.float32)
    return vector


def _grey(image: Any) -> NDArray[np.float64]:
    if isinstance(image, torch.Tensor):
        image = image.detach().cpu().numpy()
    if isinstance(image, np.ndarray) and image.dtype.kind == "f":  # arrays of any scale, which stored files are not
        pixels = image
        if pixels.ndim not in (2, 3) or 0 in pixels.shape:
            raise InputError(f"array {list(pixels.shape)}: an image is [H, W] or [H, W, C]")
    elif isinstance(image, str | Path | np.ndarray | Image.Image):
        pixels = read_stored(image).pixels
    else:
        raise InputError(f"{type(image).__name__}: an image is a path, a PIL image or an array [H, W] or [H, W, C]")
    if pixels.ndim == 3 and pixels.shape[0] in (1, 3) and pixels.shape[2] not in (1, 3, 4):
        pixels = np.moveaxis(pixels, 0, 2)  # [C, H, W], as tensors are
    grey = np.asarray(pixels, dtype=np.float64)
    grey = grey.mean(axis=2) if grey.ndim == 3 else grey
    if not np.isfinite(grey).all():
        raise InputError("image: holds NaN or an infinite number")
    return grey


def orb_initial_set(images: Sequence[Any] | NDArray[Any], budget: int, seed: int) -> Rows:
    """Select the first images to annotate without a model and without labels.

    Each image becomes the vector of `orb_vector`. The first image is drawn at random; then, one at a time, the one with the greatest mean
    Euclidean distance to those already taken (MedAL's rule, without the entropy that only a model can give). MedAL names ORB but not how
    descriptors become one vector; this aggregation is ours. Images without keypoints come last, in an order drawn at random.

    Args:
        images: Paths, PIL images or arrays [H, W] or [H, W, C]; also one array [N, H, W] or [N, H, W, C].
        budget: How many.
        seed: The same images and seed give the same set.

    Returns:
        int64 [budget], positions in ``images`` in the order taken.

    Raises:
        InputError: for an image that cannot be read, naming it or its position, or a budget above the number of images.
    """
    budget = check_count(budget, "budget", len(images))
    vectors: list[NDArray[np.float32] | None] = []
    for number in track(range(len(images)), "ORB descriptors", total=len(images)):
        try:
            vectors.append(orb_vector(images[number]))
        except InputError as error:
            raise InputError(f"image {number}: {error}") from error
    free = np.ones(len(vectors), dtype=bool)
    return pick_by_orb(stack(vectors), free, ~free, budget, seed).rows


@dataclasses.dataclass(frozen=True)
class OrbVectors:
    """Vectors of some images.

    Attributes:
        vectors: float32 [N, 256]; zeros where there are no keypoints.
        found: bool [N], whether there are.
    """

    vectors: NDArray[np.float32]
    found: NDArray[np.bool_]


def stack(vectors: Sequence[NDArray[np.float32] | None]) -> OrbVectors:
    """Join `orb_vector`'s results."""
    found = np.array([one is not None for one in vectors], dtype=bool)
    nothing = np.zeros(BITS, dtype=np.float32)
    return OrbVectors(np.stack([nothing if one is None else one for one in vectors]), found)


def pick_by_orb(orb: OrbVectors, free: NDArray[np.bool_], before: NDArray[np.bool_], budget: int, seed: int) -> Picks:
    """Select as `orb_initial_set` does among the ``free`` rows, going on from those chosen ``before``.

    Distances are 0 for the first, and NaN for images without keypoints.
    """
    generator = np.random.default_rng(seed)
    usable = np.flatnonzero(free & orb.found)
    blank = generator.permutation(np.flatnonzero(free & ~orb.found))
    known = before & orb.found
    rows: list[int] = []
    apart: list[float] = []
    if len(usable) and not known.any():
        rows, apart = [int(generator.choice(usable))], [0.0]
        known = known.copy()
        known[rows] = True
    wanted = min(budget, len(usable)) - len(rows)
    if wanted > 0:
        allowed = np.where(free & orb.found, 0.0, -np.inf)  # the same uncertainty for all: every row is a candidate
        picks = pick_farthest(orb.vectors, known, allowed, wanted, candidates=len(orb.found))
        rows, apart = [*rows, *picks.rows.tolist()], [*apart, *picks.distances.tolist()]
    last = blank[: budget - len(rows)].tolist()
    return Picks(np.array([*rows, *last], dtype=np.int64), np.array([*apart, *([np.nan] * len(last))]))
