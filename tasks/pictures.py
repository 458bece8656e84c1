"""Pictures people look at: learning curves, samples, overlays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from umsrep.tasks.data.dataset import JointDataset, collate
from umsrep.tasks.denoising import Denoising
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.segmentation import Segmentation
from umsrep.tasks.step import joint_outputs

# Okabe-Ito: told apart with any colour vision
COLOURS = np.array(
    [[0, 0, 0], [230, 159, 0], [86, 180, 233], [0, 158, 115], [240, 228, 66], [0, 114, 178], [213, 94, 0], [204, 121, 167]], dtype=np.uint8
)
_KEY = {"segmentation": ("dice", "Dice"), "classification": ("auroc", "AUROC"), "denoising": ("psnr_gain", "PSNR gain (dB)")}


def overlay(image: np.ndarray, mask_HW: np.ndarray, alpha: float = 0.4) -> np.ndarray:
    """Colour an image by a mask.

    Args:
        image: [H, W] or [H, W, 3], 0-1.
        mask_HW: Class index, 0 = not coloured.
        alpha: Strength of the colour.

    Returns:
        uint8 [H, W, 3].
    """
    rgb = np.repeat(image[:, :, None], 3, axis=2) if image.ndim == 2 else image[:, :, :3]
    rgb = np.clip(rgb, 0, 1) * 255
    colour = COLOURS[np.where(mask_HW == 0, 0, (mask_HW.astype(int) - 1) % (len(COLOURS) - 1) + 1)]
    weight = alpha * (mask_HW > 0)[:, :, None]
    result: np.ndarray = np.round(rgb * (1 - weight) + colour * weight).astype(np.uint8)
    return result


def outlines(image: np.ndarray, mask_HW: np.ndarray, colour: tuple[int, int, int], *, dashed: bool = False, width: int = 1) -> np.ndarray:
    """Draw the inner border of every class of a mask into a picture.

    Args:
        image: uint8 [H, W] or [H, W, 3].
        mask_HW: Class index, 0 = no outline.
        colour: RGB.
        dashed: Leave gaps, so that what lies under the line stays visible.
        width: Of the line, in pixels.

    Returns:
        uint8 [H, W, 3].
    """
    drawn = np.repeat(image[:, :, None], 3, axis=2) if image.ndim == 2 else image.copy()
    border, left = np.zeros(mask_HW.shape, dtype=bool), mask_HW
    for _ in range(width):
        padded = np.pad(left, 1)
        shifted = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
        line = (left > 0) & np.any([neighbour != left for neighbour in shifted], axis=0)
        border |= line
        left = np.where(line, 0, left)
    if dashed:
        rows, columns = np.indices(mask_HW.shape)
        border &= (rows + columns) // (4 * width) % 2 == 0
    drawn[border] = colour
    return drawn


def mark_flagged(image_HW3: np.ndarray) -> np.ndarray:
    """Frame an overlay, uint8 [H, W, 3], that the guard flagged, and say so at its top as far as there is room; the size stays."""
    picture = Image.fromarray(image_HW3)
    draw = ImageDraw.Draw(picture)
    width, height = picture.size
    thick = max(1, min(width, height) // 64)
    red = tuple(int(v) for v in COLOURS[6])
    draw.rectangle((0, 0, width - 1, height - 1), outline=red, width=thick)
    font = ImageFont.load_default(size=max(8, min(width // 16, 24)))
    text = "unlike the training images: do not rely on this"
    box = draw.textbbox((thick, thick), text, font=font)
    if box[2] <= width and box[3] <= height // 4:
        draw.rectangle((0, 0, width - 1, int(box[3]) + 1), fill=red)
        draw.text((thick, thick), text, fill=(255, 255, 255), font=font)
    return np.array(picture)


def draw_curves(metrics: Path, out: Path) -> None:
    """Draw training losses and each task's main validation metric from metrics.jsonl."""
    import matplotlib  # half a second that only those who draw shall pay
    from matplotlib.figure import Figure

    entries = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    if not entries:
        return
    names = list(entries[0]["train"])
    with matplotlib.rc_context({"font.size": 9}):
        figure = Figure(figsize=(3.2 * len(names), 4.6), layout="constrained")
        axes = figure.subplots(2, len(names), squeeze=False, sharex=True)
        for column, name in enumerate(names):
            axes[0, column].plot([e["epoch"] for e in entries], [_number(e["train"][name]) for e in entries], marker=".", color="#0072B2")
            axes[0, column].set_title(name)
            axes[0, column].set_ylabel("training loss")
            measured = [e for e in entries if name in (e.get("validation") or {})]
            for key, label in _KEY.values():
                points = [(e["epoch"], _number(e["validation"][name][key])) for e in measured if key in e["validation"][name]]
                if points:
                    axes[1, column].plot(*zip(*points, strict=True), marker=".", color="#D55E00")
                    axes[1, column].set_ylabel(f"validation {label}")
            axes[1, column].set_xlabel("epoch")
            for row in (0, 1):
                axes[row, column].grid(alpha=0.3)
        figure.savefig(out, dpi=110)


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


