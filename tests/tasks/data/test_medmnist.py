"""MedMNIST files become manifests."""

from __future__ import annotations

import collections
import functools
import hashlib
import http.server
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from umsrep.errors import InputError
from umsrep.tasks.classification import Classification
from umsrep.tasks.data import load_medmnist
from umsrep.tasks.data.dataset import JointDataset, Source, Target
from umsrep.tasks.data.manifest import load_manifest
from umsrep.zoo import InputContract


def arrays(*, colour: bool = False, labels: int = 1) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    result: dict[str, Any] = {}
    for part, count in (("train", 5), ("val", 2), ("test", 3)):
        shape = (count, 28, 28, 3) if colour else (count, 28, 28)
        result[f"{part}_images"] = generator.integers(0, 256, shape, dtype=np.uint8)
        result[f"{part}_labels"] = generator.integers(0, 2, (count, labels), dtype=np.uint8)
    return result


def save(path: Path, values: dict[str, Any]) -> Path:
    np.savez(path, **values)
    return path


@pytest.mark.parametrize("colour", [False, True])
def test_images_labels_and_splits(colour: bool, tmp_path: Path) -> None:
    values = arrays(colour=colour)
    path = save(tmp_path / "breastmnist.npz", values)
    manifest = load_manifest(path)
    assert [len(manifest.rows(s)) for s in ("train", "validation", "test")] == [5, 2, 3]
    row = manifest.rows("validation")[1]
    assert np.array_equal(np.asarray(manifest.image(row)), values["val_images"][1])
    assert manifest.columns["label"] == [str(v) for p in ("train", "val", "test") for v in values[f"{p}_labels"][:, 0]]
    manifest.check_patients()
    assert "val/1" in manifest.where(row)


def test_an_item_is_the_picture_in_the_contract(tmp_path: Path) -> None:
    values = arrays(colour=True)
    manifest = load_medmnist(save(tmp_path / "a.npz", values))
    task = Classification(["0", "1"])
    dataset = JointDataset(
        [Source(manifest, manifest.rows("test"), ["y"], {"y": Target()})], {"y": task}, InputContract(channels=3), seed=0
    )
    item = dataset[2]
    assert isinstance(item, dict)
    expected = np.moveaxis(values["test_images"][2], 2, 0).astype(np.float32) / 255 * 2 - 1
    np.testing.assert_allclose(item["image"].numpy(), expected, atol=1e-6)
    assert int(item["target.y"]) == int(values["test_labels"][2, 0])


def test_several_labels_become_columns(tmp_path: Path) -> None:
    values = arrays(labels=3)
    manifest = load_medmnist(save(tmp_path / "chestmnist.npz", values))
    assert "label" not in manifest.columns
    assert manifest.columns["label.2"][:5] == [str(v) for v in values["train_labels"][:, 2]]
    task = Classification(["a", "b", "c"], multi_label=True)
    target = Target(("label.0", "label.1", "label.2"))
    dataset = JointDataset([Source(manifest, manifest.rows("train"), ["y"], {"y": target})], {"y": task}, InputContract(), seed=0)
    item = dataset[1]
    assert isinstance(item, dict)
    assert item["target.y"].tolist() == values["train_labels"][1].tolist()


def test_faulty_files_are_refused_in_one_line(tmp_path: Path) -> None:
    good = save(tmp_path / "good.npz", arrays())
    cut = tmp_path / "cut.npz"
    cut.write_bytes(good.read_bytes()[:-400])
    text = tmp_path / "text.npz"
    text.write_text("no archive")
    faults = {
        tmp_path / "absent.npz": "no such file",
        cut: "damaged npz",
        text: "damaged npz",
        save(tmp_path / "keys.npz", {"train_images": arrays()["train_images"]}): "train_labels",
        save(tmp_path / "float.npz", arrays() | {"val_images": np.zeros((2, 28, 28))}): "val_images float64",
        save(tmp_path / "count.npz", arrays() | {"val_labels": np.zeros((3, 1), dtype=np.uint8)}): "val_labels",
        save(tmp_path / "volume.npz", arrays() | {"test_images": np.zeros((3, 8, 8, 8), dtype=np.uint8)}): "holds volumes",
    }
    for path, message in faults.items():
        with pytest.raises(InputError) as caught:
            load_manifest(path)
        assert str(path) in str(caught.value)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


def test_pickled_objects_are_not_executed(tmp_path: Path) -> None:
    values = arrays() | {"train_labels": np.array([[object()]] * 5)}
    with pytest.raises(InputError, match="train_labels holds pickled objects"):
        load_medmnist(save(tmp_path / "pickle.npz", values))


def test_the_real_set(shared_data: Path) -> None:
    manifest = load_manifest(shared_data / "pneumoniamnist28" / "pneumoniamnist.npz")
    assert [len(manifest.rows(s)) for s in ("train", "validation", "test")] == [4708, 524, 624]
    assert collections.Counter(manifest.columns["label"][-624:]) == {"0": 234, "1": 390}
    assert np.asarray(manifest.image(5855)).shape == (28, 28)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that a server on the loopback interface hands out as if it were MedMNIST's, with a cache of its own."""
    medmnist = pytest.importorskip("medmnist")
    folder = tmp_path / "served"
    folder.mkdir()
    for flag, labels, size in (("retinamnist", 1, ""), ("chestmnist", 14, "_64")):
        path = save(folder / f"{flag}{size}.npz", arrays(colour=flag == "retinamnist", labels=labels))
        monkeypatch.setitem(medmnist.INFO[flag], f"MD5{size}", hashlib.md5(path.read_bytes()).hexdigest())
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        for flag, size in (("retinamnist", ""), ("chestmnist", "_64"), ("breastmnist", "")):
            monkeypatch.setitem(medmnist.INFO[flag], f"url{size}", f"http://127.0.0.1:{server.server_port}/{flag}{size}.npz")
        monkeypatch.setenv("UMSREP_CACHE", str(tmp_path / "cache"))
        yield folder
        server.shutdown()
        thread.join()


def test_a_set_is_fetched_once_by_name(served: Path) -> None:
    manifest = load_manifest("medmnist:retinamnist")
    assert set(manifest.columns["label_name"]) <= {"0", "1", "2", "3", "4"}
    assert set(manifest.columns["license"]) == {"CC BY 4.0"}
    (served / "retinamnist.npz").unlink()
    assert load_manifest("medmnist:retinamnist@28").columns == manifest.columns, "from the cache"
    several = load_manifest("medmnist:chestmnist@64")
    assert several.columns["label.atelectasis"] == several.columns["label.0"]
    assert len([name for name in several.columns if name.startswith("label.")]) == 28


def test_what_cannot_be_fetched_is_one_line(served: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (served / "retinamnist.npz").open("ab") as file:
        file.write(b"x")
    faults = {
        "medmnist:retinamnist": "is not the published file",
        "medmnist:breastmnist": "cannot be fetched from",
        "medmnist:retinaminst": "did you mean 'retinamnist'",
        "medmnist:retinamnist@100": "size '100' is none of 28, 64, 128, 224",
        "medmnist:organmnist3d": "a 3-D set",
    }
    for name, message in faults.items():
        with pytest.raises(InputError) as caught:
            load_manifest(name)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not [path for path in (served.parent / "cache").rglob("*") if path.is_file()], "nothing half fetched stays"
    monkeypatch.setitem(sys.modules, "medmnist", None)
    with pytest.raises(InputError, match=r"pip install 'umsrep\[medmnist\]'"):
        load_manifest("medmnist:retinamnist")
