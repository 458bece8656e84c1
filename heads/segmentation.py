"""Segmentation head: a decoder, one convolution, and logits brought to full resolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, cast

from torch import Tensor, nn

from umsrep.heads.decoder import Decoder, resize
from umsrep.heads.head import Head, class_names


class SegmentationHead(Head):
    """One channel of logits a class, at full resolution.

    One class is binary (sigmoid; mask value 1), several are exclusive (softmax; mask value = index) unless ``multi_label``.
    """

    kind: ClassVar[Literal["segmentation"]] = "segmentation"

    def __init__(self, classes: int | Sequence[str], decoder: str = "unet", *, share: bool = True, multi_label: bool = False) -> None:
        """Describe the head.

        Args:
            classes: Names, or how many.
            decoder: One of `umsrep.heads.DECODERS`.
            share: Use one decoder together with the other dense heads that have the same one and share.
            multi_label: Classes may overlap (a sigmoid each).
        """
        super().__init__()
        self.classes = class_names(classes)
        self.decoder_name, self.share, self.multi_label = decoder, share, multi_label

    def args(self) -> dict[str, Any]:
        """Return the arguments as JSON values."""
        return {"classes": list(self.classes), "decoder": self.decoder_name, "share": self.share, "multi_label": self.multi_label}

    def build(
        self, *, channels: Sequence[int], strides: Sequence[int], in_channels: int, embedding_dim: int, shared: Decoder | None = None
    ) -> None:
        """Make the weights; with ``shared`` the head has no decoder of its own. See `Head.build`."""
        decoder = shared or Decoder(self.decoder_name, channels=channels, strides=strides, in_channels=in_channels)
        self.decoder = None if shared is not None else decoder
        self.classifier = nn.Conv2d(decoder.out_channels, len(self.classes), 3, padding=1)
        self.built = True

    def forward(self, x_BCHW: Tensor, features: list[Tensor], dense: Tensor | None = None) -> Tensor:
        """Return logits [B, K, H, W].

        Args:
            x_BCHW: The image.
            features: Its pyramid.
            dense: Output of the shared decoder, if the head has none of its own.
        """
        if dense is None:
            assert self.decoder is not None
            dense = self.decoder(x_BCHW, features)
        return resize(cast(Tensor, self.classifier(dense)), *x_BCHW.shape[-2:])
