"""Features: those of the encoder itself, in the order of the rows, cached; and pixels where the mask says they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.tasks.runs import ARCH
from tests.tiny import write_tiny_data
from umsrep import Encoder, InputContract, InputError
from umsrep.tasks import Denoising, Segmentation
from umsrep.tasks.data.dataset import JointDataset, Source
from umsrep.tasks.data.manifest import load_manifest
from umsrep.tasks.features import extract, extract_maps


@pytest.fixture
def encoder() -> Encoder:
    return Encoder.create(ARCH, contract=InputContract(size=32)).eval()


def dataset(folder: Path, size: int = 32, **changes: Any) -> JointDataset:
    tasks = {"disc": Segmentation(["background", "disc"]), "denoising": Denoising(level=25)}
    manifest = load_manifest(folder)
    source = Source(manifest, changes.pop("rows", manifest.rows("train")), list(tasks), {})
    return JointDataset([source], tasks, InputContract(size=size), seed=0, **changes)


def item(items: JointDataset, place: int) -> dict[str, Any]:
    found = items[place]
    assert isinstance(found, dict)
    return found


def test_they_are_the_encoders_own(encoder: Encoder, tiny_data: Path) -> None:
    manifest = load_manifest(tiny_data)
    encoder.train()
    found = extract(encoder, manifest, [5, 2, 9], batch_size=2)
    assert encoder.training  # left as it was
    encoder.eval()
    images = torch.stack([encoder.contract.load(manifest.image(row)) for row in (5, 2, 9)])
    with torch.inference_mode():
        maps, embedding = encoder.forward_both(images)
    assert found.rows == (5, 2, 9)
    np.testing.assert_allclose(found.embedding, embedding.numpy(), rtol=1e-4, atol=1e-6)
    wanted = torch.cat([m.mean((2, 3)) for m in maps] + [m.std((2, 3), correction=0) for m in maps], dim=1)
    np.testing.assert_allclose(found.pyramid, wanted.numpy(), rtol=1e-4, atol=1e-6)
    assert found.embedding.dtype == found.pyramid.dtype == np.float32


def test_the_cache_serves_what_is_equal_and_nothing_else(encoder: Encoder, tmp_path: Path) -> None:
    folder, cache = write_tiny_data(tmp_path / "data"), tmp_path / "cache"
    manifest = load_manifest(folder)
    first = extract(encoder, manifest, [0, 1, 2], cache=cache)
    again = extract(encoder, manifest, [0, 1, 2], cache=cache)
    assert (first.cached, again.cached) == (False, True)
    assert np.array_equal(first.embedding, again.embedding)
    assert np.array_equal(first.pyramid, again.pyramid)
    assert not extract(encoder, manifest, [0, 1], cache=cache).cached
    assert not extract(encoder, manifest, [0, 1, 2], cache=cache, contract=InputContract(size=64)).cached
    assert len(list(cache.iterdir())) == 3
    for path in cache.iterdir():  # damaged: made anew
        path.write_bytes(path.read_bytes()[:-1])
    mended = extract(encoder, manifest, [0, 1, 2], cache=cache)
    assert not mended.cached
    assert np.array_equal(first.embedding, mended.embedding)
    assert extract(encoder, manifest, [0, 1, 2], cache=cache).cached
    Image.fromarray(np.zeros((40, 48), dtype=np.uint8)).save(folder / "images" / "02.png")
    assert not extract(encoder, manifest, [0, 1, 2], cache=cache).cached
    with torch.no_grad():
        next(encoder.model.parameters()).mul_(2)
    assert not extract(encoder, manifest, [0, 1], cache=cache).cached


def test_an_unreadable_image_is_named(encoder: Encoder, tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path)
    (folder / "images" / "01.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"metadata.csv row 3 \(images/01.png\)"):
        extract(encoder, load_manifest(folder), [0, 1])
    with pytest.raises(InputError, match="no size"):
        extract(encoder, load_manifest(folder), [0], contract=InputContract())
    with pytest.raises(InputError, match=r"3 channel\(s\)"):
        extract(encoder, load_manifest(folder), [0], contract=InputContract(channels=3, size=32))


def test_maps_are_the_encoders_own_beside_the_masks(encoder: Encoder, tiny_data: Path) -> None:
    items = dataset(tiny_data)
    found = extract_maps(encoder, items, "disc", batch_size=5)
    annotated = [row for row in range(16) if row not in (2, 9, 14)]
    assert found.rows == tuple(annotated)
    assert found.masks is not None
    assert found.clean is None
    with torch.inference_mode():
        wanted = encoder(torch.stack([item(items, row)["image"] for row in annotated]))
    for level, one in zip(found.levels, wanted, strict=True):
        np.testing.assert_allclose(level, one.numpy(), rtol=1e-3, atol=1e-5)
    assert np.array_equal(found.masks, np.stack([item(items, row)["target.disc"].numpy() for row in annotated]))


def test_a_size_that_is_padded_has_padded_masks(encoder: Encoder, tiny_data: Path) -> None:
    found = extract_maps(encoder, dataset(tiny_data, 48, rows=[1, 3]), "disc")
    assert found.masks is not None
    assert found.masks.shape == (2, 64, 64)
    assert (found.masks[:, 48:] == 255).all()
    assert (found.masks[:, :48, :48] != 255).all()
    assert [level.shape[2] for level in found.levels] == [64 // stride for stride in encoder.strides]


def test_denoising_sees_the_noisy_image(encoder: Encoder, tiny_data: Path) -> None:
    items = dataset(tiny_data)
    found = extract_maps(encoder, items, "denoising")
    assert found.clean is not None
    assert found.noisy is not None
    assert found.masks is None
    assert found.clean.shape == found.noisy.shape == (16, 1, 32, 32)
    assert found.clean.min() >= 0
    assert found.clean.max() <= 1
    assert (found.noisy - found.clean).std() * 255 == pytest.approx(25, rel=0.05)
    with torch.inference_mode():
        wanted = encoder(torch.stack([item(items, row)["noisy.denoising"] for row in range(16)]))
    np.testing.assert_allclose(found.levels[0], wanted[0].numpy(), rtol=1e-3, atol=1e-5)


def test_maps_are_cached_and_follow_the_mask(encoder: Encoder, tmp_path: Path) -> None:
    folder, cache = write_tiny_data(tmp_path / "data"), tmp_path / "cache"
    first = extract_maps(encoder, dataset(folder), "disc", cache=cache)
    again = extract_maps(encoder, dataset(folder), "disc", cache=cache)
    assert (first.cached, again.cached) == (False, True)
    assert first.masks is not None
    assert again.masks is not None
    assert np.array_equal(first.masks, again.masks)
    assert all(np.array_equal(a, b) for a, b in zip(first.levels, again.levels, strict=True))
    assert not extract_maps(encoder, dataset(folder), "denoising", cache=cache).cached
    Image.fromarray(np.zeros((40, 48), dtype=np.uint8)).save(folder / "masks" / "03.png")
    assert not extract_maps(encoder, dataset(folder), "disc", cache=cache).cached


def test_maps_that_cannot_be_taken_are_refused(encoder: Encoder, tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path)
    several = dataset(folder)
    several.tasks["disc"] = Segmentation(["background", "disc"], multi_label=True)
    with pytest.raises(InputError, match="exclude each other"):
        extract_maps(encoder, several, "disc")
    with pytest.raises(InputError, match="no row is annotated for 'disc'"):
        extract_maps(encoder, dataset(folder, rows=[2, 9]), "disc")
    Image.fromarray(np.full((40, 48), 255, dtype=np.uint8)).save(folder / "masks" / "03.png")
    with pytest.raises(InputError, match=r"row 5 .*every pixel of the mask is 255"):
        extract_maps(encoder, dataset(folder), "disc")
