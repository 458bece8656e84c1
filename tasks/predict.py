"""Prediction on stored images: results at the original size, tiles with overlap, flips as test-time augmentation."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from PIL import Image as PILImage
from torch import Tensor, nn
from torch.nn import functional as F

from umsrep.errors import InputError
from umsrep.heads import ClassificationHead, DenoisingHead, SegmentationHead
from umsrep.tasks.guard import Guard, GuardMode
from umsrep.tasks.guarding import observed, tell_flagged, usable_guard
from umsrep.zoo.input_contract import ContractWarning, LoadedImage

if TYPE_CHECKING:
    from umsrep.tasks.model import MultiTaskModel

Image = str | Path | np.ndarray | PILImage.Image

# A denoiser works pixel by pixel of the stored image; above this side it does so in tiles, to bound the memory.
_NATIVE_TILE = 1024


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What one head says of one image, at the image's original size.

    Attributes:
        kind: "denoising", "segmentation" or "classification".
        classes: Names of the head's classes; empty for denoising.
        image: Denoising: the clean image, float32 [H, W] or [H, W, C], 0-1.
        mask: Segmentation: uint8 [H, W] class index (binary: 0 or 1); with overlapping classes [K, H, W] of 0 and 1.
        probabilities: Segmentation: float32 [K, H, W]. Classification: float32 [K].
        label: Classification: the class; with several labels a tuple of all above their thresholds.
        threshold: Classification: the decision threshold chosen on validation (two classes: on the second's probability; several
            labels: a tuple); None where the largest probability decides.
        out_of_distribution: Score of the model's guard, the same for all heads: the larger, the less the image is like the training
            images (docs/guard.md). None without a guard.
        flagged: Whether that score is above the guard's threshold, so that this prediction is not to be relied on; None without a guard.
    """

    kind: Literal["denoising", "segmentation", "classification"]
    classes: tuple[str, ...] = ()
    image: np.ndarray | None = None
    mask: np.ndarray | None = None
    probabilities: np.ndarray | None = None
    label: str | tuple[str, ...] | None = None
    threshold: float | tuple[float, ...] | None = None
    out_of_distribution: float | None = None
    flagged: bool | None = None


def predict(
    model: MultiTaskModel,
    images: Sequence[Image],
    *,
    tasks: Sequence[str] | None = None,
    batch_size: int = 8,
    tile: int | None = None,
    flips: bool = False,
    frame: int | None = None,
    lenient: bool = False,
    guard: GuardMode = "warn",
    denoise_first: bool = False,
) -> list[dict[str, Prediction]]:
    """Predict on stored images.

    Segmentation and classification see the image as the contract gives it (its size); masks are brought back to the original size.
    Denoising works on the stored pixels themselves, without resizing. With ``tile`` segmentation does too.

    Args:
        model: In evaluation or training mode; it is evaluated, and left as it was.
        images: Paths, arrays or PIL images, of any sizes.
        tasks: Names of heads; None for all.
        batch_size: Images in one pass.
        tile: Side in pixels of overlapping tiles (by a quarter, blended) at the image's own resolution, for dense heads.
        flips: Average with the prediction of the mirrored image.
        frame: Which image of files that hold several (DICOM and TIFF frames, NIfTI slices), from 0.
        lenient: Bend the contract's rules that can be bent, with a warning, instead of refusing; see `InputContract.load`.
        guard: What the model's guard, if it has one, does with an image that is unlike the training images: "warn" says so in the
            log (``umsrep.guard``) and in `Prediction.flagged`, "refuse" raises an error, "off" does not look.
        denoise_first: Give the other heads the image that the model's denoising head makes of theirs, as they see it; the guard still sees
            the image itself. On noisy images it can be worth much (docs/evaluation.md).

    Returns:
        One dict a image: head's name to `Prediction`. No image is ever left out.

    Raises:
        InputError: for an unreadable image, naming it; under "refuse" for a flagged one, and for a model without a guard;
            for ``denoise_first`` where there is not one denoising head;
            `ContractError` for an image that breaks a rule of the contract, naming both.
    """
    if isinstance(images, str | Path):
        raise InputError(f"images must be a list of images; for one: [{str(images)!r}]")
    if batch_size < 1:
        raise InputError(f"batch_size must be 1 or more, not {batch_size}")
    model.check_tasks(tasks)
    watching = usable_guard(model, guard)
    results: list[dict[str, Prediction]] = []
    for start in range(0, len(images), batch_size):
        loaded = [model.encoder.contract.open(image, frame=frame, lenient=lenient) for image in images[start : start + batch_size]]
        for line in dict.fromkeys(line for one in loaded for line in one.bent):
            warnings.warn(line, ContractWarning, stacklevel=3)
        some = predict_loaded(model, loaded, tasks=tasks, tile=tile, flips=flips, guard=watching, denoise_first=denoise_first)
        tell_flagged(loaded, some, watching, guard, first=start)
        results += some
    return results


