"""Model cards: built from the configuration, read back, linted."""

from __future__ import annotations

import ast
import hashlib
import re
from pathlib import Path

import pytest
import yaml

from umsrep.errors import InputError
from umsrep.zoo import PRESETS, Encoder, InputContract
from umsrep.zoo.card import REQUIRED_SECTIONS, RESEARCH_ONLY, build_card, lint_card, read_card

CONFIG = {
    "architecture": "resnet18",
    "umsrep": {
        "schema_version": 1,
        "contract": InputContract(channels=2, size=96).to_dict(),
        "modality": "cxr",
        "heads": {
            "denoising": {"kind": "denoising", "args": {"decoder": "unet"}},
            "lungs": {"kind": "segmentation", "args": {"classes": ["background", "lung"]}},
        },
        "sha256": {"model.safetensors": "ab" * 32},
    },
}


def test_card_says_what_was_measured_and_for_what() -> None:
    results = {"Test split": {"dice": 0.951234, "patients": 12, "note": "one site"}}
    said = {"limits": "Only adults.", "training": "Trained on X."}
    text = build_card("my-model", CONFIG, results=results, license="apache-2.0", location="org/my-model", **said)
    assert RESEARCH_ONLY in text
    rows = ("| dice | 0.9512 |", "| patients | 12 |", "| note | one site |", "| size | [96, 96] |")
    for wanted in ("# my-model", *rows, *said.values()):
        assert wanted in text, wanted
    assert "in_chans=2" in text
    assert "| lungs | segmentation | classes=['background', 'lung'] |" in text
    assert f"| model.safetensors | `{'ab' * 32}` |" in text
    metadata = yaml.safe_load(text.split("---\n")[1])
    tags = ["umsrep", "medical-imaging", "cxr", "denoising", "segmentation"]
    assert metadata == {"library_name": "timm", "license": "apache-2.0", "tags": tags}
    assert not lint_card(text)


def test_card_without_results_says_so_and_only_misses_a_licence() -> None:
    text = build_card("m", CONFIG)
    assert "Nothing was measured for this folder." in text
    assert lint_card(text) == ["metadata: no license"]


def test_the_same_input_gives_the_same_bytes() -> None:
    assert build_card("m", CONFIG, license="mit") == build_card("m", CONFIG, license="mit")


@pytest.mark.parametrize("heads", [True, False])
def test_the_example_is_python_and_loads_the_right_place(heads: bool) -> None:
    config = {**CONFIG, "umsrep": {**CONFIG["umsrep"], **({} if heads else {"heads": {}})}}  # type: ignore[dict-item]
    found = re.search(r"```python\n(.*?)```", build_card("m", config, location="org/m"), flags=re.DOTALL)
    assert found is not None
    calls = [ast.unparse(node) for node in ast.walk(ast.parse(found.group(1))) if isinstance(node, ast.Call)]
    assert "umsrep.Encoder.from_pretrained('org/m')" in calls
    assert ("umsrep.MultiTaskModel.from_pretrained('org/m')" in calls) is heads


def test_a_saved_folder_has_a_card_of_itself(tmp_path: Path) -> None:
    folder = Encoder.create("convnextv2_atto", contract=InputContract()).save_pretrained(tmp_path / "enc")
    text = read_card(str(folder))
    assert text == read_card(str(folder / "README.md"))
    assert hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest() in text
    assert "No heads: an encoder only." in text
    assert lint_card(text) == ["metadata: no license"]


# ---- reading -----------------------------------------------------------------------------------------------------------
def test_every_preset_has_a_clean_card() -> None:
    for name in PRESETS:
        assert not lint_card(read_card(name)), name


def test_reading_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"neither a preset nor a folder with a README\.md"):
        read_card(str(tmp_path))
    with pytest.raises(InputError, match=r"'absent\.md' is neither"):
        read_card("absent.md")


def test_reading_what_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"README\.md: not UTF-8 text"):
        read_card(str(tmp_path))


# ---- linting -----------------------------------------------------------------------------------------------------------
GOOD = build_card("m", CONFIG, license="mit")


@pytest.mark.parametrize("section", REQUIRED_SECTIONS)
def test_a_missing_section_is_named(section: str) -> None:
    assert lint_card(GOOD.replace(f"## {section}\n", f"### {section}\n")) == [f"no section '## {section}'"]


def test_a_card_must_say_that_it_is_for_research_only() -> None:
    assert lint_card(GOOD.replace(RESEARCH_ONLY, "")) == ["does not say that it is for research only"]


@pytest.mark.parametrize(
    ("metadata", "problem"),
    [
        ("tags: [umsrep", "metadata: not valid YAML"),
        ("tags: [other]\nlicense: mit", "metadata: tags must hold 'umsrep'"),
        ("license: mit", "metadata: tags must hold 'umsrep'"),
        ("just text", "metadata: tags must hold 'umsrep'"),
        ("tags: 5\nlicense: mit", "metadata: tags must hold 'umsrep'"),
        ("tags: [umsrep]", "metadata: no license"),
    ],
)
def test_wrong_metadata_is_said(metadata: str, problem: str) -> None:
    found = lint_card(f"---\n{metadata}\n---\n" + GOOD.split("---\n", 2)[2])
    assert len(found) == 1
    assert found[0].startswith(problem)


def test_an_empty_card_lacks_everything() -> None:
    assert len(lint_card("")) == len(REQUIRED_SECTIONS) + 2
