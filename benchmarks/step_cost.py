"""What one training step costs: all three tasks at once, and each alone; the cost that benchmarks/study_headline.py reads.

    python benchmarks/step_cost.py --size 64 --batch 8 --json step_cost.json

A step is the trainer's own (`Trainer._train_epoch`: forward, backward, clipping, AdamW, moving average) on batches that lie in memory,
without loading, validation and checkpoints, on one thread; its time is that of the processor, which on an idle machine is that of the
clock on the wall, and on a busy one suffers less. The four kinds take turns in every round; the numbers are the median over the rounds
and the quartiles. The encoder is lite0 as in benchmarks/grids (``--arch``: another), from ImageNet weights, so its norms are frozen;
``--scratch`` starts from random weights, with norms of the batch. Multiply-accumulates are those of one image through the model, all
its heads on the same image; a joint training step runs the encoder and the decoder twice, for the clean image and for its noisy twin
("training_macs").
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from timing import alternate, spread, timed
from workload import TASKS, batches_of, make_trainer, our_steps, write_images

from umsrep.tasks.config_file import config_from_dict
from umsrep.tasks.setup import build_model
from umsrep.zoo.cost import count_macs, count_parameters

WEIGHTS = Path(__file__).resolve().parents[2] / "shared" / "weights" / "tf_efficientnet_lite0.imagenet.safetensors"
KINDS = {"joint": tuple(TASKS), **{name: (name,) for name in TASKS}}


def cost(names: tuple[str, ...], size: int, arch: str) -> dict[str, int]:
    """Return parameters and multiply-accumulates of the model with these heads."""
    values = {"tasks": {name: TASKS[name] for name in names}, "data": [{"path": "none"}], "output": "none", "image_size": size}
    model = build_model(config_from_dict({**values, "encoder": {"arch": arch}}))
    return {"parameters": count_parameters(model), "macs": count_macs(model, (1, size, size))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=64, help="side of the images in pixels")
    parser.add_argument("--batch", type=int, default=8, help="images of a step")
    parser.add_argument("--arch", default="tf_efficientnet_lite0", help="another architecture; with --scratch")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="ImageNet weights of tf_efficientnet_lite0")
    parser.add_argument("--scratch", action="store_true", help="random weights instead")
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument("--quick", action="store_true", help="a smoke run: one round, numbers of no worth")
    options = parser.parse_args()
    if not options.scratch and not options.weights.is_file():
        sys.exit(print(f"error: {options.weights} is needed; give --weights FILE or --scratch", file=sys.stderr) or 2)
    torch.set_num_threads(1)
    steps, rounds = (1, 1) if options.quick else (3, options.rounds)
    encoder: dict[str, Any] = {"arch": options.arch, "weights": None if options.scratch else str(options.weights)}
    with tempfile.TemporaryDirectory() as name:
        data, clocks = write_images(Path(name, "data"), steps * options.batch * 8 // 7 + 8), {}
        for kind, names in KINDS.items():
            settings = {"tasks": {task: TASKS[task] for task in names}, "image_size": options.size, "batch_size": options.batch}
            fixed = {"encoder": encoder, "ema": 0.98, "gradients_every": 0, "optimiser": {"warmup": 0.0, "learning_rate": 1e-4}}
            trainer = make_trainer(data, Path(name, kind), **settings, **fixed)
            batches = batches_of(trainer, steps)
            clocks[kind] = timed(lambda trainer=trainer, batches=batches: our_steps(trainer, batches), steps, time.process_time)
        seconds = {kind: spread(values) for kind, values in alternate(clocks, rounds).items()}
    costs = {kind: cost(names, options.size, options.arch) for kind, names in KINDS.items()}
    clean = tuple(task for task in TASKS if TASKS[task]["kind"] != "denoising")
    training = {kind: costs[kind]["macs"] for kind in TASKS}
    training["joint"] = cost(clean, options.size, options.arch)["macs"] + costs["denoising"]["macs"]
    result = {
        "seconds_per_step": {kind: values[0] for kind, values in seconds.items()},
        "quartiles": {kind: values[1:] for kind, values in seconds.items()},
        "macs": {kind: both["macs"] for kind, both in costs.items()},
        "training_macs": training,
        "parameters": {kind: both["parameters"] for kind, both in costs.items()},
        "settings": {"steps": steps, "rounds": rounds, **{name: getattr(options, name) for name in ("arch", "size", "batch", "scratch")}},
        "machine": {"threads": 1, "cores": os.cpu_count(), "load": os.getloadavg()[0], "platform": platform.platform()},
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
    }
    print(f"{'':<12}{'ms a step':>12}{'quartiles':>22}{'M MACs':>10}{'training':>10}{'M parameters':>14}")
    for kind, (median, low, high) in seconds.items():
        macs, run, parameters = costs[kind]["macs"] / 1e6, training[kind] / 1e6, costs[kind]["parameters"] / 1e6
        print(f"{kind:<12}{1e3 * median:>12.1f}{f'{1e3 * low:.1f} to {1e3 * high:.1f}':>22}{macs:>10.1f}{run:>10.1f}{parameters:>14.2f}")
    apart = sum(seconds[task][0] for task in TASKS)
    print(f"three steps apart take {apart / seconds['joint'][0]:.2f} times a joint one")
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
