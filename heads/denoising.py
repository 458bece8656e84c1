"""Denoising head: predicts the noise at full resolution and takes it away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from umsrep.errors import InputError
from umsrep.heads.decoder import Decoder, resize
from umsrep.heads.head import Head


class DenoisingHead(Head):
    """Residual denoiser (Zhang et al. 2017, DnCNN: the network predicts the noise).

    The decoder's features say what is there; a short branch of 3x3 convolutions that also reads every pixel of the image itself
    says what is noise. As in FFDNet (Zhang et al. 2018) the branch works on 2x2 pixels folded into channels, which loses nothing
    and costs a quarter. Its last layer starts at zero, so that a new head returns its input.
    """

    kind: ClassVar[Literal["denoising"]] = "denoising"

    def __init__(self, decoder: str = "unet", *, share: bool = True, width: int = 32, depth: int = 4) -> None:
        """Describe the head.

        Args:
            decoder: One of `umsrep.heads.DECODERS`.
            share: Use one decoder together with the other dense heads that have the same one and share.
            width: Channels of the branch.
            depth: Its 3x3 convolutions, 2 or more.
        """
        super().__init__()
        if width < 1 or depth < 2:
            raise InputError(f"denoising head: width must be 1 or more and depth 2 or more, not {width} and {depth}")
        self.decoder_name, self.share, self.width, self.depth = decoder, share, width, depth

    def args(self) -> dict[str, Any]:
        """Return the arguments as JSON values."""
        return {"decoder": self.decoder_name, "share": self.share, "width": self.width, "depth": self.depth}

    def build(
        self, *, channels: Sequence[int], strides: Sequence[int], in_channels: int, embedding_dim: int, shared: Decoder | None = None
    ) -> None:
        """Make the weights; with ``shared`` the head has no decoder of its own. See `Head.build`."""
        decoder = shared or Decoder(self.decoder_name, channels=channels, strides=strides, in_channels=in_channels)
        self.decoder = None if shared is not None else decoder
        layers: list[nn.Module] = []
        before = decoder.out_channels + 4 * in_channels
        for _ in range(self.depth - 1):
            layers += [nn.Conv2d(before, self.width, 3, padding=1), nn.ReLU(inplace=True)]
            before = self.width
        last = nn.Conv2d(before, 4 * in_channels, 3, padding=1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(cast(Tensor, last.bias))
        self.branch = nn.Sequential(*layers, last)
        self.built = True

    def forward(self, x_BCHW: Tensor, features: list[Tensor], dense: Tensor | None = None) -> Tensor:
        """Return the clean image, [B, C, H, W] in the same normalised unit as the noisy ``x``.

        Args:
            x_BCHW: The noisy image; H and W divisible by 32.
            features: Its pyramid.
            dense: Output of the shared decoder, if the head has none of its own.
        """
        if dense is None:
            assert self.decoder is not None
            dense = self.decoder(x_BCHW, features)
        pixels = F.pixel_unshuffle(x_BCHW, 2)
        noise = self.branch(torch.cat([pixels, resize(dense, *pixels.shape[-2:])], dim=1))
        return x_BCHW - F.pixel_shuffle(cast(Tensor, noise), 2)
