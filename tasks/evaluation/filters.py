"""Classical denoisers beside the model, on the same noisy pixels: tuned on calibration rows, measured on the reviewed ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from umsrep.errors import InputError
from umsrep.tasks.classical import CLASSICAL, apply, tune
from umsrep.tasks.data.dataset import JointDataset
from umsrep.tasks.denoising import Denoising, psnr, ssim
from umsrep.tasks.evaluation.resample import Draws, mean_estimates
from umsrep.tasks.progress import track

TUNED_ON = 8
"""Images that filters are tuned on: their optimum is flat, and a grid over more takes minutes."""
USUAL = ("tv", "nlm", "bayes_shrink")


def classical_block(
    name: str,
    task: Denoising,
    dataset: JointDataset,
    rows: Mapping[str, np.ndarray],
    tuning: JointDataset,
    draws: Draws,
    *,
    filters: Sequence[str] = USUAL,
    title: str | None = None,
) -> dict[str, Any]:
    """Return the schema's ``classical``.

    Args:
        name: Of the denoising head.
        task: White Gaussian noise of one level: the filters are told its sigma.
        dataset: The reviewed items.
        rows: The model's per-row statistics on them.
        tuning: Items to tune on, the first eight.
        draws: Over the rows.
        filters: Of `CLASSICAL`.
        title: Of the progress bar, or None.

    Raises:
        InputError: for another noise, or an unknown filter.
    """
    if task.noise != "gaussian" or not isinstance(task.level, float) or task.level <= 0:
        raise InputError(
            f"classical filters need gaussian noise of one level above 0, not {task.noise} of {task.level}; leave --classical out"
        )
    for key in filters:
        if key not in CLASSICAL:
            raise InputError(f"no classical filter '{key}'; there is {', '.join(CLASSICAL)}")
    sigma = task.level / 255
    pairs = [_pair(name, tuning, index) for index in range(min(TUNED_ON, len(tuning)))]
    tuned = {key: tune(key, [c for c, _ in pairs], [n for _, n in pairs], sigma) for key in filters}
    measured: dict[str, list[tuple[float, float]]] = {key: [] for key in filters}
    index = rows["index"].tolist()
    for i in track(index, title, total=len(index)):
        clean, noisy = _pair(name, dataset, i)
        for key, found in tuned.items():
            out = apply(key, noisy, sigma, **found.parameters)
            a, b = (torch.from_numpy(np.ascontiguousarray(x))[None] for x in (out, clean))
            measured[key].append((float(psnr(a, b)), float(ssim(a, b))))
    result = {}
    for key, values in measured.items():
        of_filter = np.array(values)
        numbers = {"psnr": of_filter[:, 0], "psnr_gain": of_filter[:, 0] - rows["psnr_noisy"], "ssim": of_filter[:, 1]}
        numbers["difference"] = rows["psnr"] - of_filter[:, 0]
        about = {"title": CLASSICAL[key].title, "parameters": tuned[key].parameters, "tuned_on": len(pairs)}
        result[key] = about | mean_estimates(numbers, draws)
    return result


def _pair(name: str, dataset: JointDataset, index: int) -> tuple[np.ndarray, np.ndarray]:
    item = dataset[index]
    if isinstance(item, InputError):
        raise item
    clean: np.ndarray = item[f"target.{name}"].numpy()
    noisy: np.ndarray = dataset.contract.denormalise(item[f"noisy.{name}"][None])[0].numpy()
    return clean, noisy
