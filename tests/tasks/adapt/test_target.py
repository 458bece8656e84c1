"""AdaBN on a data set: only images are read, on a copy."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from tests.tasks.runs import put, rewrite, tiny_model, without
from tests.tiny import write_tiny_data
from umsrep.errors import InputError
from umsrep.tasks.adapt import adabn, target
from umsrep.tasks.adapt.target import adapted_copy, target_images
from umsrep.tasks.data.manifest import load_manifest


def test_adapts_a_copy_to_all_images_of_a_split_in_any_number_of_batches(tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(tiny_data)
    before = copy.deepcopy(model.state_dict())
    manifest = load_manifest(tiny_data)
    contract = model.encoder.contract
    x = torch.stack([contract.load(manifest.image(row)) for row in manifest.rows("train")])
    expected = adabn(copy.deepcopy(model), [x]).state_dict()
    for batch_size in (16, 5):
        adapted = adapted_copy(model, target_images(model, tiny_data, batch_size=batch_size))
        torch.testing.assert_close(adapted.state_dict(), expected, rtol=1e-4, atol=1e-4)
    monkeypatch.setattr(target, "IN_MEMORY", 0)  # read anew for each pass
    monkeypatch.setattr(target, "adabn", lambda model, batches, title: adabn(model, batches, at_once=0, title=title))
    torch.testing.assert_close(adapted_copy(model, target_images(model, tiny_data)).state_dict(), expected, rtol=1e-4, atol=1e-4)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_needs_no_annotation_and_no_split(tmp_path: Path, tiny_data: Path) -> None:
    model = tiny_model(tiny_data)
    bare = rewrite(write_tiny_data(tmp_path / "bare"), without("label", "mask_file_name", "split", "finding_left", "finding_large"))
    images = target_images(model, bare)
    assert len(images.dataset) == 24
    assert images.what == "24 image(s) of bare (all rows)"
    assert target_images(model, tiny_data, split="all").what == "24 image(s) of discs (all rows)"
    assert target_images(model, tiny_data, split="test").what == "4 image(s) of discs (split = test)"
    few = target_images(model, tiny_data, split="all", limit=6)
    assert few.what == "6 of 24 image(s) of discs (all rows)"
    assert [row for _, row in few.dataset.items] == [0, 4, 8, 12, 16, 20]
    nonsense = rewrite(write_tiny_data(tmp_path / "nonsense"), put(0, "label", "no class"))
    adapted_copy(model, target_images(model, nonsense, split="all"))


def test_a_model_that_only_denoises_sees_noise_and_an_encoder_images(tiny_data: Path) -> None:
    model = tiny_model(tiny_data, tasks={"clean": {"kind": "denoising", "level": [10, 40], "width": 8}})
    clean = next(iter(target_images(model.encoder, tiny_data)))
    noisy, again = (next(iter(target_images(model, tiny_data, level=50))) for _ in range(2))
    assert not isinstance(clean, InputError)
    assert not isinstance(noisy, InputError)
    assert not isinstance(again, InputError)
    assert torch.equal(noisy["image"], again["image"])
    noise = (noisy["image"] - clean["image"]).std() * 0.5 * 255  # contract: std .5
    assert 25 < noise < 55  # 50, less what leaves 0-1
    assert adapted_copy(model, target_images(model, tiny_data)).heads.keys() == {"clean"}


def test_wrong_targets_are_refused(tmp_path: Path, tiny_data: Path) -> None:
    model = tiny_model(tiny_data)
    with pytest.raises(InputError, match="unknown split 'trian'; did you mean 'train'"):
        target_images(model, tiny_data, split="trian")
    with pytest.raises(InputError, match="no column 'fold'"):
        target_images(model, tiny_data, split_column="fold")
    with pytest.raises(InputError, match="limit must be 1 or more"):
        target_images(model, tiny_data, limit=0)
    with pytest.raises(InputError, match="batch_size must be 1 or more"):
        target_images(model, tiny_data, batch_size=0)
    broken = write_tiny_data(tmp_path / "broken")
    (broken / "images/03.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"row 5.*03\.png"):
        adapted_copy(model, target_images(model, broken))
