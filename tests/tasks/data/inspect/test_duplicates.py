"""Fingerprints and the search for near ones."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from umsrep.tasks.data.inspect.duplicates import Fingerprint, exact_groups, fingerprint, grey, hamming_pairs, near_pairs


def picture(seed: int, side: int = 96) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (12, 12), dtype=np.uint8)
    return Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(2))


def take(image: Image.Image | np.ndarray) -> Fingerprint:
    pixels = np.asarray(image)
    return fingerprint(pixels, grey(pixels))


def recoded(image: Image.Image, quality: int) -> Image.Image:
    memory = io.BytesIO()
    image.save(memory, "JPEG", quality=quality)
    return Image.open(memory)


def test_pixels_count_not_files() -> None:
    image = picture(0)
    assert take(image).digest == take(image.convert("RGB")).digest, "grey stored as RGB is the same picture"
    assert take(image).digest != take(recoded(image, 90)).digest
    assert take(image).digest != take(image.transpose(Image.Transpose.ROTATE_90)).digest
    wide, tall = np.zeros((8, 16), np.uint8), np.zeros((16, 8), np.uint8)
    assert take(wide).digest != take(tall).digest, "the same bytes in another shape"
    assert exact_groups([take(image), None, take(picture(1)), take(image.convert("RGB"))]) == [[0, 3]]


@pytest.mark.parametrize(
    "change",
    [
        lambda i: recoded(i, 50),
        lambda i: i.resize((48, 48), Image.Resampling.BICUBIC),
        lambda i: i.point([20 + 0.8 * v for v in range(256)]),
        lambda i: i.convert("RGB").resize((128, 128)),
        lambda i: np.asarray(i).astype(np.uint16) * 16,
        lambda i: np.asarray(i).astype(np.float32) / 255,
    ],
    ids=["JPEG 50", "half size", "contrast", "larger RGB", "12-bit", "float"],
)
def test_changed_copies_are_near(change: object) -> None:
    assert callable(change)
    prints = [take(picture(seed)) for seed in range(40)]
    prints.append(take(change(picture(7))))
    assert [pair[:2] for pair in near_pairs(prints)] == [(7, 40)]


def test_alike_hashes_alone_are_not_enough() -> None:
    one = take(picture(0))
    other = Fingerprint(b"other", one.phash, take(picture(1)).miniature)
    assert near_pairs([one, other]) == []


def test_constant_and_exact_copies_are_not_near() -> None:
    flat = take(np.full((32, 32), 9, np.uint8))
    assert flat.phash is None
    assert near_pairs([flat, flat, take(picture(0)), take(picture(0))]) == []


@pytest.mark.parametrize("bits", [0, 3, 8])
def test_hamming_pairs_are_all_pairs(bits: int) -> None:
    generator = np.random.default_rng(bits)
    hashes = generator.integers(0, 2**64, 300, dtype=np.uint64)
    hashes[100:200] = hashes[:100] ^ (np.uint64(1) << generator.integers(0, 64, 100, dtype=np.uint64))  # one bit away
    for _ in range(5):
        hashes[200:] ^= np.uint64(1) << generator.integers(0, 64, 100, dtype=np.uint64)
    hashes[250:] = hashes[200:250]
    distance = np.bitwise_count(hashes[:, None] ^ hashes[None])
    wanted = {(i, j): distance[i, j] for i in range(300) for j in range(i + 1, 300) if distance[i, j] <= bits}
    found = [(int(i), int(j), int(d)) for a, b, c in hamming_pairs(hashes, bits) for i, j, d in zip(a, b, c, strict=True)]
    assert len(found) == len(wanted), "each pair once"
    assert {(i, j): d for i, j, d in found} == wanted
