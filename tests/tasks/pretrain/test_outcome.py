"""What a run leaves: folder, report and card."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors import safe_open

from tests.tasks.runs import ARCH, rewrite
from tests.tiny import write_tiny_data
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.pretrain.config import PretrainConfig
from umsrep.tasks.pretrain.config_file import load_pretrain_config, pretrain_config_from_dict
from umsrep.tasks.pretrain.loop import pretrain
from umsrep.tasks.pretrain.outcome import PretrainReport
from umsrep.zoo import Encoder
from umsrep.zoo.card import metadata_of
from umsrep.zoo.card_lint import lint_card
from umsrep.zoo.hub import read_config
from umsrep.zoo.results import load_results


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> PretrainReport:
    """A run of one epoch, of the method that also leaves a head."""
    base = tmp_path_factory.mktemp("outcome")

    def license_rows(records: list[dict[str, str]]) -> list[dict[str, str]]:
        return [record | {"license": "CC BY 4.0" if k % 2 else ""} for k, record in enumerate(records)]

    data = rewrite(write_tiny_data(base / "secret" / "discs"), license_rows)
    config = pretrain_config_from_dict(
        {
            "method": "denoising",
            "output": str(base / "run"),
            "encoder": {"arch": ARCH, "modality": "us"},
            "data": [{"path": str(data)}],
            "image_size": 32,
            "batch_size": 8,
            "epochs": 1,
            "workers": 0,
        }
    )
    assert isinstance(config, PretrainConfig)
    return pretrain(config)


def test_the_folder_is_whole(report: PretrainReport) -> None:
    names = {p.relative_to(report.output).as_posix() for p in report.output.rglob("*") if p.is_file()}
    assert names == {
        *("config.yaml", "environment.json", "metrics.jsonl", "report.json", "results.json", "checkpoints/step-000000002.pt"),
        *(f"model/{n}" for n in ("README.md", "config.json", "heads.safetensors", "model.safetensors")),
    }
    encoder, model = Encoder.from_pretrained(report.model), MultiTaskModel.from_pretrained(report.model)
    assert (encoder.modality, encoder.contract.size, list(model.heads)) == ("us", (32, 32), ["denoising"])
    assert load_pretrain_config(report.output / "config.yaml") == load_pretrain_config(report.output / "config.yaml", [])
    with safe_open(report.model / "model.safetensors", "pt") as file:
        assert not any("coarse" in name for name in file.keys())  # noqa: SIM118  # no mapping


def test_the_card_says_data_licences_and_both_k_nn(report: PretrainReport) -> None:
    text = (report.model / "README.md").read_text(encoding="utf-8")
    results = load_results(report.output / "results.json")
    assert lint_card(text, config=read_config(report.model), results=results, location=str(report.model)) == []
    (data,) = results.data
    assert (data.name, data.images, data.patients, data.sites, data.license) == ("discs", 16, 8, "A, B", "none given (8), CC BY 4.0 (8)")
    assert "secret" not in text.replace(str(report.model), ""), "no folder of the user's"
    rows = [(m.method, m.metric, m.value, m.images) for m in results.measurements]
    for method, found in ((None, report.knn), ("initialisation", report.knn_before)):
        assert (method, "accuracy", found["discs"]["accuracy"], 4) in rows
    assert "denoising autoencoder, 2 steps of 8 images" in text
    assert metadata_of(text)["datasets"] == ["discs"]
    written = json.loads((report.output / "report.json").read_text())
    assert (written["method"], written["first_loss"]) == ("denoising", report.first_loss)
    assert Path(written["model"]) == report.model
