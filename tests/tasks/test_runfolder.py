"""The run folder: never written over, its log cut back on resuming, its numbers valid JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from umsrep.errors import InputError
from umsrep.tasks import checkpoint, runfolder
from umsrep.tasks.data.manifest import load_manifest
from umsrep.tasks.trainer import Report
from umsrep.zoo import hub
from umsrep.zoo.card import build_card
from umsrep.zoo.card_lint import lint_card
from umsrep.zoo.results import load_results


@pytest.fixture(scope="module")
def accelerator() -> Accelerator:
    return Accelerator(cpu=not torch.cuda.is_available())


def test_a_new_or_empty_folder_is_opened(tmp_path: Path, accelerator: Accelerator) -> None:
    assert runfolder.open_folder(tmp_path / "a" / "b", resume=False, accelerator=accelerator) is None
    assert (tmp_path / "a" / "b").is_dir()
    assert runfolder.open_folder(tmp_path / "a" / "b", resume=False, accelerator=accelerator) is None


def test_a_filled_folder_or_a_file_is_refused(tmp_path: Path, accelerator: Accelerator) -> None:
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match="pass --resume to continue it, or choose another output"):
        runfolder.open_folder(tmp_path, resume=False, accelerator=accelerator)
    for resume in (False, True):
        with pytest.raises(InputError, match="is a file, not a folder"):
            runfolder.open_folder(tmp_path / "metrics.jsonl", resume=resume, accelerator=accelerator)
    with pytest.raises(InputError, match="cannot be made"):
        runfolder.open_folder(tmp_path / "metrics.jsonl" / "run", resume=False, accelerator=accelerator)


def test_resuming_cuts_the_log_to_the_checkpoint(tmp_path: Path, accelerator: Accelerator) -> None:
    for epoch in (1, 2, 3):
        runfolder.append_metrics(tmp_path, {"epoch": epoch})
    checkpoint.save(tmp_path, 4, {"epoch": 2})
    assert runfolder.open_folder(tmp_path, resume=True, accelerator=accelerator) == {"epoch": 2}
    assert [json.loads(line)["epoch"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [1, 2]


def test_a_log_whose_last_line_was_cut_off_can_be_resumed(tmp_path: Path, accelerator: Accelerator) -> None:
    runfolder.append_metrics(tmp_path, {"epoch": 1})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "tra')  # the machine stopped while writing
    checkpoint.save(tmp_path, 4, {"epoch": 2})
    runfolder.open_folder(tmp_path, resume=True, accelerator=accelerator)
    assert [json.loads(line)["epoch"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [1]


def test_starting_over_drops_the_old_log(tmp_path: Path, accelerator: Accelerator) -> None:
    runfolder.append_metrics(tmp_path, {"epoch": 1})
    assert runfolder.open_folder(tmp_path, resume=True, accelerator=accelerator) is None
    assert not (tmp_path / "metrics.jsonl").exists()


def test_environment(tmp_path: Path, accelerator: Accelerator) -> None:
    runfolder.write_environment(tmp_path, 2, accelerator, data={"d": "ab"}, notes=["3 rows left out"], seed=7)
    environment = json.loads((tmp_path / "environment.json").read_text())
    assert environment["world_size"] == 2
    assert torch.__version__.startswith(environment["versions"]["torch"])
    assert {"device", "precision", "threads", "python", "platform", "git_commit"} <= environment.keys()


def test_the_fingerprint_is_that_of_the_table(tiny_data: Path) -> None:
    manifest = load_manifest(tiny_data)
    before = runfolder.fingerprint(manifest)
    assert before == runfolder.fingerprint(load_manifest(tiny_data))
    columns = {name: list(cells) for name, cells in manifest.columns.items()}
    columns["label"][3] += "x"
    assert runfolder.fingerprint(dataclasses.replace(manifest, columns=columns)) != before
    moved = {name: manifest.columns[name] for name in reversed(manifest.columns)}
    assert runfolder.fingerprint(dataclasses.replace(manifest, columns=moved)) == before, "the order of columns means nothing"
    joined = {"a": ["x", "y"], "b": ["z"]}
    split = {"a": ["x"], "b": ["y", "z"]}
    assert len({runfolder.fingerprint(dataclasses.replace(manifest, columns=c)) for c in (joined, split)}) == 2


def test_numbers_that_json_has_not_become_null(tmp_path: Path) -> None:
    entry = {"a": math.nan, "b": {"c": [1.5, math.inf, (2, -math.inf)]}, "p": Path("x"), "n": None, "flag": True}
    runfolder.append_metrics(tmp_path, entry)
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {
        "a": None,
        "b": {"c": [1.5, None, [2, None]]},
        "p": "x",
        "n": None,
        "flag": True,
    }


def test_names_for_trackers() -> None:
    entry = {"epoch": 2, "validation": {"disc": {"dice": 0.5, "hd95": math.nan}}, "train": {"size": 1.0}, "text": "no"}
    assert runfolder.flat(entry) == {"epoch": 2.0, "validation/disc/dice": 0.5, "train/size": 1.0}


def test_a_line_for_people() -> None:
    entry = {"epoch": 3, "images_per_second": 12.34, "train": {"disc": 0.51234}, "validation": {"disc": {"dice": 0.9, "iou": 0.8}}}
    assert runfolder.epoch_line(entry, True) == "epoch   3  12.3 img/s  disc loss 0.5123  disc Dice 0.9000  best"
    assert not runfolder.epoch_line({k: v for k, v in entry.items() if k != "validation"}, False).endswith("best")


def test_report_and_card_of_a_run(trained: Report) -> None:
    report = json.loads((trained.output / "report.json").read_text())
    assert report["epoch"] == trained.epoch
    assert set(report["validation"]) == set(report["test"]) == {"denoising", "disc", "size"}
    assert report["model"] == str(trained.model)
    card = (trained.model / "README.md").read_text()
    results, config = load_results(trained.output / "results.json"), hub.read_config(trained.model)
    assert card == build_card("trained", config, results)
    assert lint_card(card, config=config, results=results, location="model") == []
    assert "of 3 chosen on validation" in card
    assert "`discs`" in card
    assert "**disc** on discs, test: 4 images" in card
    assert f"| Dice | {trained.test['disc']['dice']:.3f} |" in card
