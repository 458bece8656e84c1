"""The failure gallery: the worst rows of each head as pictures, and some drawn at random, so that nobody takes the worst for all."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from umsrep.errors import InputError
from umsrep.tasks.data.dataset import JointDataset, collate
from umsrep.tasks.evaluate import move
from umsrep.tasks.evaluation.page_text import group_name, number
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.pictures import flat_mask, outlines, pictures_of, save_png
from umsrep.tasks.predict import evaluation_mode
from umsrep.tasks.segmentation import Segmentation
from umsrep.tasks.step import joint_outputs

WORST, RANDOM = 6, 3
_SIDE = 256
_GAP = 6
TRUTH, PREDICTED = (86, 180, 233), (230, 159, 0)
"""Outlines: sky blue, whole, for the truth and orange, dashed, for the prediction (Okabe-Ito)."""


def draw_gallery(
    found: Mapping[str, Any],
    model: MultiTaskModel,
    dataset: JointDataset,
    folder: Path,
    *,
    worst: int = WORST,
    ids: bool = False,
) -> dict[str, Any]:
    """Draw each head's worst rows and half as many at random, as the model sees them.

    Args:
        found: From `umsrep.tasks.evaluation.review.review`; its records say which rows are the worst.
        model: That was reviewed.
        dataset: What `umsrep.tasks.evaluate.evaluation_set` makes of the same arguments as the review's.
        folder: Where review.json lies; the pictures come into ``gallery/`` in it, and those of an earlier gallery go.
        worst: Pictures of the worst rows of a head; 0 draws nothing.
        ids: Name file and patient under a picture. They may be private: without, only the row and the site are named.

    Returns:
        Head's name to ``worst`` and ``random``: a list of ``row``, ``picture`` (path from ``folder``) and ``caption``; and
        ``worst_note``, ``random_note``.

    Raises:
        InputError: for a row of the review that the data no longer hold.
    """
    if worst < 0:
        raise InputError(f"the number of pictures must be 0 or more, not {worst}")
    place = folder / "gallery"
    for old in place.glob("[wr]*-[0-9]*.png"):
        old.unlink()
    if not worst:
        return {}
    place.mkdir(parents=True, exist_ok=True)
    at = {row: index for index, (_, row) in enumerate(dataset.items)}
    gallery: dict[str, Any] = {}
    for number_of_head, (name, task) in enumerate(found["tasks"].items()):
        chosen = choose_cases(task, worst, max(1, worst // 2))
        entry: dict[str, Any] = {"worst_note": _worst_note(task, len(chosen["worst"])), "random_note": _LEGEND.get(task["kind"], "")}
        for key, records in chosen.items():
            if missing := [record["row"] for record in records if record["row"] not in at]:
                raise InputError(f"row {missing[0]} of the review is not in the data: they changed, or other arguments were given")
            drawn = _draw(model, dataset, name, [at[record["row"]] for record in records])
            entry[key] = []
            for k, (record, picture) in enumerate(zip(records, drawn, strict=True)):
                file = f"gallery/{key}-{number_of_head}-{k}.png"  # no name of a head, which may be anything, in a path
                save_png(folder / file, picture)
                entry[key].append({"row": record["row"], "picture": file, "caption": caption(task, record, ids=ids)})
        gallery[name] = entry
    return gallery


# ---- which rows ----------------------------------------------------------------------------------------------------
def choose_cases(task: Mapping[str, Any], worst: int, random: int) -> dict[str, list[Mapping[str, Any]]]:
    """Return the worst records, the worst first, and some of the others at random, always the same.

    Classification: wrong rows by their loss, so that what was wrong and sure comes first; dense heads: the lowest score. Rows without
    a score are never among the worst.
    """
    records = task["records"]
    if task["kind"] == "classification":
        bad = sorted((r for r in records if r["correct"] is False and _known(r["loss"])), key=lambda r: (-r["loss"], r["row"]))
    else:
        bad = sorted((r for r in records if _known(r["score"])), key=lambda r: (r["score"], r["row"]))
    taken = {record["row"] for record in bad[:worst]}
    others = [record for record in records if record["row"] not in taken]
    drawn = np.random.default_rng(0).permutation(len(others))[:random]
    return {"worst": bad[:worst], "random": [others[k] for k in drawn]}


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _worst_note(task: Mapping[str, Any], shown: int) -> str:
    records = task["records"]
    if task["kind"] == "classification":
        wrong = sum(r["correct"] is False for r in records)
        return (
            f"{wrong:,} of {len(records):,} rows are wrong at the threshold in use; the {shown} with the largest loss."
            if wrong
            else (f"None of {len(records):,} rows is wrong at the threshold in use.")
        )
    undefined = sum(not _known(r["score"]) for r in records)
    what = "mean Dice" if task["kind"] == "segmentation" else "gain in PSNR"
    more = f" {undefined:,} rows have none and are not among them." if undefined else ""
    return f"The {shown} of {len(records):,} rows with the lowest {what}.{more} {_LEGEND[task['kind']]}"


_LEGEND = {
    "segmentation": "Left the image, right with outlines: blue is the truth, orange and dashed the prediction.",
    "denoising": "From the left: noisy, denoised, clean.",
}


def caption(task: Mapping[str, Any], record: Mapping[str, Any], *, ids: bool) -> str:
    """Say under a picture which row it is and what the model made of it."""
    where = f"row {record['row']}"
    if record.get("site"):
        where += f", site {record['site']}"
    if ids:
        where += f", {record['file']}, patient {group_name(record['patient'])}"
    return f"{where}: {_outcome(task, record)}"


def _outcome(task: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    if task["kind"] == "denoising":
        noisy, clean, gain = (number(record[key], 2) for key in ("psnr_noisy", "psnr", "score"))
        return f"PSNR {noisy} dB noisy, {clean} dB denoised, gain {gain} dB"
    if task["kind"] == "segmentation":
        parts = []
        for name, dice in record["dice"].items():
            far = record["hd95"].get(name)
            parts.append(f"{name} Dice {number(dice)}" + (f", HD95 {number(far, 1)} px" if far is not None else ", HD95 undefined"))
        return "; ".join(parts)
    if isinstance(record["truth"], Mapping):
        parts = [
            f"{name} {number(record['probabilities'][name], 2)} (truth {'yes' if truth else 'no'})"
            for name, truth in record["truth"].items()
            if truth is not None and bool(truth) != bool(record["predicted"][name])
        ]
        return "wrong: " + ", ".join(parts) if parts else "all labels right"
    sure = record["probabilities"].get(record["predicted"])
    return f"truth {record['truth']}, predicted {record['predicted']} (probability {number(sure, 2)})"


# ---- pictures ------------------------------------------------------------------------------------------------------
@torch.inference_mode()
def _draw(model: MultiTaskModel, dataset: JointDataset, name: str, indices: Sequence[int]) -> list[np.ndarray]:
    """Return a picture of each item: uint8 [H, W] or [H, W, 3]."""
    if not indices:
        return []
    batch = collate([dataset[index] for index in indices])
    if isinstance(batch, InputError):
        raise batch
    batch = move(batch, next(model.parameters()).device)
    task = dataset.tasks[name]
    contract = model.encoder.contract
    clean = pictures_of(contract.denormalise(batch["image"]))
    if task.kind == "classification":
        return [_bytes(_enlarged(one)) for one in clean]
    with evaluation_mode(model):
        result = joint_outputs(model, batch, {name: task})[name][0]
    if not isinstance(task, Segmentation):
        noisy = pictures_of(contract.denormalise(batch[f"noisy.{name}"]))
        return [_beside([_bytes(_enlarged(p)) for p in row]) for row in zip(noisy, pictures_of(result), clean, strict=True)]
    predicted = result.argmax(1, keepdim=True) if task.softmax else (result > 0).long()
    truth = batch[f"target.{name}"]
    truth = truth if truth.ndim == 4 else truth[:, None]
    drawn = []
    for image, true, said in zip(clean, truth, predicted, strict=True):
        large = _bytes(_enlarged(image))
        ignored = (true == task.ignore_index).all(0).cpu().numpy()
        masks = [_repeated(np.where(ignored, 0, flat_mask(mask)), large.shape) for mask in (true, said)]
        marked = outlines(large, masks[0], TRUTH, width=2)
        drawn.append(_beside([large, outlines(marked, masks[1], PREDICTED, dashed=True, width=2)]))
    return drawn


def _factor(shape: tuple[int, ...]) -> int:
    return max(1, -(-_SIDE // max(shape[:2])))


def _enlarged(image: np.ndarray) -> np.ndarray:
    """Enlarge a small picture by a whole number, so that its masks can follow exactly."""
    factor = _factor(image.shape)
    if factor == 1:
        return image
    planes = [image] if image.ndim == 2 else list(np.moveaxis(image, 2, 0))
    size = (image.shape[1] * factor, image.shape[0] * factor)
    large = [np.asarray(Image.fromarray(p.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)) for p in planes]
    return large[0] if image.ndim == 2 else np.stack(large, axis=2)


def _repeated(mask_HW: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    factor = shape[0] // mask_HW.shape[0]
    large: np.ndarray = mask_HW.repeat(factor, 0).repeat(factor, 1)
    return large


def _bytes(image: np.ndarray) -> np.ndarray:
    eight: np.ndarray = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return eight


def _beside(panels: Sequence[np.ndarray]) -> np.ndarray:
    """Put pictures of one height side by side, with a gap; grey stays grey where all are."""
    colour = any(p.ndim == 3 for p in panels)
    panels = [np.repeat(p[:, :, None], 3, axis=2) if colour and p.ndim == 2 else p for p in panels]
    gap = np.full((panels[0].shape[0], _GAP, *panels[0].shape[2:]), 128, dtype=np.uint8)
    parts = [part for panel in panels for part in (gap, panel)][1:]
    joined: np.ndarray = np.concatenate(parts, axis=1)
    return joined
