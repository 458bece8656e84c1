"""`umsrep study similarity`; `umsrep study transfusion` is run in tests/tasks/study/test_transfusion.py."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conformance import perturb
from umsrep.tasks.cli import main
from umsrep.zoo import Encoder, InputContract


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two encoders of one architecture."""
    folder = tmp_path_factory.mktemp("encoders")
    torch.manual_seed(0)
    encoder = Encoder.create("cbr_tiny", contract=InputContract(size=32))
    encoder.save_pretrained(folder / "before")
    perturb(encoder, 0.3)
    encoder.save_pretrained(folder / "after")
    return [str(folder / "before"), str(folder / "after")]


def test_similarity_prints_draws_and_tells_json(
    folders: list[str], tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["study", "similarity", *folders, str(tiny_data), "--split", "train", "--images", "12"]
    assert main([*words, "--json", "--out", str(tmp_path / "map.png")]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["first"] == ["/2 32", "/4 64", "/8 128", "/16 256", "/32 256"]
    for measure in ("cka", "svcca"):
        matrix = np.array(values[measure])
        assert matrix.shape == (5, 5)
        assert (np.diag(matrix) < 1).all()
        assert (matrix > 0).all()
    with Image.open(tmp_path / "map.png") as picture:
        assert min(picture.size) > 300
    assert main(words) == 0
    assert f"{values['cka'][0][0]:10.3f}" in capsys.readouterr().out


def test_faults_are_one_line(folders: list[str], tiny_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in (
        (["study"], "the following arguments are required: STUDY"),
        (["study", "transfusio"], "transfusio"),
        (["study", "transfusion", "--config", "absent.yaml"], "absent.yaml: no such configuration file"),
        (["study", "similarity", *folders, str(tiny_data), "--image", "3"], "unknown argument '--image'"),
        (["study", "similarity", *folders, str(tiny_data), "--images", "3"], "needs 4 images or more"),
    ):
        assert main(words) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
