"""Pictures that occur twice: exact copies by their decoded pixels, near copies by a perceptual hash."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Sequence

import numpy as np
from PIL import Image

NEAR_BITS = 8
"""Largest Hamming distance of two perceptual hashes that are compared further (measured in docs/inspect.md)."""
NEAR_CORRELATION = 0.98
"""Smallest Pearson correlation of the two 32 x 32 miniatures that makes them near copies (measured in docs/inspect.md)."""
_SIDE = 32
_BLOCK = 2**20  # pairs of hashes that are compared at once: 8 MB
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601


def _dct_matrix(rows: int, side: int) -> np.ndarray:
    """First ``rows`` basis functions of the DCT-II over ``side`` samples (Ahmed et al. 1974), unnormalised."""
    k, n = np.arange(rows)[:, None], np.arange(side)[None]
    return np.cos(np.pi * k * (2 * n + 1) / (2 * side)).astype(np.float32)


_DCT = _dct_matrix(8, _SIDE)


@dataclasses.dataclass(frozen=True, slots=True)
class Fingerprint:
    """What is kept of a picture to find its copies.

    Attributes:
        digest: First 16 bytes of the sha256 of shape, type and decoded pixels; RGB with three equal channels counts as grey.
        phash: 64-bit perceptual hash, or None for a constant picture, which resembles nothing.
        miniature: 32 x 32 grey levels, 1,024 bytes; empty for a constant picture.
    """

    digest: bytes
    phash: int | None
    miniature: bytes


def grey(pixels: np.ndarray) -> np.ndarray:
    """Return [H, W]: grey as it is; RGB with equal channels its first; other RGB its BT.601 luma (float32); else the channels' mean."""
    if pixels.ndim == 2:
        return pixels
    if pixels.shape[2] == 3:
        if np.array_equal(pixels[..., 0], pixels[..., 1]) and np.array_equal(pixels[..., 0], pixels[..., 2]):
            return np.ascontiguousarray(pixels[..., 0])
        return np.asarray(pixels.astype(np.float32) @ _LUMA)
    return np.asarray(pixels.mean(axis=2, dtype=np.float32))


def fingerprint(pixels: np.ndarray, grey_HW: np.ndarray) -> Fingerprint:
    """Take the fingerprint of a picture.

    The perceptual hash (pHash; Zauner 2010) is of the area-averaged 32 x 32 miniature: the 8 x 8 lowest coefficients of its DCT-II,
    each compared with the median of the 63 that are not the mean. It does not change under brightness and contrast, and little
    under scaling and compression; it does change under flips, crops and inversion.

    Args:
        pixels: As decoded, [H, W] or [H, W, C].
        grey_HW: The same through `grey`.
    """
    plain = grey_HW if pixels.ndim == 3 and grey_HW.dtype == pixels.dtype else pixels
    digest = hashlib.sha256(f"{plain.shape} {plain.dtype}".encode())
    digest.update(plain.tobytes())
    low, high = float(grey_HW.min()), float(grey_HW.max())
    if not low < high:  # constant, or NaN
        return Fingerprint(digest.digest()[:16], None, b"")
    if grey_HW.dtype == np.uint8:
        picture = Image.fromarray(grey_HW)
    else:
        picture = Image.fromarray(((grey_HW - low) * (255 / (high - low))).astype(np.float32))
    small = np.asarray(picture.resize((_SIDE, _SIDE), Image.Resampling.BOX), dtype=np.float32)
    low, high = float(small.min()), float(small.max())
    if high - low < 1:  # texture only: every bit of the hash would be chance
        return Fingerprint(digest.digest()[:16], None, b"")
    coefficients = (_DCT @ small @ _DCT.T).ravel()
    bits = coefficients > np.median(coefficients[1:])
    bits[0] = False
    phash = int.from_bytes(np.packbits(bits).tobytes(), "big")
    miniature = np.round((small - low) * (255 / (high - low))).astype(np.uint8).tobytes()
    return Fingerprint(digest.digest()[:16], phash, miniature)


