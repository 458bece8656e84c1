"""What a method learns: a module whose forward is a loss. Here those that predict pixels; `contrasting` has those that compare views."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from umsrep.errors import InputError
from umsrep.heads import DenoisingHead
from umsrep.tasks.data.augment import Augment
from umsrep.tasks.denoising import Denoising
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.predict import evaluation_mode
from umsrep.tasks.pretrain.config import DenoisingConfig, MaskedConfig
from umsrep.tasks.pretrain.data import Views
from umsrep.tasks.pretrain.views import Masked, Noisy
from umsrep.zoo import Encoder

Batch = dict[str, Tensor]


class Objective(nn.Module, ABC):
    """One method: which views it wants, its loss, and what it does after a step.

    Attributes:
        model: The encoder that gets gradients, with heads that are saved beside it.
        frozen_norm: Batch norms use their stored statistics and leave them as they are.
    """

    def __init__(self, model: MultiTaskModel, *, frozen_norm: bool) -> None:
        """Keep the model."""
        super().__init__()
        self.model = model
        self.frozen_norm = frozen_norm

    @abstractmethod
    def views(self, augment: Augment) -> Views:
        """Return what makes an item of an image."""

    @abstractmethod
    def forward(self, batch: Batch) -> Tensor:
        """Return the mean loss over the images of a batch of views; processes have equally many."""

    def prepare(self, batches: Iterator[Batch]) -> None:
        """Take what must be there before the first step from an endless row of batches."""

    def before_step(self, epoch: int) -> None:
        """Change gradients, if the method does."""

    def after_step(self, step: int, total: int) -> None:
        """Move what follows the trained weights, after step number ``step`` of ``total``, counted from 1."""

    @property
    def result(self) -> MultiTaskModel:
        """The model that is monitored and saved."""
        return self.model

    def train(self, mode: bool = True) -> Objective:
        """Set training mode; frozen norms stay in evaluation mode."""
        super().train(mode)
        if self.frozen_norm:
            for part in self.model.modules():
                if isinstance(part, nn.modules.batchnorm._BatchNorm):
                    part.eval()
        return self


class PixelDecoder(nn.Module):
    """The light decoder: one 1x1 convolution and a pixel shuffle, from the map before pooling to the image (Xie et al. 2022)."""

    def __init__(self, encoder: Encoder) -> None:
        """Make the weights for an encoder."""
        super().__init__()
        size = cast(tuple[int, int], encoder.contract.size)
        with torch.no_grad(), evaluation_mode(encoder):  # the map that is pooled may be finer than the pyramid's last (cbr_*)
            _, last = pyramid_and_last(encoder, torch.zeros(1, encoder.contract.channels, *size))
        self.stride = size[0] // last.shape[-2]
        width = int(cast(Any, encoder.model).num_features)
        self.project = nn.Conv2d(width, self.stride**2 * encoder.contract.channels, 1)

    def forward(self, last_BDhw: Tensor) -> Tensor:
        """Return [B, C, H, W]."""
        return F.pixel_shuffle(cast(Tensor, self.project(last_BDhw)), self.stride)


def pyramid_and_last(encoder: Encoder, x_BCHW: Tensor) -> tuple[list[Tensor], Tensor]:
    """Return the feature pyramid and the map that the embedding pools, [B, D, h, w], from one pass.

    The second is behind all layers of the encoder: for EfficientNet behind conv_head, which the pyramid does not reach.
    """
    model = cast(Any, encoder.model)
    last, features = model.forward_intermediates(x_BCHW, indices=encoder._indices, output_fmt="NCHW")
    if last.ndim == 3:  # tokens of a plain transformer
        side = x_BCHW.shape[-2] // encoder.strides[-1]
        last = last[:, getattr(model, "num_prefix_tokens", 0) :].transpose(1, 2).unflatten(2, (side, -1))
    elif getattr(model, "output_fmt", "NCHW") == "NHWC":
        last = last.permute(0, 3, 1, 2)
    return features, last


def check_divisible(encoder: Encoder, size: tuple[int, int], by: int, what: str) -> None:
    """Refuse an image size that squares do not fill."""
    if size[0] % by or size[1] % by:
        raise InputError(f"config: image_size {size[0]}x{size[1]} is no multiple of {by}, {what} {encoder.arch}")


class DenoisingObjective(Objective):
    """Denoising autoencoder: the decoder's image, and a coarse one from the embedding's own map, must both be the clean image.

    A decoder with skip connections can denoise without the deepest layers, and reads none behind the pyramid; the second term, of
    equal weight (mean absolute difference), trains what the embedding is made of.
    """

    def __init__(self, encoder: Encoder, config: DenoisingConfig, *, frozen_norm: bool) -> None:
        """Add head and decoders; an InputError where they do not fit."""
        super().__init__(MultiTaskModel(encoder, {"denoising": DenoisingHead(config.decoder)}), frozen_norm=frozen_norm)
        level = tuple(config.level) if isinstance(config.level, list) else config.level
        self.task = Denoising(noise=config.noise, level=level, loss=config.loss)
        check_divisible(encoder, cast(Any, encoder.contract.size), self.model.step, "which denoising needs with")
        self.coarse = PixelDecoder(encoder)

    def views(self, augment: Augment) -> Views:
        """Clean images and their noisy twins."""
        return Noisy(self.model.encoder.contract, augment, self.task)

    def forward(self, batch: Batch) -> Tensor:
        """Return the task's loss plus that of the coarse image."""
        contract, clean = self.model.encoder.contract, batch["clean"]
        features, last = pyramid_and_last(self.model.encoder, batch["image"])
        fine = self.model.run_heads(batch["image"], features, None, {"denoising": None})["denoising"]
        coarse = contract.denormalise(self.coarse(last).float())
        return self.task.loss(contract.denormalise(fine.float()), clean).mean() + (coarse - clean).abs().mean()


class MaskedObjective(Objective):
    """Masked autoencoding: hidden patches show a learned value, and the loss is L1 (in normalised units) on hidden pixels alone."""

    def __init__(self, encoder: Encoder, config: MaskedConfig, *, frozen_norm: bool) -> None:
        """Add the value of hidden pixels and the decoder; an InputError where patches do not fill the image."""
        super().__init__(MultiTaskModel(encoder, {}), frozen_norm=frozen_norm)
        size = cast(tuple[int, int], encoder.contract.size)
        self.patch, self.ratio = config.patch or max(1, min(size) // 8), config.ratio
        check_divisible(encoder, size, max(encoder.strides), "the stride of")
        check_divisible(encoder, size, self.patch, "masked.patch;")
        self.shown = nn.Parameter(torch.zeros(encoder.contract.channels, 1, 1))
        self.decoder = PixelDecoder(encoder)

    def views(self, augment: Augment) -> Views:
        """Images and which of their patches are hidden."""
        return Masked(self.model.encoder.contract, augment, self.patch, self.ratio)

    def forward(self, batch: Batch) -> Tensor:
        """Return the mean absolute difference on hidden pixels; every image hides equally many."""
        image = batch["image"]
        hidden = batch["hidden"][:, None].repeat_interleave(self.patch, 2).repeat_interleave(self.patch, 3)
        _, last = pyramid_and_last(self.model.encoder, torch.where(hidden, self.shown.to(image.dtype), image))
        difference = (self.decoder(last).float() - image).abs() * hidden
        mean: Tensor = difference.sum() / (hidden.sum() * image.shape[1])
        return mean
