"""Running a model for the gallery: scores of rows, and the arrays behind a picture."""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from umsrep.errors import InputError
from umsrep.heads import ClassificationHead, DenoisingHead
from umsrep.tasks import classical
from umsrep.tasks.classification import Classification
from umsrep.tasks.data.dataset import JointDataset, Source, Target, collate
from umsrep.tasks.data.manifest import Manifest
from umsrep.tasks.denoising import Denoising, psnr
from umsrep.tasks.evaluate import collect, move
from umsrep.tasks.guarding import usable_guard
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.noise import GREY_LEVELS, add_noise
from umsrep.tasks.pictures import flat_mask, pictures_of
from umsrep.tasks.predict import Prediction, evaluation_mode, predict_loaded
from umsrep.tasks.segmentation import Segmentation
from umsrep.tasks.step import joint_outputs
from umsrep.tasks.task import Task

Style = Callable[[Tensor, str], Tensor]


@dataclasses.dataclass(frozen=True)
class Measured:
    """One head on rows of one set.

    Attributes:
        set: Name of the set.
        manifest: Its table.
        rows: The rows, [n].
        values: What the task measured of each, [n, ...].
        dataset: The items, in the order of ``rows``.
    """

    set: str
    manifest: Manifest
    rows: list[int]
    values: dict[str, np.ndarray]
    dataset: JointDataset

    @property
    def scores(self) -> np.ndarray:
        """The score of each row: mean Dice over the classes that are there, or the gain in PSNR (dB); nan where there is none."""
        if "dice" in self.values:
            known = np.isfinite(self.values["dice"])
            sums = np.where(known, self.values["dice"], 0).sum(1, dtype=np.float64)
            return np.asarray(np.where(known.any(1), sums / np.maximum(known.sum(1), 1), math.nan))
        return np.asarray(self.values["psnr"].astype(np.float64) - self.values["psnr_noisy"])


def measure(
    model: MultiTaskModel,
    name: str,
    task: Task,
    of: str,
    manifest: Manifest,
    rows: Sequence[int],
    *,
    target: Target | None = None,
    style: Style | None = None,
    seed: int = 0,
) -> Measured:
    """Run one head over rows that are annotated for it.

    Args:
        model: The model.
        name: Of the head.
        task: Its task.
        of: Name of the set.
        manifest: Its table.
        rows: Rows of it; those without annotation are left out.
        target: Where the annotation stands.
        style: What is done to each image, 0-1, before the model sees it.
        seed: Of the noise of denoising.

    Raises:
        InputError: as in evaluation; if no row is annotated.
    """
    every = _dataset(model, name, task, manifest, rows, target, seed)
    kept = [row for row, there in zip(rows, every.annotated[name], strict=True) if there]
    if not kept:
        raise InputError(f"{manifest.table}: none of {len(rows)} rows is annotated for '{name}'")
    dataset = _dataset(model, name, task, manifest, kept, target, seed)
    dataset.style = style
    return Measured(of, manifest, kept, collect(model, dataset)[name], dataset)


def _dataset(
    model: MultiTaskModel, name: str, task: Task, manifest: Manifest, rows: Sequence[int], target: Target | None, seed: int
) -> JointDataset:
    targets = {} if target is None else {name: target}
    return JointDataset([Source(manifest, rows, [name], targets)], {name: task}, model.encoder.contract, seed=seed)


@torch.inference_mode()
def arrays(model: MultiTaskModel, name: str, measured: Measured, chosen: Sequence[int]) -> list[dict[str, np.ndarray]]:
    """Return what is drawn of some items, each [H, W] at the model's size.

    Returns:
        ``image`` (as the model saw it, 0-1); of segmentation ``truth`` and ``predicted`` (class numbers, ignored pixels 0); of
        denoising ``noisy`` and ``denoised``.
    """
    batch = collate([measured.dataset[i] for i in chosen])
    if isinstance(batch, InputError):
        raise batch
    batch = move(batch, next(model.parameters()).device)
    task, contract = measured.dataset.tasks[name], model.encoder.contract
    found = [{"image": image} for image in pictures_of(contract.denormalise(batch["image"]))]
    if isinstance(task, Classification):
        return found
    with evaluation_mode(model):
        result = joint_outputs(model, batch, {name: task})[name][0]
    if isinstance(task, Segmentation):
        predicted = result.argmax(1, keepdim=True) if task.softmax else (result > 0).long()
        truth = batch[f"target.{name}"]
        truth = truth if truth.ndim == 4 else truth[:, None]
        for one, true, said in zip(found, truth, predicted, strict=True):
            ignored = (true == task.ignore_index).all(0).cpu().numpy()
            one["truth"], one["predicted"] = (np.where(ignored, 0, flat_mask(mask)) for mask in (true, said))
    else:
        for one, noisy, clean in zip(found, contract.denormalise(batch[f"noisy.{name}"]), result, strict=True):
            one["noisy"], one["denoised"] = noisy[0].float().cpu().numpy(), clean[0].float().cpu().numpy()
    return found


