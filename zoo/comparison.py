"""Compare the feature maps of two encoders on the same images, layer by layer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from umsrep.errors import InputError
from umsrep.zoo.encoder import Encoder
from umsrep.zoo.similarity import MinibatchCKA, StreamingSVCCA


def compare_encoders(
    first: Encoder,
    second: Encoder,
    images: Sequence[Any],
    *,
    frames: Sequence[int | None] | None = None,
    measure: Literal["cka", "svcca"] = "cka",
    batch_size: int = 64,
    grid: int | None = None,
) -> NDArray[np.float64]:
    """Return the similarity of each feature map of one encoder to each of another, or of one before and after fine-tuning.

    Every map is averaged over a grid of cells, so that maps of all sizes have the same positions; each cell of each image is a
    sample, each channel a feature.

    Args:
        first: Sees each image by its own contract, as does the other; both stay as they are.
        second: On the same device or another.
        images: Paths, arrays or PIL images, as `InputContract.load` takes them.
        frames: Which image of a file that holds several, one number or None an image.
        measure: ``cka``, linear from unbiased HSIC in batches (`MinibatchCKA`), or ``svcca`` (`StreamingSVCCA`).
        batch_size: Images at a time, at most; the batches are of even size.
        grid: Cells a side; default as many as the coarsest of all maps has pixels.

    Returns:
        [levels of first, levels of second], finest first.

    Raises:
        InputError: for too few images, images that a contract refuses, or contracts without a size where images differ in it.
    """
    if measure not in ("cka", "svcca"):
        raise InputError(f"compare_encoders: measure must be cka or svcca, not '{measure}'")
    if len(images) < 4:
        raise InputError(f"compare_encoders: needs 4 images or more, has {len(images)}")
    shape = (len(first.channels), len(second.channels))
    measures = [[MinibatchCKA() if measure == "cka" else StreamingSVCCA() for _ in range(shape[1])] for _ in range(shape[0])]
    with _evaluated(first), _evaluated(second), torch.inference_mode():
        for rows in np.array_split(np.arange(len(images)), max(1, min(-(-len(images) // batch_size), len(images) // 4))):
            chosen = [(images[i], frames[i] if frames is not None else None) for i in rows]
            maps = [_maps(encoder, chosen) for encoder in (first, second)]
            if grid is None:
                grid = min(side for level in (*maps[0], *maps[1]) for side in level.shape[-2:])
            samples = [[_samples(level, grid) for level in levels] for levels in maps]
            for i, x in enumerate(samples[0]):
                for j, y in enumerate(samples[1]):
                    measures[i][j].update(x, y)
    return np.array([[m.result() for m in row] for row in measures])


def _maps(encoder: Encoder, images: Sequence[tuple[Any, int | None]]) -> list[Tensor]:
    loaded = [encoder.contract.load(image, frame=frame) for image, frame in images]
    if len({tuple(x.shape) for x in loaded}) > 1:
        raise InputError("compare_encoders: the images differ in size; give the encoder's contract a size")
    levels = encoder(torch.stack(loaded).to(next(encoder.parameters()).device))
    return [level.float() for level in levels]


def _samples(level_BCHW: Tensor, grid: int) -> NDArray[np.float64]:
    cells = F.adaptive_avg_pool2d(level_BCHW, grid)
    return cells.permute(0, 2, 3, 1).flatten(0, 2).double().cpu().numpy()


@contextlib.contextmanager
def _evaluated(encoder: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, and each of its parts back into its own."""
    modes = {module: module.training for module in encoder.modules()}
    encoder.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
