"""The command catalog: what it writes, says and refuses."""

from __future__ import annotations

from pathlib import Path

from tests.tasks.cli.console import Capture, printed, refused
from umsrep.zoo import PRESETS, Encoder, InputContract


def test_presets_and_own_models_come_onto_one_page(tmp_path: Path, capsys: Capture) -> None:
    Encoder.create("test_efficientnet", contract=InputContract(), modality="us").save_pretrained(tmp_path / "models" / "mine")
    (tmp_path / "models" / "bad").mkdir()
    (tmp_path / "models" / "bad" / "config.json").write_text("{")
    out = printed(capsys, "catalog", tmp_path / "models", "--out", tmp_path / "page")
    assert out == f"{tmp_path}/page/index.html: {len(PRESETS) + 1} encoders\n"
    page = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    for name in (*PRESETS, str(tmp_path / "models" / "mine")):
        assert f"{name}</a>" in page


def test_a_folder_that_is_left_out_is_said(tmp_path: Path, capsys: Capture) -> None:
    from umsrep.tasks.cli import main

    Encoder.create("test_efficientnet", contract=InputContract(), modality="us").save_pretrained(tmp_path / "mine")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "config.json").write_text("{")
    assert main(["catalog", str(tmp_path), "--out", str(tmp_path / "page")]) == 0
    assert capsys.readouterr().err.startswith(f"umsrep: left out: {tmp_path}/bad/config.json: not valid JSON")


def test_wrong_input_is_one_line(tmp_path: Path, capsys: Capture) -> None:
    assert "--out" in refused(capsys, "catalog")
    assert "'./nowhere' is no folder" in refused(capsys, "catalog", "./nowhere", "--out", tmp_path)
    assert "forbids the network" in refused(capsys, "catalog", "some-org", "--out", tmp_path)
    (tmp_path / "index.html").write_text("mine")
    assert "is no catalog of umsrep" in refused(capsys, "catalog", "--out", tmp_path)
