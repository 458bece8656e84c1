"""Fine-tuning strategies: which parts train when."""

from __future__ import annotations

from torch import nn

from umsrep.tasks.config import FineTuneConfig
from umsrep.tasks.model import MultiTaskModel
from umsrep.zoo.stages import stages_of

__all__ = ["ALL_JOINED", "HEADS_FIRST", "Strategy", "stages_of"]

# heads-then-all trains only heads and decoders for this share of the steps (linear probing first keeps the features: Kumar et al. 2022).
HEADS_FIRST = 0.2
# gradual has let the last stage of the encoder, its first, join by this share of the steps (unfreezing backwards: Howard & Ruder 2018).
ALL_JOINED = 0.5


class Strategy:
    """Freezes and unfreezes parts of a model as the steps go on.

    ``frozen``: the encoder never trains. ``partial``: its last ``trainable_stages`` stages train, the others never. ``gradual``: its
    stages join one by one from the last to the first, at even distances from `HEADS_FIRST` to `ALL_JOINED` of the steps.
    ``heads-then-all``: it joins as a whole after `HEADS_FIRST` of the steps. ``full``: all train from the start. With ``train_heads``
    only those heads train, whatever the strategy (and shared decoders that no other head uses): the encoder and the other heads stay
    bitwise as they are.

    Attributes:
        joins: Step at which each stage of the encoder joins, first stage first; None never does.
    """

    def __init__(self, config: FineTuneConfig, model: MultiTaskModel, total_steps: int) -> None:
        """Set up."""
        self.model = model
        self.alone = config.train_heads
        self.tasks = list(config.tasks)
        self.stages = [list(names) for names in stages_of(model.encoder.model, coarse=True)]
        count = len(self.stages)
        self.joins: list[int | None]
        if self.alone is not None or config.strategy == "frozen":
            self.joins = [None] * count
        elif config.strategy == "partial":
            self.joins = [0 if k >= count - config.trainable_stages else None for k in range(count)]
        elif config.strategy == "gradual":
            pace = (ALL_JOINED - HEADS_FIRST) / max(1, count - 1)
            self.joins = [round(total_steps * (HEADS_FIRST + pace * (count - 1 - k))) for k in range(count)]
        else:
            self.joins = [round(HEADS_FIRST * total_steps) if config.strategy == "heads-then-all" else 0] * count

    def changes(self, step: int) -> bool:
        """Tell whether other parts train from this step on than did before."""
        return step > 0 and step in self.joins

    def apply(self, step: int, module: nn.Module) -> None:
        """Put the module into training mode and the frozen parts out of it."""
        module.train()
        model = self.model
        joined = [start is not None and start <= step for start in self.joins]
        if not any(joined):
            model.encoder.freeze()
        else:
            model.encoder.unfreeze()
            parameters = dict(model.encoder.model.named_parameters())
            for names, trains in zip(self.stages, joined, strict=True):
                for name in names:
                    parameters[name].requires_grad_(trains)
            for part in model.encoder.model.modules():  # no dropout and no moving statistics in what is frozen
                own = list(part.parameters())
                if own and not any(p.requires_grad for p in own):
                    part.eval()
        trained = set(self.alone or self.tasks)
        for name, head in model.heads.items():
            _set(head, name in trained)
        users: dict[str, set[str]] = {}  # of each shared decoder: the heads that use it
        for name, head in model.heads.items():
            if getattr(head, "decoder", "") is None:
                users.setdefault(str(head.decoder_name), set()).add(name)
        for name, decoder in model.decoders.items():
            # with train_heads a decoder that older heads use must stay; one that came with the new heads trains
            _set(decoder, users[name] <= trained if self.alone is not None else bool(users[name] & trained))


def _set(part: nn.Module, trains: bool) -> None:
    part.requires_grad_(trains)
    part.train(trains)
