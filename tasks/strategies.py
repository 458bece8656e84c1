"""Fine-tuning strategies: which parts train when."""

from __future__ import annotations

from torch import nn

from umsrep.tasks.config import FineTuneConfig
from umsrep.tasks.model import MultiTaskModel

# heads-then-all trains only heads and decoders for this share of the steps (linear probing first keeps the features: Kumar et al. 2022).
HEADS_FIRST = 0.2


class Strategy:
    """Freezes and unfreezes parts of a model as the steps go on.

    ``frozen``: the encoder never trains. ``heads-then-all``: it joins after `HEADS_FIRST` of the steps. ``full``: all train from
    the start. With ``train_heads`` only those heads train, whatever the strategy (and shared decoders that no other head uses): the
    encoder and the other heads stay bitwise as they are.
    """

    def __init__(self, config: FineTuneConfig, model: MultiTaskModel, total_steps: int) -> None:
        """Set up."""
        self.model = model
        self.alone = config.train_heads
        self.tasks = list(config.tasks)
        frozen_always = config.strategy == "frozen" or self.alone is not None
        self.thaw_step = (
            total_steps + 1 if frozen_always else round(HEADS_FIRST * total_steps) if config.strategy == "heads-then-all" else 0
        )

    def changes(self, step: int) -> bool:
        """Tell whether other parts train from this step on than did before."""
        return step == self.thaw_step and step > 0

    def apply(self, step: int, module: nn.Module) -> None:
        """Put the module into training mode and the frozen parts out of it."""
        module.train()
        model = self.model
        if step < self.thaw_step:
            model.encoder.freeze()
        else:
            model.encoder.unfreeze()
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
