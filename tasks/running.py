"""What a run has summed up in the epoch so far; a checkpoint in the middle of an epoch holds it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, cast

import torch
from accelerate import Accelerator


@dataclasses.dataclass
class Running:
    """Sums over the batches of one epoch.

    Attributes:
        batches: Batches of this epoch that are done.
        sums: Task's name to this process's sum of losses over rows.
        rows: Task's name to rows, over all processes.
        images: Images, over all processes.
        seconds: Of training.
        gradients: What `umsrep.tasks.balancing.Balancer.compare` measured, summed up; ``n`` counts the measurements.
    """

    batches: int = 0
    sums: dict[str, float] = dataclasses.field(default_factory=dict)
    rows: dict[str, float] = dataclasses.field(default_factory=dict)
    images: int = 0
    seconds: float = 0.0
    gradients: dict[str, float] = dataclasses.field(default_factory=dict)

    def state(self, accelerator: Accelerator) -> dict[str, Any]:
        """Return what `restore` needs, every process's sums in it; all processes must call it."""
        own = torch.tensor([list(self.sums.values())], dtype=torch.float64)
        # after an epoch there are none, and Accelerate cannot gather nothing from GPUs
        gathers = accelerator.num_processes > 1 and bool(self.sums)
        each = cast(torch.Tensor, accelerator.gather(own.to(accelerator.device))) if gathers else own
        return dataclasses.asdict(self) | {"sums": dict(zip(self.sums, each.T.tolist(), strict=True))}

    @classmethod
    def restore(cls, state: Mapping[str, Any], accelerator: Accelerator) -> Running:
        """Give each process its own sums back; with another number of processes the main one takes them all."""
        rank, world = accelerator.process_index, accelerator.num_processes
        sums = {}
        for name, each in state["sums"].items():
            sums[name] = each[rank] if len(each) == world else math.fsum(each) if rank == 0 else 0.0
        return cls(**{**state, "sums": sums})

    def add(self, losses: Mapping[str, torch.Tensor], totals: Mapping[str, float], images: int) -> None:
        """Add one batch: each task's loss as `JointStep` gives it, and its rows over all processes."""
        for name, loss in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(loss) * totals[name]
            self.rows[name] = self.rows.get(name, 0.0) + totals[name]
        self.batches += 1
        self.images += images

    def add_gradients(self, measured: Mapping[str, float]) -> None:
        """Add one measurement of the tasks' gradients."""
        for name, value in {**measured, "n": 1.0}.items():
            self.gradients[name] = self.gradients.get(name, 0.0) + value

    def mean_gradients(self) -> dict[str, float]:
        """Return the mean of the measurements, and their number ``n``."""
        count = self.gradients["n"]
        return {name: value if name == "n" else value / count for name, value in self.gradients.items()}

    def means(self, accelerator: Accelerator) -> dict[str, float]:
        """Return each task's mean loss a row, over all processes; NaN without rows."""
        sums = list(self.sums.values())
        if accelerator.num_processes > 1:
            gathered = accelerator.reduce(torch.tensor(sums, device=accelerator.device))
            sums = cast(torch.Tensor, gathered).tolist()
        return {name: total / rows if rows else math.nan for total, (name, rows) in zip(sums, self.rows.items(), strict=True)}
