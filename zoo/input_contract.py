"""InputContract: from any stored image to the tensor that the weights expect; the same function in training and in use."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from umsrep.errors import InputError, nearest
from umsrep.zoo.contract_fields import Colour, Photometric, Resize, Unit, check_fields, describe
from umsrep.zoo.scaling import ContractError, ContractWarning, broken, grey_of, match_channels, scale
from umsrep.zoo.stored import Source, Stored, label, read_stored

__all__ = ["ContractError", "ContractWarning", "InputContract", "LoadedImage"]

_TOLERANCE = 1e-3


@dataclasses.dataclass(frozen=True)
class LoadedImage:
    """One image in the unit range, with what else is known of it.

    Attributes:
        name: Of the source, for messages.
        unit_CHW: float32 [C, H, W] at the file's own size, 0-1, channels matched.
        spacing: Distance of its pixels in mm, ``(row, column)``; None where the file does not say.
        bent: One line for each rule that ``lenient`` bent.
    """

    name: str
    unit_CHW: Tensor
    spacing: tuple[float, float] | None
    bent: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class InputContract:
    """What an encoder's weights expect, and how any stored image becomes that.

    The order is fixed: read, check the stored unit and range, map to 0-1, match the channels, resize, normalise. A broken rule is a
    `ContractError` that names it; docs/input_contract.md says which rules ``lenient`` bends, and how.

    Attributes:
        channels: Channels of the tensor.
        size: ``(height, width)`` in pixels, one number for a square, or None to keep the size of the file.
        unit: What a stored value means. ``auto`` scales by the range the file declares (8-bit images; DICOM's bits after its rescale;
            floats are 0-1) and refuses integers of undeclared depth, as in 16-bit PNGs. A named unit takes those for its own and
            refuses every file that declares, or holds, another. HU needs a window.
        mean: Subtracted after scaling to 0-1, one number or one a channel.
        std: Divided by after that, one number or one a channel.
        resize: ``stretch`` to ``size`` or keep the aspect and ``pad`` with zeros (right and bottom). Always bilinear.
        window: ``(low, high)`` in stored units that becomes 0-1 (values outside saturate, as on a viewing station). It goes before the
            file's own.
        percentiles: ``(low, high)`` in percent, 0 to 100: these percentiles of each image's own stored values (all channels together)
            become 0-1, values outside saturate; where they coincide, values above become 1 and all others 0, so that a constant image
            is black. With unit ``auto`` any unit is taken. Excludes ``window``.
        voi: With unit ``auto``, and neither window nor percentiles: apply the file's own VOI LUT or window (DICOM), where it has one.
            A named unit is the stored value itself, so that a DICOM file and a PNG of the same values give the same tensor.
        photometric: ``monochrome2``: high values are bright, files that say otherwise (DICOM MONOCHROME1) are inverted.
            ``as-stored``: they are not.
        colour: ``convert``: grey is repeated, RGB becomes grey by BT.601 luma; every other mismatch of channels is refused.
            ``exact``: every mismatch is refused.
        antialias: Low-pass before shrinking.
        expected_range: ``(low, high)`` in stored units beyond which a file is refused; None is the range of the unit.
    """

    channels: int = 1
    size: int | tuple[int, int] | None = None
    unit: Unit = "auto"
    mean: float | tuple[float, ...] = 0.5
    std: float | tuple[float, ...] = 0.5
    resize: Resize = "stretch"
    window: tuple[float, float] | None = None
    percentiles: tuple[float, float] | None = None
    voi: bool = True
    photometric: Photometric = "monochrome2"
    colour: Colour = "convert"
    antialias: bool = True
    expected_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Bring lists (from JSON, YAML) into tuples and refuse impossible values."""
        if isinstance(self.size, int):
            object.__setattr__(self, "size", (self.size, self.size))
        for name in ("size", "mean", "std", "window", "percentiles", "expected_range"):
            value = getattr(self, name)
            if isinstance(value, list):
                object.__setattr__(self, name, tuple(value))
        check_fields(self)

    # ---- dict round trip -------------------------------------------------------------------------------------------
    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; `from_dict` gives back an equal contract."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> InputContract:
        """Build a contract from `to_dict`'s form; fields that are missing (in older files) have their defaults.

        Raises:
            InputError: for an unknown key (with the nearest names) or an impossible value.
        """
        known = [f.name for f in dataclasses.fields(cls)]
        for key in values:
            if key not in known:
                raise InputError(f"contract: unknown key '{key}'{nearest(key, known)}")
        return cls(**values)

    def replace(self, **changes: Any) -> InputContract:
        """Return a copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def with_unit(self, unit: str) -> InputContract:
        """Return a copy that takes stored values to be in this unit (as ``unit``), where the contract leaves it open.

        Raises:
            InputError: for an unknown unit, one that needs a window, and for a contract that names another.
        """
        if self.unit not in ("auto", unit):
            raise InputError(f"unit: this encoder's contract says '{self.unit}'; store the images so, or leave unit out")
        return self.replace(unit=unit)

    def describe(self) -> list[str]:
        """Return the contract in words, one line a rule (``"rule: meaning"``), the tensor's range among them."""
        return describe(self)

    # ---- normalised <-> unit range ---------------------------------------------------------------------------------
    @property
    def tensor_range(self) -> tuple[float, float]:
        """The smallest and largest value of a loaded tensor: 0 and 1 after mean and std, over all channels."""
        ends = self.normalise(torch.tensor([0.0, 1.0], dtype=torch.float64).expand(self.channels, 1, 2))
        return float(ends.min()), float(ends.max())

    def _affine(self, like: Tensor) -> tuple[Tensor, Tensor]:
        mean = torch.as_tensor(self.mean, dtype=like.dtype, device=like.device).reshape(-1, 1, 1)
        std = torch.as_tensor(self.std, dtype=like.dtype, device=like.device).reshape(-1, 1, 1)
        return mean, std

    def normalise(self, unit_CHW: Tensor) -> Tensor:
        """Map 0-1 to the range of the weights; any leading dimensions."""
        mean, std = self._affine(unit_CHW)
        return (unit_CHW - mean) / std

    def denormalise(self, x_CHW: Tensor) -> Tensor:
        """Map the range of the weights back to 0-1 (no clipping); any leading dimensions."""
        mean, std = self._affine(x_CHW)
        return x_CHW * std + mean

    def check_range(self, x_BCHW: Tensor, where: str = "batch", *, lenient: bool = False) -> None:
        """Refuse a batch that cannot come from this contract.

        Args:
            x_BCHW: Normalised images.
            where: Named in the message.
            lenient: Warn of values outside the range instead.

        Raises:
            ContractError: rules ``channels`` and ``finite``, and ``range``: values outside 0-1 after undoing the normalisation.
        """
        if x_BCHW.shape[-3] != self.channels:
            raise broken(where, "channels", f"{x_BCHW.shape[-3]} channels, but the contract says {self.channels}")
        low, high = (float(v) for v in torch.aminmax(self.denormalise(x_BCHW.detach().float())))
        if not (math.isfinite(low) and math.isfinite(high)):
            raise broken(where, "finite", "NaN or infinite pixels")
        if low < -_TOLERANCE or high > 1 + _TOLERANCE:
            says = "after undoing mean and std, but the contract says 0 to 1; load images with contract.load() rather than by hand"
            if not lenient:
                raise broken(where, "range", f"values from {low:.3g} to {high:.3g} {says}")
            warnings.warn(f"contract rule 'range' bent: values outside {says}", ContractWarning, stacklevel=2)

    # ---- loading ---------------------------------------------------------------------------------------------------
    def load(self, source: Source, *, frame: int | None = None, lenient: bool = False) -> Tensor:
        """Load one image as the encoder expects it.

        Args:
            source: Path of a PNG, JPEG, TIFF, BMP, ``.npy``, DICOM or NIfTI file, an array [H, W] or [H, W, C], or a PIL image.
            frame: Which image of a file that holds several, from 0.
            lenient: Bend the rules that can be bent and warn (`ContractWarning`), instead of refusing.

        Returns:
            float32 [C, H, W], normalised; H and W are the contract's size, or the file's where that is None.

        Raises:
            InputError: naming the file, if it cannot be read; `ContractError` naming the rule that it breaks as well.
        """
        unit = self.fit(self.load_unit(source, frame=frame, lenient=lenient))
        mean, std = self._affine(unit)
        return unit.sub_(mean).div_(std)  # in place: the largest images have 0.4 GB

    def load_unit(self, source: Source, *, frame: int | None = None, lenient: bool = False) -> Tensor:
        """Load one image at its own size in the unit range: float32 [C, H, W], 0-1, channels matched. Arguments, errors as in `load`."""
        loaded = self.open(source, frame=frame, lenient=lenient)
        for line in loaded.bent:
            warnings.warn(line, ContractWarning, stacklevel=2)
        return loaded.unit_CHW

    def open(self, source: Source, *, frame: int | None = None, lenient: bool = False) -> LoadedImage:
        """Load one image as `load_unit` does, with its pixel spacing; bent rules are returned, not warned of. Errors as in `load`."""
        name = label(source) if frame is None else f"{label(source)} frame {frame}"
        stored = self.read(source, frame=frame)
        if self.channels == 1 and self.colour == "convert":
            stored = dataclasses.replace(stored, pixels=grey_of(stored.pixels))
        unit, bent = scale(stored, self, name, lenient=lenient)
        planes = np.ascontiguousarray(match_channels(unit, self, name))
        return LoadedImage(name, torch.from_numpy(planes), stored.spacing, bent)

    def read(self, source: Source, *, frame: int | None = None) -> Stored:
        """Read one image as stored, without applying any rule; see `umsrep.zoo.stored.read_stored`."""
        return read_stored(source, frame=frame)

    # ---- size ------------------------------------------------------------------------------------------------------
    def fit(self, image_CHW: Tensor) -> Tensor:
        """Resize a [C, H, W] image in 0-1 to the contract's size (bilinear); None keeps it."""
        if self.size is None:
            return image_CHW
        height, width = self.inner_size(image_CHW.shape[-2], image_CHW.shape[-1])
        if (height, width) != tuple(image_CHW.shape[-2:]):
            image_CHW = F.interpolate(image_CHW[None], size=(height, width), mode="bilinear", antialias=self.antialias)[0].clamp_(0, 1)
        return self._pad(image_CHW, 0)

    def fit_mask(self, mask_HW: Tensor, fill: int = 255) -> Tensor:
        """Resize an index mask [..., H, W] as `fit` resizes its image: nearest neighbour at pixel centres, padding = ignore."""
        if self.size is None:
            return mask_HW
        height, width = self.inner_size(mask_HW.shape[-2], mask_HW.shape[-1])
        if (height, width) != tuple(mask_HW.shape[-2:]):
            flat = mask_HW.reshape(1, -1, *mask_HW.shape[-2:]).to(torch.float32)
            flat = F.interpolate(flat, size=(height, width), mode="nearest-exact")
            mask_HW = flat.to(mask_HW.dtype).reshape(*mask_HW.shape[:-2], height, width)
        return self._pad(mask_HW, fill)

    def inner_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the (height, width) that an image of this size takes inside the contract's size, before padding."""
        if self.size is None:
            return height, width
        target_h, target_w = self.size if isinstance(self.size, tuple) else (self.size, self.size)
        if self.resize == "stretch":
            return target_h, target_w
        scale = min(target_h / height, target_w / width)
        return max(1, round(height * scale)), max(1, round(width * scale))

    def fitted_spacing(self, spacing: tuple[float, float], height: int, width: int) -> tuple[float, float]:
        """Return the pixel spacing (row, column) of an image of this height and width after `fit`, which may scale the axes unequally."""
        inner = self.inner_size(height, width)
        return spacing[0] * height / inner[0], spacing[1] * width / inner[1]

    def _pad(self, image: Tensor, value: int) -> Tensor:
        assert isinstance(self.size, tuple)
        bottom, right = self.size[0] - image.shape[-2], self.size[1] - image.shape[-1]
        return F.pad(image, (0, right, 0, bottom), value=value) if bottom or right else image
