"""Sheets of small pictures with captions, and their files, small enough for a repository."""

from __future__ import annotations

import dataclasses
import functools
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from umsrep.errors import InputError
from umsrep.tasks.pictures import outlines

GAP, LINE, FONT = 6, 15, 12
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
Colour = tuple[int, int, int]
TRUTH: tuple[Colour, ...] = ((86, 180, 233), (240, 228, 66), (0, 158, 115))
PREDICTED: tuple[Colour, ...] = ((230, 159, 0), (204, 121, 167), (213, 94, 0))
"""Of the first, second, third class (Okabe-Ito): sky blue and orange, yellow and reddish purple, bluish green and vermillion."""
QUALITIES = range(85, 29, -5)
ERROR_WHITE = 0.15
"""Error, of 0-1, from which on an error map is white."""


@dataclasses.dataclass(frozen=True)
class Panel:
    """One picture of a sheet: uint8 [H, W] or [H, W, 3], with what stands under it."""

    picture: np.ndarray
    lines: tuple[str, ...] = ()


def grey(image_HW: np.ndarray, side: int) -> np.ndarray:
    """Return an image in 0-1 (clipped) as uint8, enlarged or shrunk to ``side`` pixels a side by bilinear interpolation."""
    plane = Image.fromarray(np.clip(image_HW, 0, 1).astype(np.float32))
    size = (side, side)
    large = np.asarray(plane if plane.size == size else plane.resize(size, Image.Resampling.BILINEAR))
    return np.asarray(np.round(large * 255).astype(np.uint8))


def error_map(image_HW: np.ndarray, clean_HW: np.ndarray, side: int) -> np.ndarray:
    """Draw the absolute difference of two images, black for 0 and white for `ERROR_WHITE` and more: uint8 [side, side]."""
    return grey(np.abs(image_HW - clean_HW) / ERROR_WHITE, side)


def resized_mask(mask_HW: np.ndarray, side: int) -> np.ndarray:
    """Resize a mask of class numbers to ``side`` pixels a side; a pixel belongs to the class that weighs most there."""
    classes = np.unique(mask_HW)
    planes = [Image.fromarray((mask_HW == c).astype(np.float32)).resize((side, side), Image.Resampling.BILINEAR) for c in classes]
    return np.asarray(classes[np.argmax([np.asarray(p) for p in planes], axis=0)])


def outlined(image_HW: np.ndarray, truth: np.ndarray | None, predicted: np.ndarray | None, side: int) -> np.ndarray:
    """Draw an image in 0-1 with the outlines of masks: the truth's whole, the prediction's dashed, colours as in `legend`."""
    drawn = grey(image_HW, side)
    drawn = np.repeat(drawn[:, :, None], 3, axis=2)
    for mask, colours, dashed in ((truth, TRUTH, False), (predicted, PREDICTED, True)):
        if mask is None:
            continue
        large = resized_mask(mask, side)
        for k in [int(k) for k in np.unique(large) if k > 0]:
            drawn = outlines(drawn, (large == k).astype(int), colours[(k - 1) % len(colours)], dashed=dashed, width=2)
    return drawn


def legend(classes: Sequence[str], *, truth: bool = True) -> list[tuple[str, Colour, bool]]:
    """Return what the lines of `outlined` mean, of the foreground classes: text, colour, dashed."""
    lines: list[tuple[str, Colour, bool]] = []
    for k, name in enumerate(classes):
        if truth:
            lines.append((f"{name}, truth", TRUTH[k % len(TRUTH)], False))
        lines.append((f"{name}, prediction", PREDICTED[k % len(PREDICTED)], True))
    return lines


@functools.cache
def _font() -> ImageFont.FreeTypeFont:
    import matplotlib  # its DejaVu Sans has all signs that captions use

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), FONT)


def wrapped(text: str, width: int) -> list[str]:
    """Break a text into lines of at most ``width`` pixels, at spaces and after underscores where that goes."""
    font = _font()
    lines = [""]
    for part in re.findall(r"\s?[^\s_]+_*|\s?_+", " ".join(text.split())):
        if font.getlength(lines[-1] + part) <= width:
            lines[-1] += part
            continue
        lines += [""] * bool(lines[-1])
        for sign in part.lstrip():  # one part may be wider than a line
            if lines[-1] and font.getlength(lines[-1] + sign) > width:
                lines.append("")
            lines[-1] += sign
    return lines


