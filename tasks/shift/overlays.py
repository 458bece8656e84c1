"""Things laid over an image [B, C, H, W]: bubbles, stains, a black rim, characters, burned-in text.

A seed fixes a list of things; a severity shows the first of them and how large, so that more severity never takes one away. Lengths are
in pixels at 224 px (`filters.length`).
"""

from __future__ import annotations

import functools
import math
import string

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from umsrep.tasks.shift.draws import Draws
from umsrep.tasks.shift.filters import length

_MOST = 32
"""Things in a seed's list."""


def _axes(image: Tensor) -> tuple[Tensor, Tensor]:
    height, width = image.shape[-2:]
    rows = torch.arange(height, device=image.device, dtype=torch.float32)[:, None] + 0.5
    columns = torch.arange(width, device=image.device, dtype=torch.float32)[None, :] + 0.5
    return rows, columns


def _disc(distance: Tensor, radius: Tensor | float) -> Tensor:
    """Share of a pixel that a disc covers: a linear edge of one pixel."""
    return (radius - distance + 0.5).clamp(0, 1)


def bubbles(image: Tensor, magnitude: tuple[float, float], draws: Draws) -> Tensor:
    """Air bubbles in a mounted slide: white discs of 100/255 opacity in a rim of 2 pixels of 130/255.

    ``magnitude`` is (largest radius in pixels at 224 px, number). Radii are even from 3 pixels to the largest; the original draws the
    number too (7 to this).
    """
    largest, count = magnitude
    drawn = draws.uniform(_MOST, 3)
    rows, columns = _axes(image)
    height, width = image.shape[-2:]
    scale = length(1.0, image)
    for k in range(int(count)):
        u, v, w = (drawn[:, k, i, None, None] for i in range(3))
        distance = torch.hypot(rows - u * height, columns - v * width)
        radius = scale * (3 + w * (largest - 3))
        opacity = torch.maximum(_disc(distance, radius + 2 * scale) * (130 / 255), _disc(distance, radius) * (100 / 255))
        opacity = torch.where(_disc(distance, radius) >= 1, 100 / 255, opacity)
        image = image + (1 - image) * opacity[:, None]
    return image


def stains(image: Tensor, count: float, draws: Draws) -> Tensor:
    """Deposits of stain: ``count`` dark blots of uneven outline, of about 8 to 16 pixels' radius at 224 px.

    The original multiplies by stored pictures of ink; here a blot's radius varies by three harmonics of its angle.
    """
    drawn = draws.uniform(_MOST, 10)
    rows, columns = _axes(image)
    height, width = image.shape[-2:]
    scale = length(1.0, image)
    for k in range(int(count)):
        u = [drawn[:, k, i, None, None] for i in range(10)]
        down, across = rows - (0.1 + 0.8 * u[0]) * height, columns - (0.1 + 0.8 * u[1]) * width
        angle = torch.atan2(down, across)
        outline = 1 + sum(0.35 / n * u[1 + n] * torch.cos(n * angle + 2 * math.pi * u[4 + n]) for n in (1, 2, 3))
        radius = scale * (8 + 8 * u[8]) * outline
        cover = torch.sigmoid((radius - torch.hypot(down, across)) / max(0.5, 1.5 * scale))
        image = image * (1 - (0.6 + 0.35 * u[9]) * cover)[:, None]
    return image


def black_corner(image: Tensor, multiplier: float, draws: Draws) -> Tensor:
    """The rim of a dermatoscope: black outside a centred circle of ``multiplier`` times half the shorter side."""
    rows, columns = _axes(image)
    height, width = image.shape[-2:]
    distance = torch.hypot(rows - height / 2, columns - width / 2)
    return image * _disc(distance, multiplier * min(height, width) / 2)


