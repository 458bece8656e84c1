"""Files that `umsrep predict` writes: denoised image, mask, overlay, and one JSON file with the probabilities."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from umsrep.errors import InputError
from umsrep.tasks.guard import Guard, GuardMode
from umsrep.tasks.guarding import tell_flagged, usable_guard
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.pictures import mark_flagged, overlay, save_png
from umsrep.tasks.predict import Prediction, predict_loaded
from umsrep.tasks.progress import track
from umsrep.zoo.input_contract import ContractWarning


def predict_files(
    model: MultiTaskModel,
    images: Sequence[str | Path],
    out: Path,
    *,
    tasks: Sequence[str] | None = None,
    batch_size: int = 8,
    tile: int | None = None,
    flips: bool = False,
    frame: int | None = None,
    lenient: bool = False,
    guard: GuardMode = "warn",
    denoise_first: bool = False,
) -> list[dict[str, Any]]:
    """Predict on files and write the results; ``NAME.<head>.png``, ``NAME.<head>.overlay.png`` and ``predictions.json``.

    Args:
        model: The model.
        images: Files; those with the same name get a number.
        out: Folder, made if absent.
        tasks: See `predict`.
        batch_size: See `predict`.
        tile: See `predict`.
        flips: See `predict`.
        frame: See `predict`.
        lenient: See `predict`; an image for which a rule of the contract was bent says so in its entry (``bent``).
        guard: See `predict`; under "refuse" nothing of the batch with a flagged image is written.
        denoise_first: See `predict`; entries say so (``denoised_first``).

    Returns:
        One entry a image, as in predictions.json: ``file``, ``frame`` where one was chosen, ``spacing_mm`` (of a pixel of the image and
        of the masks, row and column) where the file says it, ``out_of_distribution`` (``score``, ``threshold``, ``flagged``) where the
        model has a guard, and the heads' results. Nothing else of a file's header is kept.

    Raises:
        InputError: for an unreadable image (before anything of its batch is written) or a folder that cannot be written.
    """
    if batch_size < 1:
        raise InputError(f"batch_size must be 1 or more, not {batch_size}")
    watching = usable_guard(model, guard)
    names = _names([Path(image) for image in images])
    summary: list[dict[str, Any]] = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        starts = range(0, len(images), batch_size)
        for start in track(starts, "predicting", total=len(starts)):
            some = images[start : start + batch_size]
            loaded = [model.encoder.contract.open(path, frame=frame, lenient=lenient) for path in some]
            for line in dict.fromkeys(line for one in loaded for line in one.bent):
                warnings.warn(line, ContractWarning, stacklevel=2)
            results = predict_loaded(model, loaded, tasks=tasks, tile=tile, flips=flips, guard=watching, denoise_first=denoise_first)
            tell_flagged(loaded, results, watching, guard, first=start)
            for path, one, result in zip(some, loaded, results, strict=True):
                name = names[len(summary)]
                known: dict[str, Any] = {"frame": frame, "spacing_mm": one.spacing and list(one.spacing), "bent": list(one.bent) or None}
                known["denoised_first"] = denoise_first or None
                known["out_of_distribution"] = _strangeness(result, watching)
                entry: dict[str, Any] = {"file": str(path), **{key: value for key, value in known.items() if value is not None}}
                unit = one.unit_CHW.numpy()
                picture = unit[0] if len(unit) != 3 else np.moveaxis(unit, 0, 2)
                for head, prediction in result.items():
                    entry[head] = _write_one(out, name, head, prediction, picture)
                summary.append(entry)
        (out / "predictions.json").write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{out}: cannot write the predictions ({error.strerror or error})") from error
    return summary


def _strangeness(result: Mapping[str, Prediction], guard: Guard | None) -> dict[str, Any] | None:
    """Return what the guard said of an image."""
    if guard is None or not result:
        return None
    one = next(iter(result.values()))
    return {"score": one.out_of_distribution, "threshold": guard.threshold, "flagged": one.flagged}


def _write_one(out: Path, name: str, head: str, prediction: Prediction, picture: np.ndarray) -> dict[str, Any]:
    if prediction.kind == "classification":
        assert prediction.probabilities is not None
        probabilities = {c: round(float(p), 6) for c, p in zip(prediction.classes, prediction.probabilities, strict=True)}
        threshold = list(prediction.threshold) if isinstance(prediction.threshold, tuple) else prediction.threshold
        label = list(prediction.label) if isinstance(prediction.label, tuple) else prediction.label
        return {"label": label, "probabilities": probabilities, "threshold": threshold}
    if prediction.kind == "denoising":
        assert prediction.image is not None
        save_png(out / f"{name}.{head}.png", prediction.image)
        return {"image": f"{name}.{head}.png"}
    assert prediction.mask is not None
    assert prediction.probabilities is not None
    mask = prediction.mask
    entry: dict[str, Any] = {}
    if mask.ndim == 3:
        files = {}
        for number, (label, plane) in enumerate(zip(prediction.classes, mask, strict=True)):
            # a class may be called anything, also 'overlay' or 'a/b'
            files[label] = f"{name}.{head}.mask-{number}-{re.sub(r'[^A-Za-z0-9_-]+', '_', label)}.png"
            save_png(out / files[label], plane)
        entry["masks"] = files
        mask = (mask * np.arange(1, len(mask) + 1, dtype=np.uint8)[:, None, None]).max(0)
        shares = prediction.mask.mean((1, 2))
    else:
        save_png(out / f"{name}.{head}.png", mask)
        entry["mask"] = f"{name}.{head}.png"
        offset = 1 if len(prediction.classes) == 1 else 0
        shares = np.array([(mask == k + offset).mean() for k in range(len(prediction.classes))])
    drawn = overlay(picture, mask)
    save_png(out / f"{name}.{head}.overlay.png", mark_flagged(drawn) if prediction.flagged else drawn)
    entry["overlay"] = f"{name}.{head}.overlay.png"
    return {
        **entry,
        "area_fraction": {c: round(float(s), 6) for c, s in zip(prediction.classes, shares, strict=True)},
        "mean_probability": {c: round(float(p), 6) for c, p in zip(prediction.classes, prediction.probabilities.mean((1, 2)), strict=True)},
    }


def _names(paths: Sequence[Path]) -> list[str]:
    """Return a file name stem for each image, all different."""
    used: set[str] = set()
    names = []
    for path in paths:
        name, number = path.stem, 1
        while name in used:
            number += 1
            name = f"{path.stem}-{number}"
        used.add(name)
        names.append(name)
    return names
