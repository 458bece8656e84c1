"""`umsrep guard`, and `umsrep predict --guard`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.tasks.cli.console import printed, refused
from tests.tasks.test_guard import strange, untrained
from tests.tasks.test_guarding import many
from umsrep.tasks.cli import main
from umsrep.tasks.model import MultiTaskModel
from umsrep.zoo import hub


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return many(tmp_path_factory.mktemp("data") / "discs", {"train": 24, "validation": 20, "test": 8})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return untrained().save_pretrained(tmp_path / "model")


def test_makes_measures_and_is_used(folder: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other"
    (other / "images").mkdir(parents=True)
    for number, picture in enumerate(strange()):
        Image.fromarray(picture).save(other / "images" / f"{number}.png")
    (other / "metadata.csv").write_text("file_name\n" + "".join(f"images/{n}.png\n" for n in range(4)))
    words: list[str | Path] = ["guard", folder, data, "--measure", data, other, "--json"]
    dry = json.loads(printed(capsys, *words, "--dry-run"))
    assert hub.REFERENCE_FILE not in hub.read_config(folder)["umsrep"]["sha256"]
    found = json.loads(printed(capsys, *words))
    assert found == dry
    assert [(r["data"], r["kind"], r["images"]) for r in found["rates"]] == [("discs", "test rows", 8), ("other", "all rows", 4)]
    assert found["rates"][1]["flagged"] == 4
    guard = MultiTaskModel.from_pretrained(folder).guard
    assert guard is not None
    assert (guard.threshold, guard.calibrated) == (found["threshold"], 20)
    assert all(check.ok for check in hub.verify(str(folder)))
    printed(capsys, "card", "--lint", folder)
    assert "4 of 4" in printed(capsys, "guard", folder, data, "--measure", other, "--dry-run")  # with one there already

    files = [data / "images" / "train0.png", other / "images" / "0.png"]
    capsys.readouterr()
    assert main(["predict", str(folder), *map(str, files), "--out", str(tmp_path / "out"), "--json"]) == 0
    said = capsys.readouterr()
    assert [e["out_of_distribution"]["flagged"] for e in json.loads(said.out)] == [False, True]
    assert said.err.count("umsrep: warning:") == 1
    assert "0.png: unlike the training images" in said.err
    assert "unlike the training images" in refused(capsys, "predict", folder, *files, "--out", tmp_path / "no", "--guard", "refuse")
    assert "out_of_distribution" not in printed(capsys, "predict", folder, *files, "--out", tmp_path / "off", "--guard", "off", "--json")


def test_mistakes(folder: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = many(tmp_path / "few", {"train": 20, "validation": 4})
    half = many(tmp_path / "half", {"train": 20})
    for words, said in (
        ((str(few),), "needs 19 held-out pictures or more, not 4"),
        ((str(half),), "no row with split = validation"),
        ((str(data), "--split-column", "fold"), "fold"),
        ((str(data), "--false-alarms", "2"), "--false-alarms must be above 0"),
        ((str(data), "--score", "energy", "--head", "disc"), "'disc' is no classification head"),
        ((str(tmp_path / "absent"),), "absent"),
    ):
        assert said in refused(capsys, "guard", folder, *words)
    assert "is no folder of yours" in refused(capsys, "guard", "ums-cxr-efficientnet-lite0", data)
    assert not (folder / hub.REFERENCE_FILE).exists()