@torch.inference_mode()
def draw_samples(model: MultiTaskModel, dataset: JointDataset, out: Path, count: int = 4) -> None:
    """Draw rows of input / noisy / denoised / predicted mask / true mask, with the classifier's word, for some items of a data set."""
    good = np.ones(len(dataset), dtype=int)
    for name in dataset.tasks:
        good += dataset.annotated[name]
    chosen = np.flatnonzero(good == good.max())
    chosen = chosen[np.linspace(0, len(chosen) - 1, min(count, len(chosen))).round().astype(int)]
    batch = collate([dataset[int(i)] for i in chosen])
    if not isinstance(batch, dict):
        raise batch
    device = next(model.parameters()).device
    batch = {k: v.to(device) for k, v in batch.items() if isinstance(v, torch.Tensor)}
    model.eval()
    outputs = joint_outputs(model, batch, dataset.tasks)
    contract = model.encoder.contract
    clean = pictures_of(contract.denormalise(batch["image"]))
    panels: list[tuple[str, dict[int, np.ndarray]]] = [("input", dict(enumerate(clean)))]  # by item: not all are annotated for every task
    captions = [""] * len(chosen)
    noisy_first = sorted(outputs.items(), key=lambda item: not isinstance(dataset.tasks[item[0]], Denoising))
    for name, (result, _) in noisy_first:
        task, places = dataset.tasks[name], batch[f"rows.{name}"].tolist()
        if isinstance(task, Denoising):
            noisy = pictures_of(contract.denormalise(batch[f"noisy.{name}"]))
            panels += [
                ("noisy", dict(zip(places, noisy, strict=True))),
                (f"{name} (result)", dict(zip(places, pictures_of(result), strict=True))),
            ]
        elif isinstance(task, Segmentation):
            masks = (result.sigmoid() > 0.5).long() if not task.softmax else result.argmax(1, keepdim=True)
            truths = batch[f"target.{name}"]
            truths = truths if truths.ndim == 4 else truths[:, None]
            for title, shown in ((name, masks), (f"{name} (truth)", truths)):
                panels.append((title, {i: overlay(clean[i], flat_mask(m)) for i, m in zip(places, shown, strict=True)}))
        else:
            classes = task.classes  # type: ignore[attr-defined]  # a Classification
            for i, logits, truth in zip(places, result.cpu(), batch[f"target.{name}"].cpu(), strict=True):
                if truth.ndim == 0:
                    captions[i] += f"{name}: {classes[int(logits.argmax())]} ({logits.softmax(0).max():.2f}), truth {classes[int(truth)]}\n"
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.1 * len(panels), 2.4 * len(chosen)), layout="constrained")
    axes = figure.subplots(len(chosen), len(panels), squeeze=False)
    for column, (title, images) in enumerate(panels):
        for row in range(len(chosen)):
            axis = axes[row, column]
            if row == 0:
                axis.set_title(title, fontsize=9)
            picture = images.get(row)
            if picture is None:
                axis.axis("off")
                continue
            axis.imshow(picture, cmap="gray", vmin=0, vmax=1 if picture.dtype != np.uint8 else 255)
            axis.set_xticks([])
            axis.set_yticks([])
            if column == 0:
                axis.set_xlabel(captions[row].strip(), fontsize=7, loc="left")
    figure.savefig(out, dpi=110)


def pictures_of(x_BCHW: torch.Tensor) -> list[np.ndarray]:
    """Return each image of a batch in 0-1 as an array [H, W], or [H, W, 3] where it has three channels; clipped."""
    arrays = x_BCHW.float().clamp(0, 1).cpu().numpy()
    return [a[0] if a.shape[0] != 3 else np.moveaxis(a, 0, 2) for a in arrays]


def flat_mask(mask_KHW: torch.Tensor) -> np.ndarray:
    """Return one picture of a mask: the class index, or of several overlapping classes the highest number present; ignored = 0."""
    mask = mask_KHW.cpu().numpy().astype(int)
    mask = np.where(mask == 255, 0, mask)
    if len(mask) == 1:
        one: np.ndarray = mask[0]
        return one
    highest: np.ndarray = (mask * np.arange(1, len(mask) + 1)[:, None, None]).max(0)
    return highest


def save_png(path: Path, image: np.ndarray) -> None:
    """Write uint8 [H, W(, 3)] as it is, or float 0-1 as 8 bits."""
    if image.dtype != np.uint8:
        image = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    Image.fromarray(image).save(path)
