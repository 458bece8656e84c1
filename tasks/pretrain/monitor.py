"""How good a frozen embedding is: k-NN accuracy, from labelled training rows to validation rows."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn
from torch.utils.data import DataLoader

from umsrep.errors import InputError
from umsrep.tasks.interruption import ignore_signals
from umsrep.tasks.pretrain.data import Images, ViewSet, stack
from umsrep.tasks.pretrain.views import Whole
from umsrep.tasks.progress import say, track
from umsrep.zoo import Encoder

T = TypeVar("T")
NEIGHBOURS = 20
"""As DINO's evaluation takes (Caron et al. 2021); fewer where there are fewer rows."""


class Monitor:
    """k-NN accuracy on each data set that has labels: cosine similarity, the majority of 20 training rows.

    Attributes:
        sets: Name of a set to its labelled training and validation rows, the labels of both, and the column.
    """

    def __init__(self, sources: Sequence[Images], *, rows: int, batch_size: int, workers: int, lenient: bool, seed: int) -> None:
        """Choose the rows: at most ``rows`` for training and validation each, drawn by the seed."""
        self.sources, self.batch_size, self.workers, self.lenient = list(sources), batch_size, workers, lenient
        self.sets: dict[str, tuple[list[tuple[int, int]], list[tuple[int, int]], np.ndarray, np.ndarray, str]] = {}
        draw = np.random.default_rng(seed)
        for number, source in enumerate(sources):
            if source.label is None:
                continue
            labels = source.manifest.column(source.label)
            parts = []
            for all_rows in (source.rows, source.validation):
                labelled = [row for row in all_rows if labels[row]]
                parts.append(sorted(draw.permutation(labelled)[:rows].tolist()))
            train, validation = ([labels[row] for row in part] for part in parts)
            if len(set(train)) < 2 or not validation:
                say(f"{source.name}: no k-NN accuracy; column '{source.label}' has no two classes in training rows, or no validation row")
                continue
            name = source.name if source.name not in self.sets else f"{source.name} ({number + 1})"
            items = [[(number, row) for row in part] for part in parts]
            self.sets[name] = (items[0], items[1], np.array(train), np.array(validation), source.label)

    def measure(self, encoder: Encoder) -> dict[str, dict[str, float]]:
        """Return accuracy, balanced accuracy and the number of validation rows ``n`` of each set."""
        from sklearn.metrics import balanced_accuracy_score
        from sklearn.neighbors import KNeighborsClassifier

        measured = {}
        for name, (train, validation, train_labels, validation_labels, _) in self.sets.items():
            near = KNeighborsClassifier(min(NEIGHBOURS, len(train)), metric="cosine", algorithm="brute")
            near.fit(self._embed(encoder, train, f"k-NN of {name}"), train_labels)
            predicted = near.predict(self._embed(encoder, validation, f"k-NN of {name}"))
            known = np.isin(validation_labels, train_labels)
            measured[name] = {
                "accuracy": float(np.mean(predicted == validation_labels)),
                # over classes that a neighbour can have
                "balanced_accuracy": float(balanced_accuracy_score(validation_labels[known], predicted[known])) if known.any() else 0.0,
                "n": float(len(validation)),
            }
        return measured

    def loader(self, encoder: Encoder, items: Sequence[tuple[int, int]]) -> DataLoader[Tensor]:
        """Return batches of whole images as the contract gives them."""
        data = ViewSet(self.sources, items, encoder.contract, Whole(encoder.contract), seed=0, lenient=self.lenient)
        return DataLoader(data, self.batch_size, num_workers=self.workers, collate_fn=_images, worker_init_fn=ignore_signals)

    @torch.no_grad()
    def _embed(self, encoder: Encoder, items: Sequence[tuple[int, int]], title: str) -> np.ndarray:
        device = next(encoder.parameters()).device
        training = encoder.training
        encoder.eval()
        loader = self.loader(encoder, items)
        found = [encoder.embed(_checked(batch).to(device)).float().cpu().numpy() for batch in track(loader, title, total=len(loader))]
        encoder.train(training)
        return np.concatenate(found)

    def clean_statistics(self, encoder: Encoder, items: Sequence[tuple[int, int]]) -> Encoder:
        """Return a copy whose batch-norm statistics are those of whole, clean images, measured anew on these rows."""
        copied = copy.deepcopy(encoder)
        device = next(copied.parameters()).device
        batches = (_checked(batch).to(device) for batch in self.loader(copied, items))
        update_bn(batches, _Embedding(copied))
        return copied.eval()


class _Embedding(nn.Module):
    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.encoder.embed(x_BCHW)


def on_main(accelerator: Accelerator, work: Callable[[], T]) -> T | None:
    """Do what the main process alone does, and return its result there; its `InputError` stops all processes."""
    found: T | None = None
    error: InputError | None = None
    if accelerator.is_main_process:
        try:
            found = work()
        except InputError as caught:
            error = caught
    failed = torch.tensor(float(error is not None), device=accelerator.device)
    if accelerator.num_processes > 1:
        failed = cast(Tensor, accelerator.reduce(failed))
    if error is not None:
        raise error
    if failed.item():
        raise InputError("the main process stopped; see its message")
    return found


def _images(items: Sequence[dict[str, Tensor] | InputError]) -> Tensor | InputError:
    batch = stack(items)
    return batch if isinstance(batch, InputError) else batch["image"]


def _checked(batch: Tensor | InputError) -> Tensor:
    if isinstance(batch, InputError):
        raise batch
    return batch
