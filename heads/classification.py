"""Classification head: dropout and one linear layer on the pooled embedding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, cast

from torch import Tensor, nn

from umsrep.errors import InputError
from umsrep.heads.head import Head, class_names


class ClassificationHead(Head):
    """One logit a class (softmax), or a sigmoid each with ``multi_label``."""

    kind: ClassVar[Literal["classification"]] = "classification"

    def __init__(
        self, classes: int | Sequence[str], *, multi_label: bool = False, dropout: float = 0.2, thresholds: Sequence[float] | None = None
    ) -> None:
        """Describe the head.

        Args:
            classes: Names, or how many; two or more unless ``multi_label``.
            multi_label: Classes may occur together.
            dropout: On the embedding, 0 or more and below 1.
            thresholds: Decision thresholds on the probability: one for the second of two classes, or one a label. None = 0.5.
        """
        super().__init__()
        self.classes = class_names(classes)
        if len(self.classes) < 2 and not multi_label:
            raise InputError(f"a classification head needs two classes or more (or multi_label), not {list(self.classes)}")
        if not 0 <= dropout < 1:
            raise InputError(f"classification head: dropout must be 0 or more and below 1, not {dropout}")
        self.multi_label, self.dropout = multi_label, dropout
        self.thresholds: tuple[float, ...] | None = None
        self.set_thresholds(thresholds)

    def set_thresholds(self, thresholds: Sequence[float] | None) -> None:
        """Set the decision thresholds (see `__init__`), each from 0 to 1."""
        if thresholds is not None and len(thresholds):
            wanted = len(self.classes) if self.multi_label else 1 if len(self.classes) == 2 else 0
            if len(thresholds) != wanted or not all(0 <= t <= 1 for t in thresholds):
                raise InputError(f"classification head: {wanted} thresholds from 0 to 1 wanted, not {list(thresholds)}")
            self.thresholds = tuple(float(t) for t in thresholds)
        else:
            self.thresholds = None

    def args(self) -> dict[str, Any]:
        """Return the arguments as JSON values."""
        thresholds = None if self.thresholds is None else list(self.thresholds)
        return {"classes": list(self.classes), "multi_label": self.multi_label, "dropout": self.dropout, "thresholds": thresholds}

    def build(self, *, channels: Sequence[int], strides: Sequence[int], in_channels: int, embedding_dim: int) -> None:
        """Make the weights. See `Head.build`."""
        self.layers = nn.Sequential(nn.Dropout(self.dropout), nn.Linear(embedding_dim, len(self.classes)))
        self.built = True

    def forward(self, embedding_BD: Tensor) -> Tensor:
        """Return logits [B, K] from the pooled embedding."""
        return cast(Tensor, self.layers(embedding_BD))
