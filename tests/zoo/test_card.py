"""Model cards: built from configuration and results, the same bytes again, read back, relocated; the Hub's metadata; snippets that run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import eval_results_to_model_index, model_index_to_eval_results
from PIL import Image

from umsrep.errors import InputError
from umsrep.zoo import PRESETS, Encoder, InputContract, hub
from umsrep.zoo.card import RESEARCH_ONLY, SECTIONS, build_card, metadata_of, read_card, relocate
from umsrep.zoo.card_lint import lint_card
from umsrep.zoo.card_sections import NOT_MEASURED
from umsrep.zoo.results import Measurement, Results, load_results

ROOT = Path(__file__).resolve().parents[2]
CONFIG: dict[str, Any] = {
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
RESULTS = Results.from_dict(
    {
        "schema_version": 1,
        "license": "mit",
        "verdict": "For tests, not for patients.",
        "base_model": "timm/resnet18.a1_in1k",
        "conditions": "At 96 px.",
        "features": {"channels": [64, 64, 128, 256, 512], "strides": [2, 4, 8, 16, 32], "embedding_dim": 512, "decoders": ["unet", "fpn"]},
        "training": "Trained on X.",
        "data": [{"name": "discs", "images": 1600, "patients": 8, "license": "CC0"}],
        "measurements": [
            {"group": "results", "head": "lungs", "metric": "dice", "data": "d", "split": "test", "value": 0.951234, "images": 1204},
            {"group": "results", "head": "lungs", "metric": "hd95", "data": "d", "split": "test", "value": None},
            {
                "group": "results",
                "head": "denoising",
                "metric": "psnr_gain",
                "data": "d",
                "method": "Median filter",
                "value": 8.7371,
                "images": 101,
                "patients": 99,
                "interval": [8.6, 8.86],
                "difference": 2.152,
                "difference_interval": [2.1, 2.2],
            },
            {
                "group": "interference",
                "head": "lungs",
                "metric": "dice",
                "data": "d",
                "method": "single-task",
                "value": 0.95,
                "difference": 0.001,
            },
            {
                "group": "transfer",
                "head": "nerve",
                "metric": "dice",
                "data": "us",
                "method": "ImageNet",
                "value": 0.7,
                "sd": 0.02,
                "seeds": 3,
                "labels": 0.1,
                "mode": "frozen",
            },
        ],
        "cost": {
            "size": [2, 96, 96],
            "encoder": {"parameters": 11173000, "macs": 123456},
            "timings": [{"what": "one image", "milliseconds": 12.345, "hardware": "one core"}],
        },
        "limits": ["Only adults."],
        "reproduce": ["umsrep finetune --config x.yaml"],
        "citation": "Somebody, 2021.",
    }
)


def test_every_section_says_what_was_measured() -> None:
    text = build_card("my-model", CONFIG, RESULTS)
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == list(SECTIONS)
    for wanted in (
        "# my-model",
        RESEARCH_ONLY,
        "| stride | 2 | 4 | 8 | 16 | 32 |",
        "Decoders that fit: `unet`, `fpn`.",
        "| lungs | segmentation | classes = background, lung |",
        "| discs | 1,600 | 8 | unknown | CC0 | unknown |",
        "**lungs** on d, test\n\n| metric | value (95 % interval) | measured on |\n",
        "| Dice | 0.951 | 1,204 images |",
        "| HD95 (px) | undefined |  |",
        "**denoising** on d: 101 images of 99 patients\n\n| metric | method |",
        "| PSNR gain (dB) | Median filter | 8.74 (8.60 to 8.86) | 2.15 (2.10 to 2.20) |",
        "| Dice | single-task | 0.950 | 0.001 |",
        "| Dice | 10 % | frozen | ImageNet | 0.700 | 0.020 | 3 |",
        "| encoder, pyramid and embedding | 11,173,000 | 123,456 |",
        "| one image | 12.35 | one core |",
        "- Only adults.",
        f"{'ab' * 32}  model.safetensors",
        "Somebody, 2021.",
    ):
        assert wanted in text, wanted
    for rule in InputContract(channels=2, size=96).describe():
        name, what = rule.split(": ", 1)
        assert f"| {name} | {what} |" in text
    assert not lint_card(text, config=CONFIG, results=RESULTS)


def test_what_was_not_measured_is_said_so() -> None:
    text = build_card("m", CONFIG)
    assert text.count(NOT_MEASURED) == 8  # results, transfer, interference, cost, shift, calibration, subgroups, guard
    assert not lint_card(text, config=CONFIG)
    assert metadata_of(text)["license"] == "unknown"
    assert "model-index" not in metadata_of(text)


# ---- the Hub's metadata --------------------------------------------------------------------------------------------
def test_metadata_is_what_the_hub_filters_by() -> None:
    metadata = metadata_of(build_card("my-model", CONFIG, RESULTS))
    own = metadata.pop("umsrep")
    index = metadata.pop("model-index")
    assert metadata == {
        "license": "mit",
        "library_name": "timm",
        "pipeline_tag": "image-feature-extraction",
        "tags": ["umsrep", "medical-imaging", "cxr", "modality:cxr", "denoising", "segmentation"],
        "datasets": ["discs"],
        "base_model": "timm/resnet18.a1_in1k",
    }
    assert InputContract.from_dict(own["contract"]) == InputContract(channels=2, size=96)
    assert own["heads"] == {"denoising": "denoising", "lungs": "segmentation"}
    assert (own["parameters"], own["macs"], own["macs_size"]) == (11173000, 123456, [2, 96, 96])
    assert index == [
        {
            "name": "my-model",
            "results": [
                {
                    "task": {"type": "image-segmentation", "name": "lungs"},
                    "dataset": {"name": "d", "type": "d", "split": "test"},
                    "metrics": [{"type": "dice", "value": 0.951234, "name": "Dice"}],
                }
            ],
        }
    ], "this model's own defined numbers alone, with every digit"


@pytest.mark.parametrize("name", PRESETS)
def test_the_hubs_own_library_reads_a_shipped_card(name: str) -> None:
    data: Any = ModelCard(read_card(name)).data
    assert data.model_name == name
    rows = [(r.task_name, r.dataset_name, r.metric_type, r.metric_value) for r in data.eval_results]
    results = load_results(ROOT / "model_cards" / f"{name}.json")
    ours = [m for m in results.measurements if m.method is None and m.group in ("results", "shift", "calibration", "subgroups")]
    ours = [m for m in ours if m.value is not None]  # the Hub's format has no undefined numbers
    assert len(rows) == len(ours) > 5
    assert {r[3] for r in rows} == {m.value for m in ours}


def test_two_heads_of_one_kind_on_one_set_stay_apart_in_the_hubs_library() -> None:
    rows = [Measurement("results", head, "auroc", "chests", value, split="test") for head, value in (("finding", 0.9), ("view", 0.8))]
    config = CONFIG | {"umsrep": CONFIG["umsrep"] | {"heads": {row.head: {"kind": "classification", "args": {}} for row in rows}}}
    index = metadata_of(build_card("org/x", config, Results(measurements=tuple(rows))))["model-index"]
    _, read = model_index_to_eval_results(index)
    again = eval_results_to_model_index("x", read)[0]["results"]
    assert [(r["task"]["name"], [m["value"] for m in r["metrics"]]) for r in again] == [("finding", [0.9]), ("view", [0.8])]


def test_one_kind_of_head_sets_the_pipeline() -> None:
    block = CONFIG["umsrep"]
    one = {**CONFIG, "umsrep": {**block, "heads": {"lungs": block["heads"]["lungs"]}}}
    assert metadata_of(build_card("m", one))["pipeline_tag"] == "image-segmentation"


# ---- the same bytes ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", PRESETS)
def test_a_shipped_card_is_its_results_file_byte_for_byte(name: str) -> None:
    results = load_results(ROOT / "model_cards" / f"{name}.json")
    config = hub.read_config(hub.resolve(name))
    assert read_card(name) == build_card(name, config, results)
    assert not lint_card(read_card(name), config=config, results=results, location=name)


def test_results_through_json_give_the_same_bytes() -> None:
    again = Results.from_dict(json.loads(json.dumps(RESULTS.to_dict())))
    assert build_card("m", CONFIG, again) == build_card("m", CONFIG, RESULTS)


def test_a_bar_in_a_name_does_not_break_its_table() -> None:
    results = Results(measurements=(Measurement("results", "lungs", "dice", "a", 0.5, method="c|d"),))
    text = build_card("m", CONFIG, results)
    assert r"| Dice | c\|d | 0.500 |" in text


def test_relocating_is_building_for_there() -> None:
    text = build_card("m", CONFIG, RESULTS)
    assert relocate(text, "org/m", "v1") == build_card("m", CONFIG, RESULTS, location="org/m", revision="v1")
    assert relocate(relocate(text, "org/m", "v1"), "m") == text
    with pytest.raises(InputError, match="no section on use"):
        relocate("# nothing", "org/m")


# ---- snippets ------------------------------------------------------------------------------------------------------
def snippets(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def test_snippets_of_a_repository_pin_the_revision() -> None:
    ours, timm, smp = snippets(build_card("m", CONFIG, RESULTS, location="org/m", revision="v1"))
    assert 'umsrep.Encoder.from_pretrained("org/m", revision="v1")' in ours
    assert 'umsrep.MultiTaskModel.from_pretrained("org/m", revision="v1")' in ours
    assert 'timm.create_model("hf-hub:org/m@v1", pretrained=True, features_only=True, in_chans=2)' in timm
    assert 'smp.Unet("tu-hf-hub:org/m@v1", encoder_weights=True, in_channels=2)' in smp


def test_an_encoder_alone_or_a_plain_transformer_has_fewer_snippets() -> None:
    config = {
        **CONFIG,
        "umsrep": {**CONFIG["umsrep"], "heads": {}, "features": {"channels": [192] * 3, "strides": [16] * 3, "embedding_dim": 192}},
    }
    text = build_card("m", config)
    assert len(snippets(text)) == 2
    assert "takes no plain vision transformer" in text
    assert "MultiTaskModel" not in text
    assert "No heads: an encoder only." in text


@pytest.mark.parametrize("name", PRESETS)
def test_every_snippet_of_a_shipped_card_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (150, 130), dtype=np.uint8)).save("image.png")
    found = snippets(read_card(name))
    assert len(found) == 3
    for code in found:
        exec(compile(code, f"{name}.md", "exec"), {})


def test_the_snippets_of_a_saved_folder_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((40, 40), dtype=np.uint8)).save("image.png")
    folder = Encoder.create("test_efficientnet", contract=InputContract(size=32)).save_pretrained("enc")
    text = read_card("enc")
    assert text == read_card(str(folder / "README.md"))
    assert not lint_card(text, config=hub.read_config(folder), location="enc")
    for code in snippets(text):
        exec(compile(code, "enc", "exec"), {})


# ---- reading -------------------------------------------------------------------------------------------------------
def test_reading_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"neither a preset nor a folder with a README\.md"):
        read_card(str(tmp_path))
    with pytest.raises(InputError, match=r"'absent\.md' is neither"):
        read_card("absent.md")


def test_reading_what_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"README\.md: not UTF-8 text"):
        read_card(str(tmp_path))


@pytest.mark.parametrize("text", ["", "# no metadata", "---\n[\n---\n", "---\njust text\n---\n"])
def test_metadata_that_cannot_be_read_is_none(text: str) -> None:
    assert metadata_of(text) == {}


def test_metadata_is_plain_yaml() -> None:
    head = build_card("m", CONFIG, RESULTS).split("---\n")[1]
    assert yaml.safe_load(head) == metadata_of(build_card("m", CONFIG, RESULTS))
    assert "&" not in head, "no YAML anchors"