@torch.inference_mode()
def predict_loaded(
    model: MultiTaskModel,
    images: Sequence[LoadedImage],
    *,
    tasks: Sequence[str] | None = None,
    tile: int | None = None,
    flips: bool = False,
    guard: Guard | None = None,
    denoise_first: bool = False,
) -> list[dict[str, Prediction]]:
    """Predict on images that the model's contract opened, in one pass; arguments, results and errors as in `predict`.

    ``guard`` (from `umsrep.tasks.guarding.usable_guard`) gives its score to each image; nothing is logged or refused.
    """
    names = model.check_tasks(tasks)
    if tile is not None and (tile < 2 * model.step or tile % model.step):
        raise InputError(f"tile must be a multiple of {model.step} from {2 * model.step} on, not {tile}")
    cleaner = _denoising_head(model) if denoise_first else None
    with evaluation_mode(model):
        return _predict_some(model, images, names, tile, flips, guard, cleaner)


def _denoising_head(model: MultiTaskModel) -> str:
    names = [name for name, head in model.heads.items() if isinstance(head, DenoisingHead)]
    if len(names) != 1:
        raise InputError(
            f"denoise_first needs a model with one denoising head; of its heads ({', '.join(model.heads)}) {len(names)} denoise"
        )
    return names[0]


@contextlib.contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, and afterwards every part of it back into the mode it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _predict_some(
    model: MultiTaskModel,
    images: Sequence[LoadedImage],
    names: list[str],
    tile: int | None,
    flips: bool,
    guard: Guard | None,
    cleaner: str | None,
) -> list[dict[str, Prediction]]:
    contract = model.encoder.contract
    device = next(model.parameters()).device
    units = [image.unit_CHW for image in images]
    native = {n for n in names if isinstance(model.heads[n], DenoisingHead) or (tile and isinstance(model.heads[n], SegmentationHead))}
    fitted = [n for n in names if n not in native]
    outputs: list[dict[str, Tensor]] = [{} for _ in units]
    scores: list[float | None] = [None] * len(units)
    if fitted or guard is not None:
        inputs = [contract.normalise(contract.fit(unit)) for unit in units]
        for image, one in zip(images, inputs, strict=True):
            contract.check_range(one, where=image.name)
        for rows in _same_shape(inputs):
            x = torch.stack([inputs[i] for i in rows]).to(device)
            found, some_scores = _guarded(model, x, fitted, flips, guard, cleaner)
            for i, score in zip(rows, some_scores, strict=True):
                scores[i] = score
            for name, out in found.items():
                for i, one in zip(rows, out, strict=True):
                    outputs[i][name] = _to_original(one, units[i], model) if one.ndim == 3 else one
    for name in native:
        for i, unit in enumerate(units):
            x = contract.normalise(unit)[None].to(device)
            contract.check_range(x, where=images[i].name)
            side = tile or _NATIVE_TILE
            first = None if isinstance(model.heads[name], DenoisingHead) else cleaner
            if max(x.shape[-2:]) > side:
                outputs[i][name] = _tiled(model, x, name, side, flips, first)
            else:
                outputs[i][name] = _flipped(model, _cleaned(model, x, first), [name], flips)[name][0]
    made = [{name: _prediction(model, name, out[name].cpu()) for name in names} for out in outputs]
    if guard is None:
        return made
    flags: list[dict[str, Any]] = [{"out_of_distribution": s, "flagged": s is not None and s > guard.threshold} for s in scores]
    return [{n: dataclasses.replace(p, **flag) for n, p in one.items()} for one, flag in zip(made, flags, strict=True)]


def _same_shape(inputs: list[Tensor]) -> Iterator[list[int]]:
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, x in enumerate(inputs):
        groups.setdefault(tuple(x.shape), []).append(i)
    yield from groups.values()


def _guarded(
    model: MultiTaskModel, x_BCHW: Tensor, names: list[str], flips: bool, guard: Guard | None, cleaner: str | None
) -> tuple[dict[str, Tensor], Sequence[float | None]]:
    """Return what `_flipped` does and the guard's scores; without a cleaner from one pass of the encoder."""
    clean = _cleaned(model, x_BCHW, cleaner)
    if guard is None:
        return _flipped(model, clean, names, flips), [None] * len(x_BCHW)
    shared = names if cleaner is None else []
    outputs, maps, _ = model.run(x_BCHW, list(dict.fromkeys([*shared, *filter(None, [guard.head])])), seen=True)
    found = guard.scores(observed(model, guard.score, guard.head, maps, outputs))
    if cleaner is not None:
        return _flipped(model, clean, names, flips), [float(s) for s in found]
    return _flipped(model, x_BCHW, names, flips, {name: outputs[name] for name in names}), [float(s) for s in found]


