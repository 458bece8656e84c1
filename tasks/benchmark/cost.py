"""What a run cost: steps, training images and the arithmetic of its model, beside the seconds that its report holds."""

from __future__ import annotations

import json
from pathlib import Path

from umsrep.tasks.benchmark.locks import write_whole
from umsrep.tasks.config import FineTuneConfig
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.setup import training_sizes
from umsrep.zoo.cost import count_macs, count_parameters

FILE = "cost.json"


def cost_of_run(config: FineTuneConfig) -> dict[str, int]:
    """Return what a finished run cost, from cost.json in its folder or, where that is not there yet, counted.

    Returns:
        ``steps`` of the optimiser; ``images``, steps times the rows of a step (repeats count each time); ``macs``, multiply-accumulates
        of
        one forward pass of one image (the mean over ``size_factors``) through the encoder and the trained heads; ``parameters`` of the
        encoder.
    """
    output = Path(config.output)
    path = output / FILE
    if path.is_file():
        stored: dict[str, int] = json.loads(path.read_text(encoding="utf-8"))
        return stored
    lines = (output / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    steps = int(json.loads(lines[-1])["step"]) if lines else 0
    model = MultiTaskModel.from_pretrained(output / "model")
    for name in set(model.heads) - set(config.tasks):  # a preset keeps its own heads beside those that are trained
        model.remove_head(name)
    contract = model.encoder.contract
    side = contract.size or 0  # a run's contract has one
    sizes = training_sizes(config, contract) or [side if isinstance(side, tuple) else (side, side)]  # each serves as many batches
    cost = {
        "steps": steps,
        "images": steps * config.batch_size * config.optimiser.accumulate,
        "macs": round(sum(count_macs(model, (contract.channels, *size)) for size in sizes) / len(sizes)),
        "parameters": count_parameters(model.encoder),
    }
    write_whole(path, json.dumps(cost) + "\n")
    return cost
