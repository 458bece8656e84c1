"""`umsrep evaluate --review`: the folder it writes, its table, and mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tasks.cli.console import Capture, printed, refused
from tests.tasks.evaluation.reviews import whole_review
from umsrep.errors import InputError
from umsrep.tasks.cli.reviewing import read_groups
from umsrep.tasks.evaluation.publishing import write_pages
from umsrep.tasks.trainer import Report


def test_intervals_of_evaluate(trained: Report, tiny_data: Path, capsys: Capture) -> None:
    words = ("evaluate", trained.model, tiny_data, "--workers", "0", "--split", "train", "--tasks", "size,denoising")
    found = json.loads(printed(capsys, *words, "--json"))
    for head in ("size", "denoising"):
        for metric, (low, high) in found[head]["intervals"].items():
            assert low <= found[head][metric] + 1e-6, metric
            assert found[head][metric] <= high + 1e-6, metric
    assert (found["size"]["n"], found["size"]["patients"]) == (13, 8)
    text = printed(capsys, *words)
    assert "95 % interval" in text
    assert f"{found['size']['intervals']['auroc'][0]:.4f} to" in text


def test_a_review(trained: Report, tiny_data: Path, tmp_path: Path, capsys: Capture) -> None:
    words = ("evaluate", trained.model, tiny_data, "--workers", "0", "--split", "train", "--tasks", "size", "--resamples", "50")
    text = printed(capsys, *words, "--review", tmp_path / "r", "--groups", "site", "--alpha", "0.25", "--prevalence", "0.02")
    assert "review.json" in text
    found = json.loads((tmp_path / "r" / "review.json").read_text())
    assert found["settings"]["prevalences"] == [0.02]
    assert found["tasks"]["size"]["subgroups"][0]["column"] == "site"
    assert (tmp_path / "r" / "review.html").is_file()


def test_mistakes(trained: Report, tiny_data: Path, tmp_path: Path, capsys: Capture) -> None:
    words = ("evaluate", trained.model, tiny_data, "--workers", "0")
    assert "--groups needs --review DIR" in refused(capsys, *words, "--groups", "site")
    assert "--calibrate-on needs --review DIR" in refused(capsys, *words, "--calibrate-on", "train")
    assert "needs --review DIR and --calibration-data" in refused(capsys, *words, "--calibration-targets.size.column", "label")
    review = (*words, "--review", tmp_path / "r")
    assert "'x' is no number" in refused(capsys, *review, "--groups", "age:x")
    assert "no column 'sitee'; did you mean 'site'" in refused(capsys, *review, "--groups", "sitee")
    assert "needs --calibration-data" in refused(capsys, *review, "--calibration-targets.size.column", "label")
    assert "the split under review" in refused(capsys, *review, "--calibrate-on", "test")
    assert "absent" in refused(capsys, *review, "--compare", tmp_path / "absent")
    assert not (tmp_path / "r").exists()


def test_groups() -> None:
    assert read_groups("sex, age:40:60") == (["sex", "age"], {"age": [40, 60]})
    assert read_groups(None) == ([], {})
    with pytest.raises(InputError, match="'b' is no number"):
        read_groups("age:1:b")


def test_the_page_is_written_again_and_other_folders_are_refused(tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "r"
    folder.mkdir()
    write_pages(whole_review() | {"checklist": []}, folder)
    before = (folder / "review.html").read_bytes()
    (folder / "review.html").unlink()
    assert "review.html" in printed(capsys, "review", folder)
    assert (folder / "review.html").read_bytes() == before
    assert "no such file" in refused(capsys, "review", tmp_path)
    assert "cannot be read" in refused(capsys, "review", folder, "--shifts", tmp_path / "none.json")
    assert "no such file" in refused(capsys, "review", folder, "--left-out", tmp_path)


def test_options_of_pictures_need_a_review(tmp_path: Path, capsys: Capture) -> None:
    assert "--review-ids needs --review DIR" in refused(capsys, "evaluate", tmp_path, tmp_path, "--review-ids")
    assert "--review-pictures needs --review DIR" in refused(capsys, "evaluate", tmp_path, tmp_path, "--review-pictures", "0")
