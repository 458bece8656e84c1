"""Measuring a model in the course of a run: over all processes, with decision thresholds chosen on validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from accelerate import Accelerator

from umsrep.heads import ClassificationHead
from umsrep.tasks.classification import Classification, choose_thresholds
from umsrep.tasks.config import FineTuneConfig
from umsrep.tasks.data.dataset import JointDataset
from umsrep.tasks.denoising import Denoising
from umsrep.tasks.evaluate import Rows, collect, summarise
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.noise import level_range
from umsrep.tasks.task import Task

Metrics = dict[str, dict[str, float]]


class Validation:
    """Measures models on the data sets of a run; every process must call it."""

    def __init__(self, config: FineTuneConfig, accelerator: Accelerator, tasks: Mapping[str, Task], trained: Sequence[str]) -> None:
        """Set up; thresholds are chosen for the ``trained`` tasks alone, the other heads stay as they are."""
        self.config, self.accelerator, self.tasks, self.trained = config, accelerator, tasks, set(trained)

    def choose(self, model: MultiTaskModel, dataset: JointDataset) -> Metrics:
        """Measure on validation rows, after choosing the thresholds there and putting them into the model's heads."""
        rows = self._collect(model, dataset, "validating")
        for name, task in self.tasks.items():
            head = model.heads[name]
            if isinstance(task, Classification) and isinstance(head, ClassificationHead) and name in rows and name in self.trained:
                head.set_thresholds(choose_thresholds(rows[name]["probabilities"], rows[name]["target"]))
        return summarise(rows, self.tasks, _thresholds(model))

    def test(self, model: MultiTaskModel, dataset: JointDataset) -> Metrics:
        """Measure on test rows, with the thresholds that the model has."""
        return summarise(self._collect(model, dataset, "testing"), self.tasks, _thresholds(model))

    def _collect(self, model: MultiTaskModel, dataset: JointDataset, title: str) -> Rows:
        rank, world = self.accelerator.process_index, self.accelerator.num_processes
        return collect(
            model,
            dataset,
            batch_size=max(1, self.config.batch_size // world),
            workers=self.config.workers,
            rank=rank,
            world_size=world,
            title=title if rank == 0 else None,
        )


def _thresholds(model: MultiTaskModel) -> dict[str, tuple[float, ...] | None]:
    return {name: head.thresholds for name, head in model.heads.items() if isinstance(head, ClassificationHead)}


def at_middle_level(task: Task) -> Task:
    """Return a denoising task with its level fixed at the middle of its range, for comparable validations; others as they are."""
    if not isinstance(task, Denoising):
        return task
    low, high = level_range(task.level)
    return Denoising(task.noise, (low + high) / 2, task.loss_name, task.ssim_weight)