def sheet(
    panels: Sequence[Panel], columns: int, *, titles: Sequence[str] = (), lines: Sequence[tuple[str, Colour, bool]] = ()
) -> np.ndarray:
    """Put panels in rows.

    Args:
        panels: All of one size, in reading order.
        columns: Panels a row.
        titles: Over the columns.
        lines: A legend beneath, from `legend`.

    Returns:
        uint8 [H, W, 3]; captions are wrapped to their panel's width, so that none is cut off.

    Raises:
        InputError: without panels, or for panels of different sizes.
    """
    sizes = {p.picture.shape[:2] for p in panels}
    if len(sizes) != 1:
        raise InputError(f"a sheet needs panels of one size, got {sorted(sizes)}")
    ((height, width),) = sizes
    texts = [[part for line in p.lines for part in wrapped(line, width)] for p in panels]
    rows = [range(start, min(start + columns, len(panels))) for start in range(0, len(panels), columns)]
    heads = [wrapped(title, width) for title in titles]
    top = LINE * max((len(h) for h in heads), default=0)
    heights = [height + LINE * max(len(texts[i]) for i in row) + 2 * GAP for row in rows]
    total = columns * (width + GAP) - GAP
    marks = _placed(lines, total)
    canvas = Image.new("RGB", (total, top + sum(heights) + LINE * (1 + marks[-1][0] if marks else 0)), WHITE)
    draw = ImageDraw.Draw(canvas)
    for column, head in enumerate(heads):
        for k, text in enumerate(head):
            draw.text((column * (width + GAP), k * LINE), text, BLACK, font=_font())
    down = top
    for row, tall in zip(rows, heights, strict=True):
        for column, i in enumerate(row):
            left = column * (width + GAP)
            canvas.paste(Image.fromarray(panels[i].picture).convert("RGB"), (left, down))
            for k, text in enumerate(texts[i]):
                draw.text((left, down + height + 2 + k * LINE), text, BLACK, font=_font())
        down += tall
    for level, left, (text, colour, dashed) in marks:
        middle = down + level * LINE + LINE // 2
        draw.rectangle((left, middle - 4, left + 30, middle + 4), fill=(64, 64, 64))
        for x in range(left + 2, left + 28, 8):
            draw.line((x, middle, min(x + (4 if dashed else 8), left + 28), middle), fill=colour, width=3)
        draw.text((left + 36, down + level * LINE), text, BLACK, font=_font())
    return np.asarray(canvas)


def _placed(lines: Sequence[tuple[str, Colour, bool]], width: int) -> list[tuple[int, int, tuple[str, Colour, bool]]]:
    """Return each entry of a legend with its line and left end."""
    placed, level, left = [], 0, 0
    for entry in lines:
        wide = 36 + int(_font().getlength(entry[0])) + 18
        if left and left + wide > width:
            level, left = level + 1, 0
        placed.append((level, left, entry))
        left += wide
    return placed


def encode(sheets: Mapping[str, np.ndarray], *, each: int, together: int) -> tuple[dict[str, bytes], int]:
    """Encode sheets as JPEG, all at one quality, the highest of `QUALITIES` at which they are small enough.

    Args:
        sheets: Name to uint8 [H, W, 3].
        each: Most bytes of one.
        together: Most bytes of all.

    Returns:
        Name to the file's bytes, and the quality.

    Raises:
        InputError: if the lowest quality is not small enough.
    """
    for quality in QUALITIES:
        files = {}
        for name, picture in sheets.items():
            stream = io.BytesIO()
            plain = picture[:, :, 0] if (picture == picture[:, :, :1]).all() else picture
            # subsampling 0: thin lines keep their colour
            Image.fromarray(plain).save(stream, "JPEG", quality=quality, subsampling=0, optimize=True, progressive=True)
            files[name] = stream.getvalue()
        sizes = [len(data) for data in files.values()]
        if max(sizes, default=0) <= each and sum(sizes) <= together:
            return files, quality
    raise InputError(f"the sheets take {sum(sizes):,} bytes at quality {quality}, of {together:,} allowed; show fewer pictures")
