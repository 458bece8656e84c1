"""What every head is: built once from an encoder's channels and strides, described by plain arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import nn

from umsrep.errors import InputError


class Head(nn.Module):
    """A head turns an encoder's features into one task's output.

    It is described by `args` (plain JSON values that rebuild it), and gets its weights in `build`, when the channels and strides
    of the encoder are known.

    Attributes:
        kind: "denoising", "segmentation" or "classification".
    """

    kind: ClassVar[str]
    built = False

    def args(self) -> dict[str, Any]:
        """Return the arguments that make this head again, as plain JSON values."""
        raise InputError(f"{type(self).__name__} is no concrete head: use DenoisingHead, SegmentationHead or ClassificationHead")

    def build(self, *, channels: Sequence[int], strides: Sequence[int], in_channels: int, embedding_dim: int) -> None:
        """Make the weights.

        Args:
            channels: Of each feature map, finest first.
            strides: Of each feature map.
            in_channels: Of the input image.
            embedding_dim: Of the pooled embedding.

        Raises:
            InputError: if the head cannot work on such features; the message names what can.
        """
        raise InputError(f"{type(self).__name__} is no concrete head: use DenoisingHead, SegmentationHead or ClassificationHead")


def class_names(classes: int | Sequence[str]) -> tuple[str, ...]:
    """Bring ``classes`` (a number, or names) into names, and refuse empty, doubled or none."""
    if isinstance(classes, str):
        raise InputError(f"classes must be a number or a list of names, not the text '{classes}': write ['{classes}']")
    names = tuple(str(i) for i in range(classes)) if isinstance(classes, int) else tuple(str(c) for c in classes)
    if not names:
        raise InputError("a head needs one class or more")
    if len(set(names)) != len(names) or not all(names):
        raise InputError(f"class names must differ and not be empty: {list(names)}")
    return names
