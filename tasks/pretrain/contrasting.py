"""Methods that compare views of an image: MoCo v2 and DINO, with the losses and projection heads of ``lightly``."""

from __future__ import annotations

import copy
import importlib.util
import math
import warnings
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch import distributed as dist

from umsrep.errors import InputError
from umsrep.tasks.data.augment import Augment
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.pretrain.config import DinoConfig, MocoConfig
from umsrep.tasks.pretrain.data import Views
from umsrep.tasks.pretrain.objectives import Batch, Objective
from umsrep.tasks.pretrain.views import Crops
from umsrep.zoo import Encoder


def check_lightly(method: str) -> None:
    """Refuse a method whose extra is not installed."""
    if importlib.util.find_spec("lightly") is None:
        raise InputError(f"method {method} needs the package lightly: pip install 'umsrep[ssl]'")


class _Follower(nn.Module):
    """A copy of encoder and head whose weights follow the trained ones by a moving average.

    It makes no use of dropout. Its batch norms take the statistics of its own batches, as the authors of both methods have it: with
    averaged statistics (EMAN, Cai et al. 2021) its outputs shrank to a constant in short runs, in which the average still holds a share of
    the initial weights (docs/pretraining.md).
    """

    def __init__(self, encoder: Encoder, head: nn.Module, twin: nn.Module, *, frozen_norm: bool) -> None:
        """Copy; ``twin`` is a head of the same make, as weight-normalised ones cannot be copied."""
        super().__init__()
        self.encoder, self.head, self.frozen_norm = copy.deepcopy(encoder), twin, frozen_norm
        self.head.load_state_dict(head.state_dict())
        self.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> _Follower:
        """Put batch norms into training mode, and nothing else."""
        super().train(False)
        for part in self.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.training = mode and not self.frozen_norm
        return self

    @torch.no_grad()
    def forward(self, view_BCHW: Tensor, groups: int = 1) -> Tensor:
        """Return the head's outputs, without gradients.

        Args:
            view_BCHW: Images.
            groups: How many random groups go through one by one, each with batch statistics of its own.
        """
        order = torch.randperm(len(view_BCHW)) if groups > 1 else torch.arange(len(view_BCHW))
        found = [self.head(self.encoder.embed(view_BCHW[part])) for part in order.to(view_BCHW.device).chunk(groups)]
        return torch.cat(found)[order.argsort().to(view_BCHW.device)]

    @torch.no_grad()
    def follow(self, encoder: Encoder, head: nn.Module, momentum: float) -> None:
        """Move the weights towards the trained ones: new = momentum * old + (1 - momentum) * theirs."""
        for own, other in ((self.encoder, encoder), (self.head, head)):
            for mine, theirs in zip(own.parameters(), other.parameters(), strict=True):
                mine.lerp_(theirs.to(mine.dtype), 1 - momentum)


