"""The CBR family of small convolutional networks, as timm models: cbr_large_t, cbr_large_w, cbr_small, cbr_tiny."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from timm.layers.classifier import create_classifier
from timm.models import build_model_with_cfg, checkpoint, generate_default_cfgs, register_model
from timm.models._features import feature_take_indices
from torch import Tensor, nn

__all__ = ["CBR"]

POOLED = 4
"""Blocks that end in a pool: all of the networks of four blocks, and the first four of cbr_large_t."""


class CBR(nn.Module):
    """A chain of convolution (stride 1, no bias), batch norm, ReLU and 3x3 max pool of stride 2 (Raghu et al. 2019, appendix B).

    Convolutions are padded to keep the size. A fifth block has no pool, and the classifier reads the mean of the last block's output
    at 1/16 of the image, as published. The feature maps are those after the pools, at strides 2, 4, 8 and 16, and a fifth at stride
    32 by one more max pool of the last block's output, which holds no weights: so that decoders made for five levels take the family.

    Attributes:
        feature_info: Channels, stride and module of each feature map.
        num_features: Channels of the last block.
        head_hidden_size: Length of the pre-logits.
    """

    global_pool: Any  # timm's module with pool_type and feat_mult()
    fc: nn.Module

    def __init__(
        self,
        widths: Sequence[int] = (32, 64, 128, 256),
        kernel_size: int = 5,
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
    ) -> None:
        """Build with random weights (He et al. 2015, fan out).

        Args:
            widths: Channels of the four or five blocks.
            kernel_size: Odd, of every convolution.
            in_chans: Image channels.
            num_classes: 0 leaves the classifier out.
            global_pool: timm's name of the pool before the classifier; "" for none.
            drop_rate: Dropout before the classifier.

        Raises:
            ValueError: for another number of blocks, or an even kernel.
        """
        super().__init__()
        if len(widths) not in (POOLED, POOLED + 1) or kernel_size % 2 == 0:
            raise ValueError(f"a CBR has 4 or 5 blocks and an odd kernel, not {len(widths)} and {kernel_size}")
        self.num_classes, self.in_chans, self.grad_checkpointing = num_classes, in_chans, False
        self.blocks = nn.Sequential()
        for i, (before, width) in enumerate(zip([in_chans, *widths], widths, strict=False)):
            block = nn.Sequential()
            block.add_module("conv", nn.Conv2d(before, width, kernel_size, padding=kernel_size // 2, bias=False))
            block.add_module("bn", nn.BatchNorm2d(width))
            block.add_module("act", nn.ReLU(inplace=True))
            self.blocks.add_module(str(i), block)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = [*widths[:POOLED], widths[-1]]
        modules = [*(f"blocks.{i}" for i in range(POOLED)), "pool"]
        self.feature_info = [
            {"num_chs": c, "reduction": 2 ** (i + 1), "module": name} for i, (c, name) in enumerate(zip(channels, modules, strict=True))
        ]
        self.num_features = widths[-1]
        self.head_drop = nn.Dropout(drop_rate)
        self.reset_classifier(num_classes, global_pool)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    # ---- what timm asks of a model ---------------------------------------------------------------------------------
    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Return the patterns that group parameters; a block is a stage, so coarse changes nothing."""
        return {"stem": r"^blocks\.0", "blocks": r"^blocks\.(\d+)"}

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Compute activations again in the backward pass instead of keeping them."""
        self.grad_checkpointing = enable

    def get_classifier(self) -> nn.Module:
        """Return the classifier, an identity where there are no classes."""
        return self.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier; ``global_pool`` None keeps the pool."""
        self.num_classes = num_classes
        pool_type = self.global_pool.pool_type if global_pool is None else global_pool
        self.global_pool, self.fc = create_classifier(self.num_features, num_classes, pool_type=pool_type)
        self.head_hidden_size: int = self.num_features * self.global_pool.feat_mult()

    def prune_intermediate_layers(self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True) -> list[int]:
        """Drop the blocks that the wanted feature maps do not need; there is no last norm to drop."""
        wanted, last = feature_take_indices(len(self.feature_info), indices)
        if last < POOLED:
            self.blocks = self.blocks[: last + 1]
        if prune_head:
            self.reset_classifier(0, "")
        return wanted

    # ---- forward ---------------------------------------------------------------------------------------------------
    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Return feature maps, and before them the last block's output unless ``intermediates_only``.

        Args:
            x: Images [B, C, H, W].
            indices: Which maps: the last n, or positions; None for all.
            norm: No effect: there is no last norm.
            stop_early: Leave out the blocks that no wanted map needs.
            output_fmt: Only NCHW.
            intermediates_only: Return only the maps.
        """
        assert output_fmt == "NCHW", "Output shape must be NCHW."
        wanted, last = feature_take_indices(len(self.feature_info), indices)
        blocks = self.blocks[: last + 1] if stop_early and last < POOLED else self.blocks
        maps = []
        for i, block in enumerate(blocks):
            x = checkpoint(block, x) if self.grad_checkpointing and self.training else block(x)
            if i < POOLED:
                x = self.pool(x)
                maps.append(x)
        if last == POOLED:
            maps.append(self.pool(x))
        found = [maps[i] for i in sorted(set(wanted))]
        return found if intermediates_only else (x, found)

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the last block's output [B, num_features, H / 16, W / 16]."""
        return cast(tuple[Tensor, list[Tensor]], self.forward_intermediates(x, indices=[0]))[0]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Pool and classify; with ``pre_logits`` only pool."""
        x = self.head_drop(self.global_pool(x))
        return x if pre_logits else cast(Tensor, self.fc(x))

    def forward(self, x: Tensor) -> Tensor:
        """Return class logits [B, num_classes]."""
        return self.forward_head(self.forward_features(x))


def _cfg() -> dict[str, Any]:
    """There are no published weights."""
    return {
        "url": "",
        "num_classes": 1000,
        "input_size": (3, 224, 224),
        "pool_size": (14, 14),
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
        "first_conv": "blocks.0.conv",
        "classifier": "fc",
    }


default_cfgs = generate_default_cfgs({name: _cfg() for name in ("cbr_large_t", "cbr_large_w", "cbr_small", "cbr_tiny")})


def _create(variant: str, pretrained: bool, **kwargs: Any) -> CBR:
    return build_model_with_cfg(CBR, variant, pretrained, feature_cfg={"feature_cls": "getter"}, **kwargs)


@register_model
def cbr_large_t(pretrained: bool = False, **kwargs: Any) -> CBR:
    """CBR-LargeT (tall): kernels of 7, widths 32-64-128-256-512, no pool after the last block."""
    return _create("cbr_large_t", pretrained, **{"widths": (32, 64, 128, 256, 512), "kernel_size": 7, **kwargs})


@register_model
def cbr_large_w(pretrained: bool = False, **kwargs: Any) -> CBR:
    """CBR-LargeW (wide): kernels of 7, widths 64-128-256-512."""
    return _create("cbr_large_w", pretrained, **{"widths": (64, 128, 256, 512), "kernel_size": 7, **kwargs})


@register_model
def cbr_small(pretrained: bool = False, **kwargs: Any) -> CBR:
    """CBR-Small: kernels of 7, widths 32-64-128-256."""
    return _create("cbr_small", pretrained, **{"widths": (32, 64, 128, 256), "kernel_size": 7, **kwargs})


@register_model
def cbr_tiny(pretrained: bool = False, **kwargs: Any) -> CBR:
    """CBR-Tiny: kernels of 5, widths 32-64-128-256, those that give the published count of weights (the text's are twice as wide)."""
    return _create("cbr_tiny", pretrained, **{"widths": (32, 64, 128, 256), "kernel_size": 5, **kwargs})
