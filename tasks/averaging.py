"""The moving average of the weights."""

from __future__ import annotations

from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn


class MovingAverage(ModelEmaV3):
    """timm's, which looks both models' tensors up in every step, with the look-up done once: the same numbers in half the time.

    Tensors of the model must not be replaced after the first update; changes in place are seen.
    """

    _known: tuple[nn.Module, list[Tensor], list[Tensor], list[tuple[Tensor, Tensor]]] | None = None

    def apply_update_(self, model: nn.Module, decay: float) -> None:
        """Move the average by 1 - ``decay`` of the way to the model; counts are copied."""
        if self._known is None or self._known[0] is not model:
            pairs = list(zip(self.module.state_dict().values(), model.state_dict().values(), strict=True))
            moved = [pair for pair in pairs if pair[0].is_floating_point()]
            copied = [pair for pair in pairs if not pair[0].is_floating_point()]
            self._known = (model, [own for own, _ in moved], [theirs for _, theirs in moved], copied)
        _, own, theirs, copied = self._known
        for mine, other in copied:
            mine.copy_(other)
        self._foreach_lerp_(own, theirs, weight=1.0 - decay)