def noisy_style(sigma: float) -> Style:
    """Return what adds Gaussian noise of ``sigma`` (of 0-1) to an image and clips it to 0-1; the same for the same item."""

    def style(unit: Tensor, key: str) -> Tensor:
        generator = torch.Generator().manual_seed(zlib.crc32(key.encode()))
        return add_noise(unit, "gaussian", sigma * GREY_LEVELS, generator).clamp(0, 1)

    return style


def cleaned_style(model: MultiTaskModel, before: Style) -> Style | None:
    """Return ``before``, then the model's denoising head, as `predict` does under ``denoise_first``; None without one such head."""
    heads = [name for name, head in model.heads.items() if isinstance(head, DenoisingHead)]
    if len(heads) != 1:
        return None
    contract = model.encoder.contract

    @torch.inference_mode()
    def style(unit: Tensor, key: str) -> Tensor:
        x = contract.normalise(before(unit, key))[None].to(next(model.parameters()).device)
        with evaluation_mode(model):
            return contract.denormalise(model(x, heads)[heads[0]].float())[0].clamp(0, 1).cpu()

    return style


def look(model: MultiTaskModel, manifest: Manifest, rows: Sequence[int]) -> list[tuple[np.ndarray, dict[str, Prediction]]]:
    """Show pictures without a truth to a model: each as the model sees it, [H, W] in 0-1, and what every head but denoising says.

    The predictions carry the guard's score where the model has a guard.
    """
    contract = model.encoder.contract
    heads = [name for name, head in model.heads.items() if not isinstance(head, DenoisingHead)]
    guard = usable_guard(model, "warn")
    found = []
    for row in rows:
        loaded = contract.open(manifest.image(row), frame=manifest.frame(row))
        fitted = dataclasses.replace(loaded, unit_CHW=contract.fit(loaded.unit_CHW))
        (said,) = predict_loaded(model, [fitted], tasks=heads, guard=guard)
        found.append((pictures_of(fitted.unit_CHW[None])[0], said))
    return found


def threshold_of(model: MultiTaskModel, name: str) -> float | None:
    """Return from which probability of the second of two classes on a head says it; None where the most probable class counts."""
    head = model.heads[name]
    assert isinstance(head, ClassificationHead)
    if len(head.classes) != 2 or head.multi_label:
        return None
    return head.thresholds[0] if head.thresholds else 0.5


def best_filter(name: str, task: Denoising, tuning: JointDataset, count: int) -> tuple[classical.Tuned, float]:
    """Tune every classical filter on the first ``count`` items and return the best by its mean PSNR there, and the sigma it is told.

    The filters take white Gaussian noise. For other noise they are told the standard deviation of the noise of these items.
    """
    pairs = [_pair(name, tuning, i) for i in range(min(count, len(tuning)))]
    sigma = float(np.sqrt(np.mean([np.mean((noisy - clean) ** 2, dtype=np.float64) for clean, noisy in pairs])))
    if task.noise == "gaussian" and isinstance(task.level, float):
        sigma = task.level / GREY_LEVELS
    tuned = [classical.tune(key, [c for c, _ in pairs], [n for _, n in pairs], sigma) for key in classical.CLASSICAL]
    return max(tuned, key=lambda one: one.psnr), sigma


def filtered(tuned: classical.Tuned, sigma: float, noisy: np.ndarray, clean: np.ndarray) -> tuple[np.ndarray, float]:
    """Run a tuned filter on one image [H, W]; returns the result and its PSNR in dB."""
    out = classical.apply(tuned.name, noisy, sigma, **tuned.parameters)
    a, b = (torch.from_numpy(np.ascontiguousarray(x))[None, None] for x in (out, clean))
    return out, float(psnr(a, b))


def _pair(name: str, dataset: JointDataset, index: int) -> tuple[np.ndarray, np.ndarray]:
    item = dataset[index]
    if isinstance(item, InputError):
        raise item
    clean: np.ndarray = item[f"target.{name}"][0].numpy()
    noisy: np.ndarray = dataset.contract.denormalise(item[f"noisy.{name}"][None])[0, 0].numpy()
    return clean, noisy
