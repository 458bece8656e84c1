"""TRIPOD+AI and CLAIM: every item once, filled from what the run knows, and nothing made up."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from tests.tasks.evaluation.reviews import EVIL, whole_review
from umsrep.errors import InputError
from umsrep.tasks.evaluation.checklist import FILLED, OPEN, PARTLY, UNKNOWN, answers, fill, gather, markdown

PRESET = "ums-cxr-efficientnet-lite0"
AUTHORS_ONLY = {
    "TRIPOD+AI": (
        "2",
        "3a",
        "3b",
        "3c",
        "4",
        "5b",
        "6b",
        "6c",
        "8b",
        "8c",
        "9c",
        "17",
        "18a",
        "18b",
        "18c",
        "18d",
        "19",
        "25",
        "27b",
        "27c",
    ),
    "CLAIM 2024": ("2", "3", "4", "5", "6", "8", "11", "13", "15", "16", "17", "18", "34", "41", "42", "44"),
}
"""What no run can know: ethics, funding, eligibility, who annotated."""


def by_number(found: dict[str, Any], model: str | Path | None = None) -> dict[str, dict[str, dict[str, str]]]:
    return {g["name"]: {item["number"]: item for item in g["items"]} for g in fill(found, model)}


def test_items_are_those_of_the_guidelines() -> None:
    found = by_number(whole_review())
    tripod = found["TRIPOD+AI"]
    assert len(tripod) == 52  # the sub-items of the 27 items of Collins et al. 2024
    assert {int(re.match(r"\d+", number)[0]) for number in tripod} == set(range(1, 28))  # type: ignore[index]  # all begin with digits
    assert list(found["CLAIM 2024"]) == [str(n) for n in range(1, 45)]  # Tejani et al. 2024
    for name, items in found.items():
        assert set(answers(name)) <= set(items), "an answer to an item that does not exist"
        assert all(len(item["asks"]) < 110 for item in items.values()), "a paraphrase, not the text"


@pytest.mark.parametrize("model", [None, PRESET])
def test_what_no_run_can_know_is_left_open(model: str | None) -> None:
    found = by_number(whole_review(), model)
    for name, numbers in AUTHORS_ONLY.items():
        for number in numbers:
            assert found[name][number]["status"] == OPEN
            assert found[name][number]["answer"] == UNKNOWN


def test_what_the_review_knows_is_filled_in() -> None:
    found = by_number(whole_review())
    tripod, claim = found["TRIPOD+AI"], found["CLAIM 2024"]
    assert "0.900 (0.870 to 0.930)" in tripod["23a"]["answer"]
    assert tripod["23a"]["status"] == FILLED
    assert "North 0.900, South 0.920 (0.890 to 0.950)" in tripod["12d"]["answer"]
    assert "temperature 1.700" in tripod["12f"]["answer"]
    assert "column sex: 1 rows without a value" in tripod["11"]["answer"]
    assert tripod["11"]["status"] == PARTLY
    assert "normal 20, pneumonia 20" in tripod["10"]["answer"]
    assert "2,000 resamples" in claim["29"]["answer"]
    assert "a" * 12 in claim["22"]["answer"]
    assert "torch 2.9.1" in claim["23"]["answer"]


def test_without_groups_sites_gallery_and_shifts_their_items_stay_open() -> None:
    found = whole_review()
    found["settings"]["groups"] = []
    found["data"]["sites"] = {}
    for task in found["tasks"].values():
        task |= {"sites": None, "subgroups": [], "intersections": [], "temperature": None}
    items = by_number(found)
    for name, number in (("TRIPOD+AI", "6a"), ("TRIPOD+AI", "12d"), ("TRIPOD+AI", "14"), ("CLAIM 2024", "30"), ("CLAIM 2024", "39")):
        assert items[name][number]["status"] == OPEN, number
    assert items["TRIPOD+AI"]["23a"]["status"] == PARTLY
    assert items["TRIPOD+AI"]["12f"]["answer"].startswith("None")
    assert items["TRIPOD+AI"]["16"]["status"] == OPEN  # nothing is known of the training data


def test_a_preset_brings_its_card() -> None:
    items = by_number(whole_review(), PRESET)
    assert "cxr_guangzhou" in items["TRIPOD+AI"]["5a"]["answer"]
    assert "patients: 2,277" in items["TRIPOD+AI"]["5a"]["answer"]
    assert "cc-by-4.0" in items["TRIPOD+AI"]["22"]["answer"]
    assert "timm/tf_efficientnet_lite0.in1k" in items["CLAIM 2024"]["24"]["answer"]
    assert items["CLAIM 2024"]["26"]["status"] == OPEN  # the card does not say how the epoch was chosen


RUN = """
data: [{path: sets/cxr, split_column: split}]
encoder: {name: null, weights: null}
optimiser: {learning_rate: 0.001}
augment: {rotate: 10.0, flip: 0.0}
early_stopping: {metric: mean, patience: 0}
tasks: {pneumonia: {class_weights: [1.0, 2.0]}, lungs: {class_weights: null}}
strategy: full
epochs: 3
batch_size: 16
ema: 0.99
precision: 'no'
seed: 7
sampling: 0.5
"""


def _run(folder: Path, fingerprint: str) -> Path:
    (folder / "model").mkdir(parents=True)
    (folder / "config.yaml").write_text(RUN, encoding="utf-8")
    (folder / "report.json").write_text("{}", encoding="utf-8")
    environment = {"git_commit": "f" * 40, "python": "3.11.7", "device": "cpu", "world_size": 1, "versions": {"torch": "2.9.0"}}
    environment |= {"data": {"sets/cxr": fingerprint}}
    (folder / "environment.json").write_text(json.dumps(environment), encoding="utf-8")
    return folder / "model"


@pytest.mark.parametrize("internal", [True, False])
def test_a_run_folder_tells_how_it_was_trained_and_whether_this_is_other_data(tmp_path: Path, internal: bool) -> None:
    items = by_number(whole_review(), _run(tmp_path / "run", "c" * 64 if internal else "d" * 64))
    tripod, claim = items["TRIPOD+AI"], items["CLAIM 2024"]
    assert "Trained on sets/cxr" in tripod["5a"]["answer"]
    assert "pneumonia [1.0, 2.0]" in tripod["13"]["answer"]
    assert claim["24"]["answer"] == "Random weights, seed 7."
    assert "rotate 10.0" in claim["25"]["answer"]
    assert "flip" not in claim["25"]["answer"]
    assert "mean over heads" in claim["26"]["answer"]
    assert "Training: torch 2.9.0" in claim["23"]["answer"]
    assert "f" * 40 in tripod["18f"]["answer"]
    assert (claim["32"]["status"] == OPEN, claim["33"]["status"] == OPEN) == ((False, True) if internal else (True, False))


def test_a_damaged_run_is_one_line(tmp_path: Path) -> None:
    model = _run(tmp_path / "run", "c" * 64)
    (tmp_path / "run/environment.json").write_text("[1", encoding="utf-8")
    with pytest.raises(InputError, match=r"environment\.json: cannot be read"):
        gather(whole_review(), model)


def test_markdown_holds_every_item_and_nobody_breaks_its_tables() -> None:
    found = whole_review(evil=True)
    found["model"]["name"] = "a|b\n# heading <b> [x](y)"
    text = markdown(fill(found), found["model"]["name"])
    assert text.startswith("# Checklists: a\\|b # heading \\<b\\> \\[x\\](y)\n")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 * 2 + 52 + 44
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 6 for line in rows)
    assert "\u202e" not in text
    assert EVIL not in text


def test_the_sources_are_named() -> None:
    shipped = json.loads(resources.files("umsrep.tasks.evaluation").joinpath("guidelines.json").read_text(encoding="utf-8"))
    assert [g["source"].rpartition("doi:")[2] for g in shipped["guidelines"]] == ["10.1136/bmj-2023-078378", "10.1148/ryai.240300"]
