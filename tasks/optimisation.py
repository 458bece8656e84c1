"""AdamW with warm-up, cosine, clipping and loss scaling: everything that turns gradients into a step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from umsrep.tasks.config import OptimiserConfig

ENCODER = "model.encoder.model."


class Optimisation:
    """The optimiser of a run and its schedule.

    Attributes:
        optimiser: AdamW; a group for each rate (heads, encoder, blocks of it with layer decay), with and without weight decay.
        skipped: Steps that changed nothing, as float16 gradients were not finite at the scale that the scaler tried.
    """

    def __init__(
        self,
        config: OptimiserConfig,
        module: nn.Module,
        total_steps: int,
        scaler: Any = None,
        blocks: Sequence[Sequence[str]] = (),
    ) -> None:
        """Set up.

        Args:
            config: Rates and the like.
            module: The `JointStep`.
            total_steps: Of the run.
            scaler: The gradient scaler of float16, or None.
            blocks: Names of the encoder's parameters, block by block from input to output, for layer decay.
        """
        self.config, self.module, self.total_steps, self.scaler = config, module, total_steps, scaler
        self.skipped = 0
        depth = {f"{ENCODER}{name}": len(blocks) - 1 - k for k, names in enumerate(blocks) for name in names}
        groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
        for name, parameter in module.named_parameters():
            factor = config.encoder_factor * config.layer_decay ** depth.get(name, 0) if name.startswith(ENCODER) else 1.0
            groups.setdefault((factor, parameter.ndim > 1), []).append(parameter)
        self.optimiser = torch.optim.AdamW(
            [
                {
                    "params": parameters,
                    "lr": 0.0,
                    "peak": config.learning_rate * factor,
                    "weight_decay": config.weight_decay if decays else 0.0,
                }
                for (factor, decays), parameters in groups.items()
            ]
        )

    def factor(self, step: int) -> float:
        """Return the factor on the peak rates at a step: linear warm-up, then a cosine to ``final_fraction``."""
        warm = max(1, round(self.config.warmup * self.total_steps))
        if step < warm:
            return (step + 1) / warm
        progress = (step - warm) / max(1, self.total_steps - warm)
        return self.config.final_fraction + (1 - self.config.final_fraction) * (1 + math.cos(math.pi * min(1.0, progress))) / 2

    def step(self, step: int) -> bool:
        """Clip the gradients, make one step at the rates of ``step``, less those skipped, and clear the gradients.

        Returns:
            Whether weights changed; the scaler skips a step of gradients that are not finite, and tries a smaller scale in the next.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * self.factor(step - self.skipped)
        if self.scaler is not None:
            self.scaler.unscale_(self.optimiser)
        if self.config.clip_norm:
            nn.utils.clip_grad_norm_(self.module.parameters(), self.config.clip_norm)
        changed = True
        if self.scaler is not None:
            scale = self.scaler.get_scale()
            self.scaler.step(self.optimiser)
            self.scaler.update()
            changed = self.scaler.get_scale() >= scale
            self.skipped += not changed
        else:
            self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return changed

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs."""
        scaler = None if self.scaler is None else self.scaler.state_dict()
        return {"optimiser": self.optimiser.state_dict(), "scaler": scaler, "skipped": self.skipped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put a saved state back."""
        self.optimiser.load_state_dict(state["optimiser"])
        self.skipped = state.get("skipped", 0)  # runs in float32 of before had no such number
        if self.scaler is not None and state["scaler"] is not None:
            self.scaler.load_state_dict(state["scaler"])
