"""umsrep inspect: what it prints, and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path

from tests.tasks.cli.console import Capture, printed, refused
from tests.tasks.runs import put, rewrite
from tests.tiny import write_tiny_data
from umsrep.tasks.cli import main
from umsrep.tasks.config_file import load_config


def test_inspect(tiny_data: Path, tmp_path: Path, capsys: Capture) -> None:
    text = printed(capsys, "inspect", tiny_data, "--no-encoder")
    assert "24 rows" in text
    assert "validation" in text
    assert "48x40 (24)" in text
    assert json.loads(printed(capsys, "inspect", tiny_data, "--json", "--no-encoder"))["rows"] == 24
    folder = write_tiny_data(tmp_path / "data")
    (folder / "images" / "04.png").unlink()
    assert main(["inspect", str(folder), "--no-encoder"]) == 2
    assert "row 6 (images/04.png)" in capsys.readouterr().err
    assert main(["inspect", str(folder), "--json", "--no-encoder"]) == 2
    assert len(json.loads(capsys.readouterr().out)["problems"]) == 1
    assert "no such data folder" in refused(capsys, "inspect", tmp_path / "absent")


def test_inspect_writes_page_and_configuration(tiny_data: Path, tmp_path: Path, capsys: Capture) -> None:
    page, config = tmp_path / "out" / "report.html", tmp_path / "out" / "run.yaml"
    text = printed(capsys, "inspect", tiny_data, "--no-encoder", "--html", page, "--config-out", config)
    assert f"written: {config}" in text
    assert "--config-out F.yaml writes it" not in text
    assert "suggestion: tasks.classification: the positive class is small" in text
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert set(load_config(config).tasks) == {"denoising", "segmentation", "classification"}
    folder = write_tiny_data(tmp_path / "data")
    for row in range(24):
        rewrite(folder, put(row, "split", "test"))
    assert "training needs rows in train and validation" in printed(capsys, "inspect", folder, "--no-encoder")
    for form in ([], ["--json"]):
        assert main(["inspect", str(folder), "--no-encoder", "--config-out", str(tmp_path / "no.yaml"), *form]) == 2
        captured = capsys.readouterr()
        assert json.loads(captured.out)["rows"] == 24 if form else "24 rows" in captured.out
        assert "no.yaml is not written: no configuration: training needs rows in train and validation" in captured.err
    assert not (tmp_path / "no.yaml").exists()


def test_inspect_makes_a_manifest_of_twin_folders(tmp_path: Path, capsys: Capture) -> None:
    folder = write_tiny_data(tmp_path / "data")
    (folder / "metadata.csv").unlink()
    report = json.loads(printed(capsys, "inspect", folder, "--write", "--no-encoder", "--json"))
    assert (report["rows"], report["tasks"]["mask_file_name"]["rows"]) == (24, 21)
    assert (folder / "metadata.csv").is_file()
    assert report["note_kinds"][0] == "manifest written"
    assert "exists already" in refused(capsys, "inspect", folder, "--write")


def test_inspect_unknown_encoder(tiny_data: Path, capsys: Capture) -> None:
    assert "neither a preset" in refused(capsys, "inspect", tiny_data, "--encoder", "ums-cxr")


def test_outputs_replace_nothing_of_the_user(tiny_data: Path, tmp_path: Path, capsys: Capture) -> None:
    kept = tmp_path / "run.yaml"
    kept.write_text("mine", encoding="utf-8")
    (tmp_path / "pipe").mkdir()
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    for option, path, words in (
        ("--config-out", kept, "exists already and is not replaced"),
        ("--config-out", tmp_path / "gone", "exists already and is not replaced"),
        ("--html", kept, "exists and is no HTML page"),
        ("--html", tmp_path / "pipe", "exists and is no regular file"),
        ("--html", "/dev/null", "exists and is no regular file"),
    ):
        assert words in refused(capsys, "inspect", tiny_data, "--no-encoder", option, path)
    assert kept.read_text(encoding="utf-8") == "mine"
    page = tmp_path / "report.html"
    for _ in range(2):  # a page may be made anew
        assert f"written: {page}" in printed(capsys, "inspect", tiny_data, "--no-encoder", "--html", page)


def test_encoder_and_no_encoder_contradict(tiny_data: Path, capsys: Capture) -> None:
    assert "not allowed with" in refused(capsys, "inspect", tiny_data, "--encoder", "x", "--no-encoder")
