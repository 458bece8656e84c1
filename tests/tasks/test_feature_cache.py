"""The cache of features: names that change with everything that matters, and files that are read back whole or made anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.tasks.runs import ARCH
from tests.tiny import write_tiny_data
from umsrep import Encoder, InputContract, InputError
from umsrep.tasks.data.manifest import load_manifest
from umsrep.tasks.feature_cache import (
    cache_key,
    default_cache,
    digest_images,
    encoder_digest,
    load_batches,
    read_arrays,
    write_arrays,
)


def test_the_default_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UMSREP_CACHE", str(tmp_path))
    assert default_cache() == tmp_path / "features"


def test_arrays_come_back_bit_by_bit(tmp_path: Path) -> None:
    arrays: dict[str, np.ndarray] = {"a": np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32), "b": np.arange(3)}
    write_arrays(tmp_path / "deep" / "x.safetensors", arrays)
    back = read_arrays(tmp_path / "deep" / "x.safetensors", 3)
    assert back is not None
    assert back.keys() == arrays.keys()
    assert all(np.array_equal(back[k], arrays[k]) and back[k].dtype == arrays[k].dtype for k in arrays)
    assert read_arrays(tmp_path / "deep" / "x.safetensors", 4) is None  # of other rows
    assert read_arrays(tmp_path / "none.safetensors", 3) is None


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_file_counts_as_none(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "x.safetensors"
    write_arrays(path, {"a": np.ones((3, 4), dtype=np.float32)})
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[-1] ^= 1
    path.write_bytes({"cut": bytes(content[:-5]), "flipped": bytes(content), "empty": b""}[damage])
    assert read_arrays(path, 3) is None


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cache .*file: cannot be written"):
        write_arrays(tmp_path / "file" / "x.safetensors", {"a": np.ones(1)})


def test_the_digest_of_an_encoder_changes_with_one_weight_or_buffer() -> None:
    encoder = Encoder.create(ARCH, contract=InputContract(size=32))
    before = encoder_digest(encoder)
    assert encoder_digest(encoder) == before
    name, mean = next((n, b) for n, b in encoder.model.named_buffers() if n.endswith("running_mean"))
    mean[0] += 1
    after = encoder_digest(encoder)
    assert after != before, name
    with torch.no_grad():
        next(encoder.model.parameters()).view(-1)[0] += 1e-3
    assert encoder_digest(encoder) not in (before, after)


def test_the_digest_of_a_row_is_that_of_its_bytes_and_masks(tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path)
    manifest = load_manifest(folder)
    images, masks = digest_images(manifest, [0, 1]), digest_images(manifest, [0, 1], columns=["mask_file_name"])
    assert digest_images(manifest, [1, 0]) == images[::-1]
    Image.fromarray(np.zeros((40, 48), dtype=np.uint8)).save(folder / "masks" / "00.png")
    assert digest_images(manifest, [0, 1]) == images
    assert [a == b for a, b in zip(digest_images(manifest, [0, 1], columns=["mask_file_name"]), masks, strict=True)] == [False, True]
    Image.fromarray(np.zeros((40, 48), dtype=np.uint8)).save(folder / "images" / "01.png")
    assert [a == b for a, b in zip(digest_images(manifest, [0, 1]), images, strict=True)] == [True, False]
    (folder / "images" / "01.png").unlink()
    with pytest.raises(InputError, match=r"row 3 .*no such file"):
        digest_images(load_manifest(folder), [1])


def test_the_key_changes_with_each_part() -> None:
    parts = [("images", "e", {"size": 1}, [1]), ("pixels", "e", {"size": 1}, [1]), ("images", "f", {"size": 1}, [1])]
    parts += [("images", "e", {"size": 2}, [1]), ("images", "e", {"size": 1}, [2])]
    assert len({cache_key(*p) for p in parts}) == len(parts)


def test_batches_keep_their_order_and_errors_come_through() -> None:
    assert list(load_batches(lambda k: k * k, range(7), 3, 2, None)) == [[0, 1, 4], [9, 16, 25], [36]]

    def fail(key: int) -> int:
        if key == 5:
            raise InputError("row 5")
        return key

    with pytest.raises(InputError, match="row 5"):
        list(load_batches(fail, range(7), 3, 2, None))
    with pytest.raises(InputError, match="1 or more"):
        list(load_batches(fail, range(7), 0, 2, None))