def exact_groups(prints: Sequence[Fingerprint | None]) -> list[list[int]]:
    """Return the groups (two rows or more) whose pixels are equal."""
    rows: dict[bytes, list[int]] = {}
    for row, one in enumerate(prints):
        if one is not None:
            rows.setdefault(one.digest, []).append(row)
    return [group for group in rows.values() if len(group) > 1]


def near_pairs(
    prints: Sequence[Fingerprint | None], *, bits: int = NEAR_BITS, correlation: float = NEAR_CORRELATION
) -> list[tuple[int, int, int]]:
    """Find the pairs that look alike but are not equal.

    Of equal pictures only the first is compared. Candidates are found by `hamming_pairs`, so the time does not grow with the
    square of the rows unless the pictures all look alike.

    Args:
        prints: One a row; None for a picture that could not be read.
        bits: Largest Hamming distance of the hashes.
        correlation: Smallest Pearson correlation of the miniatures.

    Returns:
        ``(row, row, Hamming distance)``, sorted.
    """
    seen: set[bytes] = set()
    rows = []
    for row, one in enumerate(prints):
        if one is not None and one.phash is not None and one.digest not in seen:
            seen.add(one.digest)
            rows.append(row)
    if len(rows) < 2:
        return []
    chosen = [one for row in rows if (one := prints[row]) is not None]
    hashes = np.array([one.phash for one in chosen], dtype=np.uint64)
    miniatures = np.frombuffer(b"".join(one.miniature for one in chosen), dtype=np.uint8).reshape(len(rows), -1)
    found = []
    for first, second, distance in hamming_pairs(hashes, bits):
        a, b = (_standardised(miniatures[i]) for i in (first, second))
        alike = (a * b).mean(axis=1) >= correlation
        found += [(rows[i], rows[j], int(d)) for i, j, d in zip(first[alike], second[alike], distance[alike], strict=True)]
    return sorted(found)


def _standardised(rows: np.ndarray) -> np.ndarray:
    values = rows.astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    return np.asarray(values / values.std(axis=1, keepdims=True))


def hamming_pairs(hashes: np.ndarray, bits: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Find all pairs of 64-bit hashes that differ in at most ``bits`` bits.

    Two such hashes agree in at least one of ``bits + 1`` bands (pigeonhole), so that only hashes equal in a band are compared:
    exact, and for spread hashes far from quadratic.

    Args:
        hashes: uint64 [N].
        bits: 0 to 15.

    Returns:
        Blocks of (first, second, distance), int arrays with first < second; each pair occurs once.
    """
    edges = np.linspace(0, 64, bits + 2).round().astype(int)
    masks = [np.uint64(((1 << int(b)) - 1) ^ ((1 << int(a)) - 1)) for a, b in itertools.pairwise(edges)]
    blocks = []
    for number, mask in enumerate(masks):
        keys = hashes & mask
        order = np.argsort(keys, kind="stable")
        bounds = np.flatnonzero(np.diff(keys[order])) + 1
        for bucket in np.split(order, bounds):
            block = max(1, _BLOCK // len(bucket))
            for start in range(0, len(bucket) - 1, block):
                some, others = hashes[bucket[start : start + block], None], hashes[None, bucket[start:]]
                i, j = np.nonzero(np.bitwise_count(some ^ others) <= bits)
                i, j = i[j > i], j[j > i]
                a, b = bucket[start + i], bucket[start + j]
                new = np.ones(len(a), dtype=bool)
                for earlier in masks[:number]:  # pairs that agree there were found there
                    new &= ((hashes[a] ^ hashes[b]) & earlier) != 0
                if new.any():
                    a, b = a[new], b[new]
                    blocks.append((np.minimum(a, b), np.maximum(a, b), np.bitwise_count(hashes[a] ^ hashes[b]).astype(int)))
    return blocks
