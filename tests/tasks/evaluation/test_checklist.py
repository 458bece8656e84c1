"""TRIPOD+AI and CLAIM: every item once, what no run can know left open, and Markdown that nobody breaks."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path

import pytest

from tests.tasks.evaluation.checklists import PRESET, by_number, run_folder
from tests.tasks.evaluation.reviews import EVIL, whole_review
from umsrep.errors import InputError
from umsrep.tasks.evaluation.checklist import OPEN, UNKNOWN, answers, fill, gather, markdown

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


def test_a_damaged_run_is_one_line(tmp_path: Path) -> None:
    model = run_folder(tmp_path / "run", "c" * 64)
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