@functools.lru_cache(maxsize=64)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _text(size: tuple[int, int], words: list[tuple[str, float, float, float]]) -> np.ndarray:
    """Opacity [H, W] of words (text, left, top, height in pixels of the image), each drawn larger and averaged down."""
    height, width = size
    page = np.zeros(size, dtype=np.float32)
    for text, left, top, tall in words:
        font_size = max(16, round(tall / 0.7))  # an upper-case letter is about 0.7 of the font's size
        mask = Image.new("L", (1, 1))
        box = ImageDraw.Draw(mask).textbbox((0, 0), text, font=_font(font_size))
        mask = Image.new("L", (max(1, math.ceil(box[2] - box[0])), max(1, math.ceil(box[3] - box[1]))))
        ImageDraw.Draw(mask).text((-box[0], -box[1]), text, fill=255, font=_font(font_size))
        scale = tall / (0.7 * font_size)
        across = (left, left + mask.width * scale)
        down = (top, top + mask.height * scale)
        rows, columns = (_covering(n, *ends, m) for n, ends, m in ((height, down, mask.height), (width, across, mask.width)))
        page = np.maximum(page, rows @ (np.asarray(mask, dtype=np.float32) / 255) @ columns.T)
    return page


def _covering(size: int, start: float, end: float, cells: int) -> np.ndarray:
    """[size, cells]: the share of each pixel that each cell covers, cells lying evenly from start to end; the rest is outside."""
    edges = np.linspace(start, end, cells + 1)
    pixels = np.arange(size)[:, None]
    return (np.minimum(pixels + 1, edges[1:]) - np.maximum(pixels, edges[:-1])).clip(0).astype(np.float32)


def characters(image: Tensor, magnitude: tuple[float, float, float], draws: Draws) -> Tensor:
    """Coloured random lower-case words anywhere.

    ``magnitude`` is (words, letters of the longest, scale of the font); a scale of 1 is a height of 22 pixels at 224 px (OpenCV's Hershey
    font). The original draws the number of words too.
    """
    count, letters, scale = magnitude
    height, width = image.shape[-2:]
    tall = length(22 * scale, image)
    sizes, places, colours = draws.uniform(_MOST), draws.uniform(_MOST, 2), draws.uniform(_MOST, 3)
    indices = draws.integers(26, _MOST, 16)
    result = image.clone()
    for row in range(len(image)):
        for k in range(int(count)):
            n = 3 + int(float(sizes[row, k]) * (letters - 2))
            text = "".join(string.ascii_lowercase[int(i)] for i in indices[row, k, :n])
            left = float(places[row, k, 0]) * max(0.0, width - 0.8 * tall * n)
            top = float(places[row, k, 1]) * (height - 1.5 * tall)
            cover = torch.from_numpy(_text((height, width), [(text, left, top, tall)])).to(image.device)
            colour = colours[row, k] if image.shape[1] == 3 else colours[row, k, :1].expand(image.shape[1])
            result[row] = torch.lerp(result[row], colour[:, None, None].expand_as(result[row]), cover)
    return result


_WORDS = ("L", "PORTABLE", "AP", "12:41", "ERECT", "85 kV", "SUPINE", "2 mAs", "ID 0417", "W 350", "REF", "1.0 cm", "MI 0.9", "R")


def burned_in_text(image: Tensor, magnitude: tuple[float, float], draws: Draws) -> Tensor:
    """White annotations along the borders, as side markers and technique are burned into exported images.

    ``magnitude`` is (number of words, height of a letter in percent of the image's height).
    """
    count, percent = magnitude
    height, width = image.shape[-2:]
    tall = percent / 100 * height
    order, places = draws.uniform(len(_WORDS)).argsort(1), draws.uniform(len(_WORDS), 2)
    covers = []
    for row in range(len(image)):
        words = []
        for k in range(int(count)):
            text = _WORDS[int(order[row, k])]
            u, v = (float(p) for p in places[row, k])
            wide = min(float(width), 0.95 * tall * len(text))
            left = u * (width - wide)
            if k % 2:  # in turn along the upper or lower border, and along the left or right one
                left = left * 0.12 if u < 0.5 else width - wide - (1 - u) * (width - wide) * 0.12
                top = v * (height - 1.5 * tall)
            else:
                top = 0.1 * v * height if v < 0.5 else height - 1.5 * tall - 0.1 * (1 - v) * height
            words.append((text, left, top, tall))
        covers.append(_text((height, width), words))
    cover = torch.from_numpy(np.stack(covers)).to(image.device)[:, None]
    return image + (1 - image) * cover
