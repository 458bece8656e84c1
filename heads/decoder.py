"""Decoders of segmentation-models-pytorch behind one interface: image and pyramid in, one dense feature map out."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import torch
from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3Decoder, DeepLabV3PlusDecoder
from segmentation_models_pytorch.decoders.dpt.decoder import DPTDecoder
from segmentation_models_pytorch.decoders.fpn.decoder import FPNDecoder
from segmentation_models_pytorch.decoders.linknet.decoder import LinknetDecoder
from segmentation_models_pytorch.decoders.manet.decoder import MAnetDecoder
from segmentation_models_pytorch.decoders.pan.decoder import FPABlock, PANDecoder
from segmentation_models_pytorch.decoders.pspnet.decoder import PSPDecoder
from segmentation_models_pytorch.decoders.segformer.decoder import SegformerDecoder
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
from segmentation_models_pytorch.decoders.unetplusplus.decoder import UnetPlusPlusDecoder
from segmentation_models_pytorch.decoders.upernet.decoder import UPerNetDecoder
from torch import Tensor, nn

from umsrep.errors import InputError, nearest

# Widths of the U-shaped decoders, coarse to fine: about half of SMP's. They end at stride 2: a block at full resolution costs as
# much as all others together (docs/LOG.md), and the heads that need full resolution read the image itself.
WIDTHS = (128, 64, 48, 32)

_Maker = Callable[[list[int], Sequence[int]], nn.Module]
_DEPTH = 5


def _u(kind: Any) -> _Maker:
    def make(channels: list[int], strides: Sequence[int]) -> nn.Module:
        return cast(nn.Module, kind(encoder_channels=channels, decoder_channels=list(WIDTHS), n_blocks=len(WIDTHS)))

    return make


def _dpt(channels: list[int], strides: Sequence[int]) -> nn.Module:
    """DPT brings its i-th map to stride 4, 8, 16 ...; it only ever enlarges them here, so that all sizes fit together."""
    decoder: nn.Module = DPTDecoder(
        encoder_out_channels=channels,
        encoder_output_strides=strides,
        encoder_has_prefix_tokens=False,
        readout="ignore",
        intermediate_channels=[48 * 2 ** min(i, 3) for i in range(len(channels))],
        fusion_channels=96,
    )
    return decoder


_MAKERS: dict[str, _Maker] = {
    "unet": _u(UnetDecoder),
    "unetplusplus": lambda channels, strides: UnetPlusPlusDecoder(
        encoder_channels=channels, decoder_channels=[*WIDTHS, 24], n_blocks=_DEPTH
    ),
    "manet": _u(MAnetDecoder),
    "linknet": lambda channels, strides: LinknetDecoder(encoder_channels=channels, prefinal_channels=32, n_blocks=_DEPTH),
    "fpn": lambda channels, strides: FPNDecoder(
        encoder_channels=channels, encoder_depth=_DEPTH, pyramid_channels=128, segmentation_channels=64, dropout=0.0, merge_policy="add"
    ),
    "pspnet": lambda channels, strides: PSPDecoder(encoder_channels=channels[:4], out_channels=128, dropout=0.0),
    "pan": lambda channels, strides: PANDecoder(encoder_channels=channels, encoder_depth=_DEPTH, decoder_channels=32),
    "deeplabv3": lambda channels, strides: DeepLabV3Decoder(
        in_channels=channels[-1], out_channels=128, atrous_rates=(6, 12, 18), aspp_separable=False, aspp_dropout=0.0
    ),
    "deeplabv3plus": lambda channels, strides: DeepLabV3PlusDecoder(
        encoder_channels=channels,
        encoder_depth=_DEPTH,
        out_channels=128,
        atrous_rates=(6, 12, 18),
        output_stride=16,
        aspp_separable=True,
        aspp_dropout=0.0,
    ),
    "upernet": lambda channels, strides: UPerNetDecoder(encoder_channels=channels, encoder_depth=_DEPTH, decoder_channels=128),
    "segformer": lambda channels, strides: SegformerDecoder(encoder_channels=channels, encoder_depth=_DEPTH, segmentation_channels=128),
    "dpt": _dpt,
}
DECODERS: tuple[str, ...] = tuple(_MAKERS)


class Decoder(nn.Module):
    """One decoder over an encoder's pyramid.

    Attributes:
        out_channels: Channels of the output.
        stride: Input pixels per output pixel.
    """

    def __init__(self, name: str, *, channels: Sequence[int], strides: Sequence[int], in_channels: int) -> None:
        """Build a decoder.

        Args:
            name: One of `DECODERS`.
            channels: Of each feature map, finest first.
            strides: Of each feature map.
            in_channels: Of the image.

        Raises:
            InputError: if the name is unknown, or the decoder does not fit these strides; the message names those that do.
        """
        super().__init__()
        if name not in _MAKERS:
            raise InputError(f"unknown decoder '{name}'{nearest(name, _MAKERS)}")
        try:
            self._make(name, channels, strides, in_channels)
        except _Misfit as error:
            fitting = [other for other in DECODERS if other != name and _fits(other, channels, strides, in_channels)]
            raise InputError(
                f"decoder '{name}' does not fit this encoder (strides {list(strides)}): {error}; "
                f"decoders that fit: {', '.join(fitting) or 'none'}"
            ) from error

    def _make(self, name: str, channels: Sequence[int], strides: Sequence[int], in_channels: int) -> None:
        self.name = name
        self.strides = tuple(strides)
        if name == "dpt":  # reads the maps themselves (also those of a plain ViT), from stride 4 on
            fine_enough = [i for i, s in enumerate(strides) if s >= 4]
            self.levels: list[int | None] = [*fine_enough[-4:]]
            strides = [strides[i] for i in self.levels if i is not None]
            if any(s % 2 ** (i + 2) for i, s in enumerate(strides)):
                raise _Misfit("it needs maps at strides 4, 8, 16, 32, or all at 16")
        else:
            self.levels = _levels(strides)
        if name in ("pan", "deeplabv3plus"):  # made for encoders that stop at stride 16: the coarsest map is left out
            self.levels[-1] = self.levels[-2]
        padded = [in_channels if i == -1 else 0 if i is None else channels[i] for i in self.levels]
        if name == "linknet" and 0 in padded:
            raise _Misfit("it adds the skip connections and so needs a map at every stride")
        if name != "dpt" and 0 in padded[2:]:
            raise _Misfit("it needs maps at strides 4, 8, 16 and 32")
        try:
            self.decoder = _MAKERS[name](padded, strides)
        except (ValueError, KeyError, ZeroDivisionError) as error:
            raise _Misfit(str(error)) from error
        self._probe(channels, self.strides, in_channels)

    @torch.no_grad()
    def _probe(self, channels: Sequence[int], strides: Sequence[int], in_channels: int) -> None:
        """Find out, on the meta device, the output's channels and whether the maps fit together."""
        side = 256
        probe = _meta_copy(self.decoder)
        features = [torch.empty(2, c, side // s, side // s, device="meta") for c, s in zip(channels, strides, strict=True)]
        try:
            out = self._run(probe, torch.empty(2, in_channels, side, side, device="meta"), features)
        except (RuntimeError, ValueError, IndexError, AssertionError) as error:
            raise _Misfit((str(error).splitlines() or ["shapes do not fit"])[0]) from error
        self.out_channels = int(out.shape[1])
        self.stride = side // int(out.shape[-1])

    def _run(self, decoder: nn.Module, x_BCHW: Tensor, features: list[Tensor]) -> Tensor:
        if self.name == "dpt":
            chosen = [features[i] for i in self.levels if i is not None]
            return cast(Tensor, decoder(chosen, [None] * len(chosen)))
        height, width = x_BCHW.shape[-2:]
        maps = []
        for depth, level in enumerate(self.levels):
            if level == -1:
                maps.append(x_BCHW)
            elif level is None:  # SMP's own way to say that there is no map at this stride
                maps.append(x_BCHW.new_empty(x_BCHW.shape[0], 0, height // 2**depth, width // 2**depth))
            else:
                maps.append(features[level])
        return cast(Tensor, decoder(maps[:4] if self.name == "pspnet" else maps))

    def forward(self, x_BCHW: Tensor, features: list[Tensor]) -> Tensor:
        """Return [B, out_channels, H / stride, W / stride] from the image and its feature maps; H and W divisible by 32."""
        with _single_values(self.decoder, x_BCHW):
            return self._forward(x_BCHW, features)

    def _forward(self, x_BCHW: Tensor, features: list[Tensor]) -> Tensor:
        if self.name == "pan" and not torch.compiler.is_compiling() and min(x_BCHW.shape[-2:]) < 128:
            raise InputError(f"decoder 'pan' pools the coarsest map three times: images of 128 px or more, not {tuple(x_BCHW.shape[-2:])}")
        return self._run(self.decoder, x_BCHW, features)


def resize(x_BCHW: Tensor, height: int, width: int) -> Tensor:
    """Bring a feature map or logits to a size, bilinear; as it is if it has that size."""
    if tuple(x_BCHW.shape[-2:]) == (height, width):
        return x_BCHW
    return nn.functional.interpolate(x_BCHW, size=(height, width), mode="bilinear", align_corners=False)


class _Misfit(Exception):
    """A decoder cannot work on these feature maps."""


@contextlib.contextmanager
def _single_values(decoder: nn.Module, x_BCHW: Tensor) -> Iterator[None]:
    """Let norms behind a global pooling use their running statistics while a batch of one image trains: one value has no variance."""
    if not decoder.training or x_BCHW.shape[0] > 1:
        yield
        return
    pooled = [
        m for m in decoder.modules() if isinstance(m, nn.Sequential) and any(isinstance(c, nn.AdaptiveAvgPool2d) for c in m.children())
    ]
    pooled += [m for m in decoder.modules() if isinstance(m, FPABlock)]  # halves the coarsest map three times, down to one pixel
    norms = [m for part in pooled for m in part.modules() if isinstance(m, nn.BatchNorm2d) and m.training]
    for norm in norms:
        norm.eval()
    try:
        yield
    finally:
        for norm in norms:
            norm.train()


def _levels(strides: Sequence[int]) -> list[int | None]:
    """Return which feature map stands at strides 1, 2, 4 ... 32: its index, -1 for the image itself, None for none."""
    if any(s not in (1, 2, 4, 8, 16, 32) for s in strides) or len(set(strides)) != len(strides):
        raise _Misfit("it needs maps at different strides, each a power of two up to 32")
    if max(strides) != 32:
        raise _Misfit("it needs a map at stride 32")
    at = {s: i for i, s in enumerate(strides)}
    return [at.get(1, -1), *(at.get(2**d) for d in range(1, _DEPTH + 1))]


def _meta_copy(module: nn.Module) -> nn.Module:
    """Return the module's structure without its memory, in evaluation mode."""
    memo: dict[int, Any] = {}
    for tensor in (*module.parameters(), *module.buffers()):
        empty = torch.empty_like(tensor, device="meta")
        memo[id(tensor)] = nn.Parameter(empty, requires_grad=False) if isinstance(tensor, nn.Parameter) else empty
    return copy.deepcopy(module, memo).eval()


def _fits(name: str, channels: Sequence[int], strides: Sequence[int], in_channels: int) -> bool:
    try:
        with torch.device("meta"):
            trial = nn.Module.__new__(Decoder)
            nn.Module.__init__(trial)
            trial._make(name, channels, strides, in_channels)
    except _Misfit:
        return False
    return True
