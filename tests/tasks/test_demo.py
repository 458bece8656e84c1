"""The demo runs the main job end to end; here on fewer spectra and fewer epochs than a user sees."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from umsrep.errors import InputError
from umsrep.tasks import demo
from umsrep.tasks.config import FineTuneConfig
from umsrep.tasks.data.doppler import FLOWS
from umsrep.tasks.model import MultiTaskModel


def test_an_interrupted_demo_can_be_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "fit", stop)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            demo.run_demo(tmp_path / "demo")


def test_a_file_is_no_folder_for_a_demo(tmp_path: Path) -> None:
    (tmp_path / "demo").write_text("mine")
    with pytest.raises(InputError, match="is a file; choose a folder"):
        demo.run_demo(tmp_path / "demo")
    assert (tmp_path / "demo").read_text() == "mine"


def test_demo_leaves_a_model_and_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = demo.demo_config

    def short(data: Path, output: Path) -> FineTuneConfig:
        return dataclasses.replace(full(data, output), epochs=1)

    monkeypatch.setattr(demo, "SPECTRA", 63)
    monkeypatch.setattr(demo, "demo_config", short)
    output = tmp_path / "demo"
    report = demo.run_demo(output)
    assert set(report.test) == {"denoising", "envelope", "flow"}
    for name in ("samples.png", "curves.png"):
        with Image.open(output / name) as picture:
            assert min(picture.size) > 200
    assert json.loads((output / "report.json").read_text())["epoch"] == 1
    model = MultiTaskModel.from_pretrained(report.model)
    example = next((output / "examples").iterdir())
    prediction = model.predict([example])[0]
    assert prediction["flow"].label in FLOWS
    again = demo.run_demo(output)  # an earlier demo is replaced, and the same seed gives the same model
    assert again.score == report.score


def test_demo_never_deletes_what_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="holds something other than an earlier demo"):
        demo.run_demo(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "mine"