def _cleaned(model: MultiTaskModel, x_BCHW: Tensor, cleaner: str | None) -> Tensor:
    """Return what a denoising head makes of images, within the range of images; the images themselves without one."""
    if cleaner is None:
        return x_BCHW
    contract = model.encoder.contract
    return contract.normalise(contract.denormalise(model(x_BCHW, [cleaner])[cleaner].float()).clamp(0, 1))


def _flipped(
    model: MultiTaskModel, x_BCHW: Tensor, names: list[str], flips: bool, outputs: dict[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Return probabilities (or the clean image in 0-1), averaged over the mirrored image if asked; ``outputs`` are known already."""
    out = _activate(model, model(x_BCHW, names) if outputs is None else outputs)
    if flips:
        mirrored = _activate(model, model(x_BCHW.flip(-1), names))
        out = {n: (o + (mirrored[n].flip(-1) if o.ndim == 4 else mirrored[n])) / 2 for n, o in out.items()}
    return out


def _activate(model: MultiTaskModel, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
    result = {}
    for name, out in outputs.items():
        head = model.heads[name]
        if isinstance(head, DenoisingHead):
            result[name] = model.encoder.contract.denormalise(out.float()).clamp(0, 1)
        elif isinstance(head, SegmentationHead | ClassificationHead):
            sigmoid = head.multi_label or len(head.classes) == 1
            result[name] = out.float().sigmoid() if sigmoid else out.float().softmax(dim=1)
    return result


def _to_original(probabilities_KHW: Tensor, unit_CHW: Tensor, model: MultiTaskModel) -> Tensor:
    height, width = unit_CHW.shape[-2:]
    inner = model.encoder.contract.inner_size(height, width)
    out = probabilities_KHW[:, : inner[0], : inner[1]]
    if inner == (height, width):
        return out
    return F.interpolate(out[None], size=(height, width), mode="bilinear", align_corners=False)[0]


def _tiled(model: MultiTaskModel, x_1CHW: Tensor, name: str, side: int, flips: bool, cleaner: str | None) -> Tensor:
    """Blend overlapping tiles with a weight that falls linearly towards a tile's edges."""
    height, width = x_1CHW.shape[-2:]
    overlap = side // 4
    ramp = torch.minimum(torch.arange(1, side + 1), torch.arange(side, 0, -1)).clamp(max=overlap).to(x_1CHW.device, torch.float32) / overlap
    total: Tensor | None = None
    weight = x_1CHW.new_zeros(1, height, width)
    for top in _starts(height, side, overlap):
        for left in _starts(width, side, overlap):
            part = _cleaned(model, x_1CHW[..., top : top + side, left : left + side], cleaner)
            out = _flipped(model, part, [name], flips)[name][0]
            h, w = out.shape[-2:]
            blend = ramp[:h, None] * ramp[None, :w]
            if total is None:
                total = out.new_zeros(out.shape[0], height, width)
            total[:, top : top + h, left : left + w] += out * blend
            weight[:, top : top + h, left : left + w] += blend
    assert total is not None
    return total / weight


def _starts(length: int, side: int, overlap: int) -> list[int]:
    if length <= side:
        return [0]
    return [*range(0, length - side, side - overlap), length - side]


def _prediction(model: MultiTaskModel, name: str, out: Tensor) -> Prediction:
    head = model.heads[name]
    values = out.numpy()
    if isinstance(head, DenoisingHead):
        return Prediction("denoising", image=values[0] if len(values) == 1 else np.ascontiguousarray(np.moveaxis(values, 0, 2)))
    if isinstance(head, SegmentationHead):
        deep = np.uint8 if len(values) <= 256 else np.uint16
        if head.multi_label:
            mask = (values > 0.5).astype(np.uint8)
        else:
            mask = (values[0] > 0.5).astype(np.uint8) if len(values) == 1 else values.argmax(0).astype(deep)
        return Prediction("segmentation", head.classes, mask=mask, probabilities=values)
    assert isinstance(head, ClassificationHead)
    thresholds = head.thresholds
    label: str | tuple[str, ...]
    threshold: float | tuple[float, ...] | None = None
    if head.multi_label:
        threshold = thresholds or (0.5,) * len(head.classes)
        label = tuple(c for c, p, t in zip(head.classes, values, threshold, strict=True) if p >= t)
    elif len(head.classes) == 2:
        threshold = thresholds[0] if thresholds else 0.5
        label = head.classes[int(values[1] >= threshold)]
    else:
        label = head.classes[int(values.argmax())]
    return Prediction("classification", head.classes, probabilities=values, label=label, threshold=threshold)
