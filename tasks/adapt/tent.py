"""TENT: a model that adapts while it predicts, by making its predictions surer (Wang et al. 2021)."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from umsrep.errors import InputError
from umsrep.heads import ClassificationHead, SegmentationHead
from umsrep.tasks.adapt.norms import batch_norms, refuse
from umsrep.tasks.model import MultiTaskModel


def prediction_entropy(logits: Tensor, *, multi_label: bool = False) -> Tensor:
    """Return the mean entropy of predictions, in nats.

    Args:
        logits: [B, K] or [B, K, H, W]; the mean is over images and pixels.
        multi_label: Each class for itself (sigmoid; the mean is over classes too) instead of one of K (softmax). K = 1 is always so.

    Returns:
        Without axes: at most ln K for softmax, ln 2 for sigmoid.
    """
    logits = logits if logits.dtype == torch.float64 else logits.float()
    if multi_label or logits.shape[1] == 1:
        # p softplus(-z) + (1 - p) softplus(z): no logarithm of a probability that rounds to 0
        p = logits.sigmoid()
        return (p * F.softplus(-logits) + (1 - p) * F.softplus(logits)).mean()
    logs = logits.log_softmax(dim=1)
    return -(logs.exp() * logs).sum(dim=1).mean()


class Tent(nn.Module):
    """Fully test-time adaptation by entropy minimisation (Wang et al. 2021, TENT).

    ``Tent(model)(x)`` predicts a batch, with norms that take their statistics from this batch, and then makes one step that lowers
    the entropy of these predictions in the norms' gamma and beta. All other weights and the running statistics stay as they are, to
    the bit. It returns the logits from before the step, as the paper does: the batch itself is predicted by the model that the batches
    before it have adapted. The model is changed in place; `reset` undoes it. Predict through this object: the model alone would
    join adapted gamma and beta with the old statistics.

    What it does depends on the batches: they should be large (the paper takes 64 to 200) and mixed. Batches of one class, or many
    batches, can drive the model to predict one class only; compare with the unadapted model where there are labels. A
    ``learning_rate`` of 0 leaves statistics of the batch alone (prediction-time batch norm, Nado et al. 2020).

    Attributes:
        model: The model that is adapted.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        learning_rate: float = 1e-3,
        steps: int = 1,
        episodic: bool = False,
        multi_label: bool = False,
        tasks: Sequence[str] | None = None,
    ) -> None:
        """Wrap a model.

        Args:
            model: A `MultiTaskModel`, or any module that returns logits [B, K] or [B, K, H, W]; with batch norms that have gamma and beta.
            learning_rate: Of Adam; 0.001 as in the paper for small images.
            steps: Steps a batch, 1 or more; the logits are those from before the last one.
            episodic: Go back to the first state before every batch.
            multi_label: Classes that do not exclude each other, so the entropy is the sigmoid's; of a `MultiTaskModel` the heads say so.
            tasks: Heads of a `MultiTaskModel` to run and to make surer; default those that classify or segment. The loss is the mean
                of their entropies.

        Raises:
            InputError: for a model without such norms or heads, or a number out of range.
        """
        super().__init__()
        if not math.isfinite(learning_rate) or learning_rate < 0 or steps < 1:
            raise InputError(f"Tent: learning_rate must be 0 or more and steps 1 or more, not {learning_rate} and {steps}")
        self.model = model
        self.steps, self.episodic, self.multi_label = steps, episodic, multi_label
        self.learning_rate = learning_rate
        self.tasks = _tasks(model, tasks)
        self._norms = list(batch_norms(model).values())
        self._weights = [w for norm in self._norms for w in (norm.weight, norm.bias) if w is not None]
        if not self._weights:
            raise refuse("Tent", model, "no batch norm with gamma and beta")
        self._optimiser = torch.optim.Adam(self._weights, lr=learning_rate)
        self._first = [w.detach().clone() for w in self._weights]
        self._first_optimiser = copy.deepcopy(self._optimiser.state_dict())

    def reset(self) -> None:
        """Put gamma, beta and the optimiser back to where they were when this object was made."""
        with torch.no_grad():
            for weight, value in zip(self._weights, self._first, strict=True):
                weight.copy_(value)
        self._optimiser.load_state_dict(copy.deepcopy(self._first_optimiser))

    def forward(self, x: Tensor) -> Any:
        """Predict a batch, and adapt to it.

        Args:
            x: As the model takes it; 2 images or more, as the norms take their statistics from them.

        Returns:
            What the model returns: logits, or for a `MultiTaskModel` a dict of head's name to logits. No gradients hang on them.

        Raises:
            InputError: for a batch of one, outputs that are no logits, or an entropy that is not finite; no step is made then.
        """
        if len(x) < 2:
            raise InputError(f"Tent: a batch of {len(x)} has no statistics; give 2 images or more at once, better 64")
        if self.episodic:
            self.reset()
        with torch.inference_mode(False), torch.enable_grad(), self._adapting():
            x = x.clone() if x.is_inference() else x
            for _ in range(self.steps):
                outputs = self.model(x) if self.tasks is None else self.model(x, self.tasks)
                self._step(self._entropy(outputs))
        return {k: v.detach() for k, v in outputs.items()} if isinstance(outputs, dict) else outputs.detach()

    def _entropy(self, outputs: Any) -> Tensor:
        named = outputs if isinstance(outputs, dict) else {"": outputs}
        entropies = []
        for name, logits in named.items():
            if not isinstance(logits, Tensor) or logits.ndim not in (2, 4) or not logits.is_floating_point():
                raise InputError(f"Tent: {type(self.model).__name__} must return logits [B, K] or [B, K, H, W]")
            head = self.model.heads[name] if isinstance(self.model, MultiTaskModel) else None
            multi_label = self.multi_label if head is None else bool(head.multi_label)
            entropies.append(prediction_entropy(logits, multi_label=multi_label))
        return torch.stack(entropies).mean()

    def _step(self, entropy: Tensor) -> None:
        if not bool(torch.isfinite(entropy)):
            raise InputError("Tent: the entropy is not finite; check the images, or lower learning_rate")
        if self.learning_rate == 0:
            return
        gradients = torch.autograd.grad(entropy, self._weights, allow_unused=True)  # norms of heads that were not run have none
        for weight, gradient in zip(self._weights, gradients, strict=True):
            weight.grad = gradient
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)

    @contextlib.contextmanager
    def _adapting(self) -> Iterator[None]:
        """Let norms use the batch and gamma and beta learn, all else be evaluated and fixed; afterwards all is as it was."""
        modes = [(module, module.training) for module in self.model.modules()]
        learning = [(weight, weight.requires_grad) for weight in self.model.parameters()]
        tracking = [(norm, norm.track_running_stats) for norm in self._norms]
        try:
            self.model.eval()
            self.model.requires_grad_(False)
            for norm in self._norms:
                norm.training, norm.track_running_stats = True, False  # the batch's statistics, and no update of the running ones
            for weight in self._weights:
                weight.requires_grad_(True)
            yield
        finally:
            for module, training in modes:
                module.training = training
            for weight, learns in learning:
                weight.requires_grad_(learns)
            for norm, tracks in tracking:
                norm.track_running_stats = tracks


def _tasks(model: nn.Module, tasks: Sequence[str] | None) -> list[str] | None:
    """Return the heads to run, None for a module that has none."""
    if not isinstance(model, MultiTaskModel):
        if tasks is not None:
            raise InputError(f"Tent: {type(model).__name__} has no heads to choose tasks from")
        return None
    with_logits = [name for name, head in model.heads.items() if isinstance(head, SegmentationHead | ClassificationHead)]
    chosen = with_logits if tasks is None else model.check_tasks(tasks)
    if not chosen or (wrong := [name for name in chosen if name not in with_logits]):
        what = f"'{wrong[0]}'" if chosen else "this model"
        raise InputError(f"Tent: {what} only denoises: an image has no entropy to lower; take AdaBN")
    return chosen
