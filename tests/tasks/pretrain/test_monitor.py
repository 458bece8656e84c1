"""k-NN accuracy of an embedding."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tests.tasks.runs import ARCH, put, rewrite
from tests.tiny import write_tiny_data
from umsrep.tasks.pretrain.config import PretrainData
from umsrep.tasks.pretrain.data import Images, open_images
from umsrep.tasks.pretrain.monitor import Monitor
from umsrep.zoo import Encoder, InputContract


def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder.create(ARCH, contract=InputContract(size=32))


def monitor(*sources: Images, rows: int = 100) -> Monitor:
    return Monitor(sources, rows=rows, batch_size=5, workers=0, lenient=False, seed=0)


@pytest.fixture
def colours(tmp_path: Path) -> Images:
    """Discs whose picture is plain: bright for one label and dark for the other, so that any embedding tells them apart."""
    folder = write_tiny_data(tmp_path / "d")
    for index in range(24):
        grey = 220 if index % 2 else 30
        Image.fromarray(np.full((40, 48), grey + index // 2, dtype=np.uint8)).save(folder / "images" / f"{index:02d}.png")
    return open_images(PretrainData(str(folder)), seed=0)


def test_what_is_plain_to_see_is_found(colours: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("umsrep.tasks.pretrain.monitor.NEIGHBOURS", 3)
    found = monitor(colours).measure(encoder())
    assert found == {"d": {"accuracy": 1.0, "balanced_accuracy": 1.0, "n": 4.0}}
    train, validation, _, labels, column = monitor(colours).sets["d"]
    assert (len(train), len(validation), column) == (13, 4, "label"), "rows without a label are left out"
    assert sorted(labels) == ["large", "large", "small", "small"]
    assert len(monitor(colours, rows=5).sets["d"][0]) == 5


def test_measuring_changes_nothing(colours: Images) -> None:
    net = encoder().train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    monitor(colours).measure(net)
    assert net.training
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_sets_without_labels_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_tiny_data(tmp_path / "d")
    assert monitor(open_images(PretrainData(str(folder), label=""), seed=0)).sets == {}
    for row in range(24):
        rewrite(folder, put(row, "label", "large"))
    assert monitor(open_images(PretrainData(str(folder)), seed=0)).sets == {}
    assert "no k-NN accuracy; column 'label' has no two classes" in capsys.readouterr().err


def test_two_sets_of_one_name_are_told_apart(tmp_path: Path) -> None:
    sources = [open_images(PretrainData(str(write_tiny_data(tmp_path / k / "d"))), seed=0) for k in ("a", "b")]
    assert list(monitor(*sources).sets) == ["d", "d (2)"]


def test_clean_statistics_are_those_of_whole_images(colours: Images) -> None:
    net = encoder()
    watch = monitor(colours)
    copy = watch.clean_statistics(net, watch.sets["d"][0])
    norm = next(m for m in copy.model.modules() if isinstance(m, nn.BatchNorm2d))
    original = next(m for m in net.model.modules() if isinstance(m, nn.BatchNorm2d))
    assert torch.equal(original.running_mean, torch.zeros_like(original.running_mean)), "only the copy's"  # type: ignore[arg-type]
    batches = [batch for batch in watch.loader(net, watch.sets["d"][0]) if isinstance(batch, torch.Tensor)]
    with torch.no_grad():
        means = torch.stack([cast(Any, net.model).conv_stem(batch).mean((0, 2, 3)) for batch in batches])
    torch.testing.assert_close(norm.running_mean, means.mean(0), rtol=1e-4, atol=1e-5)
