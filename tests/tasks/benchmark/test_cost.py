"""What a run cost: counted from what it left behind, once."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from tests.tasks.runs import run_config
from umsrep.heads import SegmentationHead
from umsrep.tasks.benchmark.cost import cost_of_run
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.setup import build_model
from umsrep.zoo.cost import count_macs


def test_cost(tiny_data: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = run_config(tiny_data, tmp_path / "run", optimiser={"accumulate": 2})
    model: MultiTaskModel = build_model(config)
    alone = count_macs(model, (1, 32, 32))
    model.add_head("other", SegmentationHead(["background", "other"]))
    model.save_pretrained(tmp_path / "run" / "model")
    (tmp_path / "run" / "metrics.jsonl").write_text('{"epoch": 1, "step": 3}\n{"epoch": 2, "step": 6}\n')
    cost = cost_of_run(config)
    assert cost["steps"] == 6
    assert cost["images"] == 6 * 8 * 2
    assert cost["parameters"] == sum(p.numel() for p in model.encoder.parameters())
    assert cost["macs"] == alone, "heads that were not trained do not count"
    (tmp_path / "run" / "metrics.jsonl").unlink()
    assert cost_of_run(config) == cost == json.loads((tmp_path / "run" / "cost.json").read_text())
