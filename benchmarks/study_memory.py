"""What a step keeps in memory for its gradients: by the number of tasks, and with gradient checkpointing (docs/training.md).

Counted are the bytes that autograd keeps after one forward pass (each storage once; weights, buffers and the batch aside), which does
not depend on an allocator. Checkpointing also shows the time of forward and backward against that without, taken in turn.
"""

from __future__ import annotations

import copy
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from workload import write_images

from umsrep.tasks.assembly import Assembly
from umsrep.tasks.config_file import config_from_dict
from umsrep.tasks.data.dataset import collate
from umsrep.tasks.recompute import blocks_of

KINDS: dict[str, dict[str, Any]] = {
    "denoising": {"kind": "denoising"},
    "segmentation": {"kind": "segmentation", "classes": ["background", "lung"]},
    "classification": {"kind": "classification", "classes": ["normal", "pneumonia"], "target": "label_binary"},
}
SIZE, BATCH = 128, 8


def assemble(data: Path, arch: str, kinds: list[str]) -> tuple[Assembly, dict[str, Any]]:
    tasks = {f"{kind}_{number}": KINDS[kind] for number, kind in enumerate(kinds)}
    values = {"tasks": tasks, "data": [{"path": str(data)}], "output": "unused", "image_size": SIZE, "batch_size": BATCH, "ema": 0}
    made = Assembly(config_from_dict(values | {"encoder": {"arch": arch}}), Accelerator())
    made.wrap(0)
    item = collate([made.train_set[row] for row in range(BATCH)])
    assert isinstance(item, dict), item
    return made, made.finish(item)


def forward(made: Assembly, batch: dict[str, Any]) -> Tensor:
    terms, _ = made.step_module(batch, dict.fromkeys(made.trained_tasks, float(BATCH)))
    return torch.stack(list(terms.values())).sum()


def kept(made: Assembly, batch: dict[str, Any]) -> float:
    """MiB kept for the gradients."""
    given = [*made.step_module.parameters(), *made.step_module.buffers(), *(v for v in batch.values() if isinstance(v, Tensor))]
    own, sizes, alive = {t.untyped_storage().data_ptr() for t in given}, dict[int, int](), list[Tensor]()

    def pack(tensor: Tensor) -> Tensor:
        alive.append(tensor)  # so that no address comes twice
        if tensor.untyped_storage().data_ptr() not in own:
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        forward(made, batch)
    return sum(sizes.values()) / 2**20


def seconds(made: Assembly, batch: dict[str, Any]) -> float:
    start = time.process_time()
    forward(made, batch).backward()
    made.step_module.zero_grad()
    return time.process_time() - start


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        data = write_images(Path(name, "data"), 32)
        print(f"MiB kept for the gradients, tf_efficientnet_lite0, {SIZE} px, batch {BATCH}")
        for kinds in (*(["classification"] * n for n in (1, 3, 6)), *(["segmentation"] * n for n in (1, 3, 6)), ["denoising"], list(KINDS)):
            title = f"{len(kinds)} x {kinds[0]}" if len(set(kinds)) == 1 else " + ".join(kinds)
            print(f"  {title}: {kept(*assemble(data, 'tf_efficientnet_lite0', kinds)):.1f}")
        print("all three tasks, without and with gradient_checkpointing")
        for arch in ("tf_efficientnet_lite0", "resnet18", "convnext_atto"):
            plain, batch = assemble(data, arch, list(KINDS))
            ours = copy.copy(plain)
            ours.step_module = copy.deepcopy(plain.step_module)
            ours.step_module.blocks = blocks_of(ours.step_module.model)
            times = [(seconds(plain, batch), seconds(ours, batch)) for _ in range(6)][1:]
            ratio = statistics.median(b / a for a, b in times)
            print(f"  {arch}: {kept(plain, batch):.1f}, {kept(ours, batch):.1f}; {ratio:.2f} times as long")


if __name__ == "__main__":
    main()
