"""AdaBN: a target's own statistics in the batch norms of a trained model (Li et al. 2016); no weight changes, nothing is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from umsrep.errors import InputError
from umsrep.heads import DenoisingHead
from umsrep.tasks.adapt.norms import batch_norms, refuse
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.predict import evaluation_mode
from umsrep.tasks.progress import track
from umsrep.zoo import Encoder

Model = TypeVar("Model", bound=nn.Module)

AT_ONCE = 3_000_000
"""Input values that pass at once by default: 1 GiB of feature maps in tf_efficientnet_lite0 with a U-Net decoder (350 bytes each)."""


def adabn(
    model: Model,
    batches: Iterable[Any],
    *,
    forward: Callable[[Tensor], Any] | None = None,
    at_once: int = AT_ONCE,
    title: str | None = None,
) -> Model:
    """Replace the running mean and variance of a model's batch norms by those of a target, in place.

    The statistics are exact: each norm gets the mean and the unbiased variance (torch's rule for ``running_var``) over all values of a
    channel in all batches, while the norms before it already use theirs. So the result is that of one batch that holds the whole target,
    however it is cut into batches, and not a moving average. What a norm sees follows from what those before it do, so a target that is
    too large for one pass takes a pass for each norm, each as deep as that norm.

    Dropout and stochastic depth are off, and the model stays in the mode it was in, frozen or not. Weights, gamma and beta stay as they
    are, to the bit. Of a `MultiTaskModel` the images pass every head but the denoising ones, for which the encoder keeps one set of
    statistics, that of images without added noise, as in training; norms that only a denoising head uses stay as they are. A model
    that only denoises is trained on noisy images alone: give such ones.

    Args:
        model: With batch norms: an `Encoder`, a `MultiTaskModel`, or any module. Copy it first to keep the old one.
        batches: The target, normalised as the model wants it: tensors [B, ...], or dicts with such an ``image``, or tuples that start
            with one. No labels are looked at. An iterator is kept in memory; anything else, such as a loader, is read anew for each
            pass and must give the same images each time.
        forward: Runs the model on a batch; default is all of the model, see above.
        at_once: Values of the input (B x C x H x W) up to which the whole target passes at once. It decides on time and memory only.
        title: Of the progress bar, or None for no bar.

    Returns:
        The model itself.

    Raises:
        InputError: for a model without batch norms that hold statistics, an empty target, fewer than two values a channel, or values
            that are not finite; the statistics are then those from before.
    """
    names = {norm: name for name, norm in batch_norms(model).items() if norm.running_mean is not None}
    if not names:
        raise refuse("adabn", model, "no batch norm with running statistics")
    again: Iterable[Any] = list(batches) if isinstance(batches, Iterator) else batches
    run = forward or _whole(model)
    before = {norm: (cast(Tensor, norm.running_mean).clone(), cast(Tensor, norm.running_var).clone()) for norm in names}
    with torch.no_grad(), evaluation_mode(model):
        try:
            _adapt(names, again, run, _device(model), at_once, title)
        except BaseException:
            for norm, (mean, variance) in before.items():
                cast(Tensor, norm.running_mean).copy_(mean)
                cast(Tensor, norm.running_var).copy_(variance)
            raise
    return model


def _adapt(
    names: Mapping[_BatchNorm, str],
    batches: Iterable[Any],
    run: Callable[[Tensor], Any],
    device: torch.device,
    at_once: int,
    title: str | None,
) -> None:
    small: list[Tensor] = []  # the whole target, if it may pass at once
    first: Tensor | None = None
    values = 0
    for x in _images(batches, device):
        first = x if first is None else first
        values += x.numel()
        if x.shape[1:] != first.shape[1:] or values > at_once:
            small = []
            break
        small.append(x)
    if first is None:
        raise InputError("adabn: the target has no images")
    calls: Counter[_BatchNorm] = Counter()  # in the order in which the norms are met

    def count(norm: nn.Module, inputs: tuple[Any, ...]) -> None:
        calls[cast(_BatchNorm, norm)] += 1

    _hooked(names, count, run, first[:1])
    if not calls:
        raise InputError("adabn: no batch norm takes part in this forward pass")
    if small and set(calls.values()) == {1}:  # each norm is set just before it works
        whole = torch.cat(small)

        def set_first(norm: nn.Module, inputs: tuple[Any, ...]) -> None:
            statistics = _Statistics()
            statistics.add(inputs[0])
            statistics.put_into(cast(_BatchNorm, norm), names[cast(_BatchNorm, norm)])

        _hooked(names, set_first, run, whole)
        return
    for norm, times in track(list(calls.items()), title, total=len(calls)):
        statistics = _Statistics()

        def look(norm: nn.Module, inputs: tuple[Any, ...], statistics: _Statistics = statistics, last: bool = times == 1) -> None:
            statistics.add(inputs[0])
            if last:
                raise _Enough

        for x in _images(batches, device):
            _hooked([norm], look, run, x)
        statistics.put_into(norm, names[norm])


class _Enough(Exception):
    """A forward pass has come as far as it was needed."""


def _hooked(
    norms: Iterable[nn.Module], hook: Callable[[nn.Module, tuple[Any, ...]], None], run: Callable[[Tensor], Any], x: Tensor
) -> None:
    """Run a forward pass with a hook before each of these norms."""
    handles = [norm.register_forward_pre_hook(hook) for norm in norms]
    try:
        run(x)
    except _Enough:
        pass
    finally:
        for handle in handles:
            handle.remove()


class _Statistics:
    """Mean and sum of squared deviations of each channel over batches, joined exactly (Chan et al. 1979), in float64."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros(())
        self.squares = torch.zeros(())

    def add(self, x_BC: Tensor) -> None:
        values = x_BC.transpose(0, 1).flatten(1)  # [C, n]
        if not values.shape[1]:
            return
        values = values if values.dtype == torch.float64 else values.float()
        variance, mean = torch.var_mean(values, dim=1, correction=0)
        n, m, mean, squares = self.count, values.shape[1], mean.double(), variance.double() * values.shape[1]
        if n == 0:
            self.count, self.mean, self.squares = m, mean, squares
            return
        step = mean - self.mean
        self.mean = self.mean + step * (m / (n + m))
        self.squares = self.squares + squares + step.square() * (n * m / (n + m))
        self.count = n + m

    def put_into(self, norm: _BatchNorm, name: str) -> None:
        if self.count < 2:
            raise InputError(f"adabn: '{name}' sees {self.count} value a channel, of which there is no variance; give 2 images or more")
        if not bool(torch.isfinite(self.mean).all() and torch.isfinite(self.squares).all()):
            raise InputError(f"adabn: '{name}' sees values that are NaN or infinite; check the target's images")
        cast(Tensor, norm.running_mean).copy_(self.mean)
        cast(Tensor, norm.running_var).copy_(self.squares / (self.count - 1))


def _whole(model: nn.Module) -> Callable[[Tensor], Any]:
    """Return the pass that reaches the norms whose statistics training takes from the images as they are."""
    if isinstance(model, Encoder):
        return model.forward_both  # pyramid and embedding: the norm behind the last level as well
    if isinstance(model, MultiTaskModel):
        heads = [name for name, head in model.heads.items() if not isinstance(head, DenoisingHead)] or list(model.heads)
        return lambda x: model(x, heads)
    return model


def _images(batches: Iterable[Any], device: torch.device) -> Iterator[Tensor]:
    for batch in batches:
        if isinstance(batch, InputError):  # what the project's loaders give for an unreadable row
            raise batch
        x = batch.get("image") if isinstance(batch, Mapping) else batch[0] if isinstance(batch, Sequence) and len(batch) else batch
        if not isinstance(x, Tensor) or x.ndim < 2 or not x.is_floating_point():
            what = f"{x.dtype} {list(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
            raise InputError(f"adabn: a batch must be a float tensor [B, ...], or a dict with such an 'image', not {what}")
        if len(x):
            yield x.to(device)


def _device(model: nn.Module) -> torch.device:
    tensors = [*model.parameters(), *model.buffers()]
    return tensors[0].device if tensors else torch.device("cpu")