class MocoObjective(Objective):
    """MoCo v2: the query of one view must resemble the key of the other more than it does a queue of former keys.

    Keys come from the `_Follower` in small random groups, each with batch statistics of its own: a key must not be recognised by those of
    its query's batch. (MoCo shuffles between GPUs for that; its authors use groups on one.) The queue holds the keys of all processes,
    and is in the checkpoints.
    """

    def __init__(self, encoder: Encoder, config: MocoConfig, *, frozen_norm: bool) -> None:
        """Add head, follower and queue."""
        check_lightly("moco")
        from lightly.loss import NTXentLoss
        from lightly.models.modules.heads import MoCoProjectionHead

        super().__init__(MultiTaskModel(encoder, {}), frozen_norm=frozen_norm)
        self.config = config
        heads = [MoCoProjectionHead(encoder.embedding_dim, config.hidden, config.dim) for _ in range(2)]
        self.head = heads[0]
        self.keys = _Follower(encoder, *heads, frozen_norm=frozen_norm)
        self.contrast = NTXentLoss(config.temperature, (config.queue, config.dim), gather_distributed=True)

    def views(self, augment: Augment) -> Views:
        """Two crops."""
        return _crops(self.model.encoder, augment, [(None, self.config.crop)] * 2)

    def forward(self, batch: Batch) -> Tensor:
        """Return InfoNCE, and put the keys into the queue."""
        query = self.head(self.model.encoder.embed(batch["view0"]))
        return cast(Tensor, self.contrast(query.float(), self._keys(batch).float()))

    def _keys(self, batch: Batch) -> Tensor:
        view = batch["view1"]
        return cast(Tensor, self.keys(view, groups=1 if self.frozen_norm else max(1, min(4, len(view) // 8))))

    def prepare(self, batches: Iterator[Batch]) -> None:
        """Fill the queue with keys of the initial encoder.

        MoCo begins with a queue of random vectors, which all images are far from: nothing is learned until it is filled.
        """
        self.train()
        filled = 0
        while filled < self.config.queue:
            keys = nn.functional.normalize(self._keys(next(batches)).float(), dim=1)
            self.contrast.memory_bank(keys, update=True)
            filled += len(keys) * (dist.get_world_size() if dist.is_initialized() else 1)

    def after_step(self, step: int, total: int) -> None:
        """Let the key encoder follow, slowly: where keys drift, queries learn to tell new ones from old ones and not images."""
        self.keys.follow(self.model.encoder, self.head, self.config.momentum)

    def get_extra_state(self) -> dict[str, Tensor]:
        """Return the queue, which lightly keeps out of its state."""
        bank = self.contrast.memory_bank
        return {"queue": bank.bank, "place": bank.bank_ptr}

    def set_extra_state(self, state: Any) -> None:
        """Put a saved queue back."""
        bank = self.contrast.memory_bank
        bank.bank.copy_(state["queue"])
        bank.bank_ptr.copy_(state["place"])


class DinoObjective(Objective):
    """DINO: from any view the student must give the distribution that the teacher, a `_Follower`, gives for a large one.

    The teacher's outputs are centred (over all processes) and sharpened, which keeps both from collapsing. The teacher is what is saved.
    """

    def __init__(self, encoder: Encoder, config: DinoConfig, *, frozen_norm: bool) -> None:
        """Add head, teacher and centre."""
        check_lightly("dino")
        from lightly.loss import DINOLoss
        from lightly.models.modules.heads import DINOProjectionHead

        super().__init__(MultiTaskModel(encoder, {}), frozen_norm=frozen_norm)
        self.config = config
        with warnings.catch_warnings():  # lightly calls the form of weight_norm that torch has replaced
            warnings.filterwarnings("ignore", message=r".*weight_norm.* is deprecated", category=FutureWarning)
            heads = [
                DINOProjectionHead(
                    encoder.embedding_dim,
                    config.hidden,
                    config.bottleneck,
                    config.outputs,
                    freeze_last_layer=config.freeze_prototypes,
                )
                for _ in range(2)
            ]
        self.head = heads[0]
        self.teacher = _Follower(encoder, *heads, frozen_norm=frozen_norm)
        self.contrast = DINOLoss(
            config.outputs,
            teacher_temp=config.teacher_temperature,
            student_temp=config.student_temperature,
            center_momentum=config.centre_momentum,
        )

    def views(self, augment: Augment) -> Views:
        """Two large crops, then the small ones."""
        config, size = self.config, cast(tuple[int, int], self.model.encoder.contract.size)
        side = config.local_size
        small = (side, side) if side else (max(1, size[0] // 2), max(1, size[1] // 2))
        return _crops(self.model.encoder, augment, [(None, config.crop)] * 2 + [(small, config.local_crop)] * config.local_crops)

    def forward(self, batch: Batch) -> Tensor:
        """Return the cross-entropy between teacher and student over all pairs of different views, and move the centre."""
        views = [batch[f"view{k}"] for k in range(2 + self.config.local_crops)]
        teacher = self.teacher(torch.cat(views[:2])).float().chunk(2)
        student: list[Tensor] = []
        for group in (views[:2], views[2:]):  # one pass for each size
            if group:
                student += self.head(self.model.encoder.embed(torch.cat(group))).float().chunk(len(group))
        return cast(Tensor, self.contrast(list(teacher), student))

    def before_step(self, epoch: int) -> None:
        """Leave the prototypes as they are at first."""
        cast(Any, self.head).cancel_last_layer_gradients(epoch)

    def after_step(self, step: int, total: int) -> None:
        """Let the teacher follow, ever more slowly."""
        momentum = 1 - (1 - self.config.momentum) * (1 + math.cos(math.pi * min(1.0, step / total))) / 2
        self.teacher.follow(self.model.encoder, self.head, momentum)

    @property
    def result(self) -> MultiTaskModel:
        """The teacher's encoder."""
        return MultiTaskModel(self.teacher.encoder, {})


def _crops(encoder: Encoder, augment: Augment, wanted: list[tuple[tuple[int, int] | None, list[float]]]) -> Crops:
    """Return crops of (size, area); a size of None is the contract's."""
    full = cast(tuple[int, int], encoder.contract.size)
    sizes = tuple(size or full for size, _ in wanted)
    return Crops(encoder.contract, augment, sizes, tuple((area[0], area[1]) for _, area in wanted))
