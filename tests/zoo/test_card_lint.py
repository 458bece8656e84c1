"""The lint: a good card has no problems, and each thing that can be wrong is named on its line."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest

from umsrep.zoo import InputContract
from umsrep.zoo.card import RESEARCH_ONLY, SECTIONS, build_card
from umsrep.zoo.card_lint import LICENCES, lint_card
from umsrep.zoo.results import Features, Measurement, Results

CONFIG: dict[str, Any] = {
    "architecture": "resnet18",
    "umsrep": {
        "contract": InputContract(size=96).to_dict(),
        "modality": "cxr",
        "heads": {"lungs": {"kind": "segmentation", "args": {"classes": ["background", "lung"]}}},
        "sha256": {"model.safetensors": "ab" * 32, "heads.safetensors": "cd" * 32},
    },
}
RESULTS = Results(
    license="mit",
    features=Features((64, 128), (2, 4), 512),
    measurements=(
        Measurement("results", "lungs", "dice", "guangzhou", 0.9532, split="test", interval=(0.94, 0.96), images=447),
        Measurement("results", "lungs", "dice", "guangzhou", 0.9001, split="test", method="Otsu"),
        Measurement("shift", "lungs", "dice", "external", 0.9309),
    ),
)
GOOD = build_card("m", CONFIG, RESULTS)


def line_of(text: str, part: str) -> int:
    """The first line, from 1, that holds ``part``."""
    return next(n for n, line in enumerate(text.splitlines(), 1) if part in line)


def test_a_good_card_has_no_problems() -> None:
    assert lint_card(GOOD, config=CONFIG, results=RESULTS, location="m") == []


@pytest.mark.parametrize("section", SECTIONS)
def test_a_missing_section_is_named(section: str) -> None:
    assert [p.message for p in lint_card(GOOD.replace(f"## {section}\n", f"### {section}\n"))] == [f"no section '## {section}'"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("license: mit", "license: MIT", "license 'MIT' is not in the Hub's list; did you mean"),
        ("license: mit", "license: other", "license 'other' needs license_name"),
        ("license: mit\n", "", "metadata: no license"),
        ("license: mit", "license: mit\nlicense: mit", "'license' stands twice"),
        (
            "license: mit\nlibrary_name: timm",
            "library_name: timm\nlicense: mit",
            "'library_name' must stand before 'license'|'license' must stand before",
        ),
        ("- umsrep\n", "", "tags must hold 'umsrep'"),
        ("library_name: timm", "library_name: transformers", "library_name must be timm"),
        ("license: mit", "license: [mit", "not valid YAML"),
        ("    dataset:\n", "    data:\n", "model-index is not in the Hub's form"),
        (RESEARCH_ONLY, "Have fun.", "does not say 'For research only"),
        ("## Interference", "## Interference\nTODO", "'TODO' was not filled in"),
        ("## Interference", "## Interference\n[More Information Needed]", "was not filled in"),
        ("## Interference", "## Interference\nby <author name>", "was not filled in"),
        ("import umsrep\n", "import umsrep as\n", "the snippet is no Python"),
        ('timm.create_model("local-dir:m"', 'timm.create_model("local-dir:other"', "the snippet loads 'other', not 'm'"),
        ("| 0.953 (0.940 to 0.960) |", "| 0.963 (0.940 to 0.960) |", "Dice of **lungs** on guangzhou, test is 0.963 here, but 0.9532"),
        ("      value: 0.9532\n", "      value: 0.8532\n", "Dice of **lungs** on guangzhou, test is 0.953 here, but 0.8532"),
        (
            "| 0.953 (0.940 to 0.960) |",
            "| 0.953 (0.950 to 0.955) |",
            "is 0.953 (0.950 to 0.955) here, but the metadata give 0.953 (0.940 to 0.960)",
        ),
        ("        - 0.94\n", "        - 0.92\n", "is 0.953 (0.940 to 0.960) here, but the metadata give 0.953 (0.920 to 0.960)"),
        ("      value: 0.9532\n", "      value: high\n", "model-index: Dice is no number with a name"),
        ("      value: 0.9309\n", "      value: [1]\n", "model-index: Dice is no number with a name"),
        ("| Dice | 0.931 |\n", "", "Dice of **lungs** on external stands in no table"),
    ],
)
def test_one_thing_wrong_is_one_problem_without_anything_beside_the_card(old: str, new: str, message: str) -> None:
    assert old in GOOD
    text = GOOD.replace(old, new, 1)
    found = lint_card(text)
    assert len(found) == 1, found
    assert any(part in found[0].message for part in message.split("|"))


def test_problems_stand_on_their_line() -> None:
    text = (
        GOOD.replace("| 0.953 (", "| 0.963 (").replace("## Interference", "## Interference\nTBD").replace("license: mit", "license: mitt")
    )
    lines = [line_of(text, part) for part in ("license: mitt", "| 0.963", "TBD")]
    assert [p.line for p in lint_card(text)] == sorted(lines)
    assert str(lint_card(text)[0]).startswith(f"line {lines[0]}: metadata: license")


def test_sections_in_another_order() -> None:
    swapped = GOOD.replace("## Cost", "## X").replace("## Interference", "## Cost").replace("## X", "## Interference")
    assert "section 'Interference' must stand before 'Cost'" in [p.message for p in lint_card(swapped)]


def test_an_empty_section() -> None:
    start, end = GOOD.index("## Cost\n") + 8, GOOD.index("## Shift")
    assert [p.message for p in lint_card(GOOD[:start] + "\n" + GOOD[end:])] == ["section 'Cost' is empty"]


def test_an_empty_card_lacks_everything() -> None:
    messages = [p.message for p in lint_card("")]
    assert len(messages) == len(SECTIONS) + 3
    assert "no YAML metadata between --- lines at the top" in messages
    assert "no snippet loads the model" in messages


# ---- against config.json -------------------------------------------------------------------------------------------
def changed(**changes: Any) -> dict[str, Any]:
    config = copy.deepcopy(CONFIG)
    config["umsrep"] |= changes
    return config


def test_a_wrong_missing_or_foreign_checksum() -> None:
    wrong = lint_card(GOOD, config=changed(sha256={"model.safetensors": "ef" * 32, "heads.safetensors": "cd" * 32}))
    assert wrong == [(line_of(GOOD, "abab"), f"sha256 of model.safetensors is {'ab' * 6}..., but {'ef' * 6}... in config.json")]
    missing = lint_card(GOOD, config=changed(sha256={**CONFIG["umsrep"]["sha256"], "more.safetensors": "ef" * 32}))
    assert [p.message for p in missing] == ["no checksum of more.safetensors"]
    foreign = lint_card(GOOD, config=changed(sha256={"model.safetensors": "ab" * 32}))
    assert foreign == [(line_of(GOOD, "cdcd"), "checksum of heads.safetensors, which config.json does not know")]


def test_another_contract_or_architecture() -> None:
    found = [p.message for p in lint_card(GOOD, config=changed(contract=InputContract(size=128).to_dict()))]
    assert "metadata: the contract is not that of config.json" in found
    assert any(m.startswith("size must read '128 x 128 pixels") for m in found)
    other = lint_card(GOOD, config={**CONFIG, "architecture": "resnet34"})
    assert [p.message for p in other] == ["metadata: architecture is 'resnet18', but 'resnet34' in config.json"]


def test_a_contract_without_newer_rules_is_the_same() -> None:
    old = {k: CONFIG["umsrep"]["contract"][k] for k in ("channels", "size", "unit", "mean", "std", "resize", "window")}
    assert lint_card(GOOD, config=changed(contract=old)) == []


# ---- against the results -------------------------------------------------------------------------------------------
def test_every_number_must_be_that_of_the_results() -> None:
    rows = RESULTS.measurements
    other = dataclasses.replace(RESULTS, measurements=(rows[0], dataclasses.replace(rows[1], value=0.8), rows[2]))
    found = lint_card(GOOD, config=CONFIG, results=other)
    message = "'Dice | Otsu | 0.900' under '**lungs** on guangzhou, test' is not in the results; they give 'Dice | Otsu | 0.800'"
    assert found == [(line_of(GOOD, "Otsu"), message)]
    other = dataclasses.replace(RESULTS, measurements=rows[:1])
    found = lint_card(GOOD, config=CONFIG, results=other)
    assert any("Otsu" in p.message and "is not in the results" in p.message for p in found)
    assert any(p.message == "metadata: model-index is not what the results give" for p in found)
    fewer = build_card("m", CONFIG, other)
    assert any(
        "the results have 'Dice | 0.931' under '**lungs** on external'" in p.message
        for p in lint_card(fewer, config=CONFIG, results=RESULTS)
    )


def test_prose_may_be_added() -> None:
    assert lint_card(GOOD.replace("## Cost\n", "## Cost\nIt runs on any laptop.\n\n"), config=CONFIG, results=RESULTS) == []


def test_where_the_snippets_may_point() -> None:
    text = build_card("m", CONFIG, RESULTS, location="./runs/a/model")
    assert lint_card(text) == lint_card(text, location="model") == []
    assert len(lint_card(text, location="other")) == 1
    published = build_card("m", CONFIG, RESULTS, location="org/m", revision="v1")
    assert lint_card(published, location="org/m") == lint_card(published, location="0123abc") == []
    assert len(lint_card(published, location="org/other")) == 1


def test_the_licence_list() -> None:
    assert {"apache-2.0", "mit", "cc-by-4.0", "cc-by-nc-sa-4.0", "other", "unknown"} <= LICENCES
    assert all(name == name.lower() and " " not in name for name in LICENCES)


@pytest.mark.parametrize("path", ["/home/mia/x/m", "~/data/m", "C:\\Users\\mia", "file:///srv/m", "--out=/tmp/a/b"])
def test_places_on_a_disk_are_for_no_published_card(path: str) -> None:
    card = build_card("m", CONFIG, RESULTS, location="org/m")
    assert lint_card(card, config=CONFIG, location="org/m") == []
    text = f"{card}\nMade with `{path}`.\n"
    (problem,) = lint_card(text, location="org/m")
    assert "is a place on one disk" in problem.message
    assert problem.line == line_of(text, path)
    assert not [p for p in lint_card(text) if "disk" in p.message]


@pytest.mark.parametrize("text", ["and/or", "512 / 512", "https://example.org/a/b", "1/2 of 3/4", "[x](https://a.b/c/d)", "mg/ml/h"])
def test_what_only_looks_like_a_path(text: str) -> None:
    card = build_card("m", CONFIG, RESULTS, location="org/m")
    assert lint_card(f"{card}\n{text}\n", location="org/m") == []
