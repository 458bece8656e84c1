"""InputContract: from any stored image to the tensor that the weights expect; the same function in training and in use."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional as F

from umsrep.errors import InputError, nearest

Unit = Literal["auto", "8-bit", "12-bit", "16-bit", "HU", "unit-interval"]
Resize = Literal["stretch", "pad"]
Source = str | Path | np.ndarray | Image.Image

_UNITS: tuple[str, ...] = get_args(Unit)
_FULL_SCALE = {"8-bit": 255.0, "12-bit": 4095.0, "16-bit": 65535.0, "unit-interval": 1.0}
_MIN_SIDE = 8
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, the weights of Pillow's "L" and of JPEG


@dataclasses.dataclass(frozen=True)
class InputContract:
    """What an encoder's weights expect, and how any stored image becomes that.

    The order is fixed: read, check the stored unit, scale to 0-1, match the channels, resize, normalise.

    Attributes:
        channels: Channels of the tensor. Grey images are repeated, RGB becomes grey by BT.601 luma; other mismatches are refused.
        size: ``(height, width)`` in pixels, one number for a square, or None to keep the size of the file.
        unit: What a stored value means. ``auto`` scales by the range the file declares (8-bit images; floats are 0-1) and refuses
            16-bit files, which do not declare their depth. A named unit refuses every other.
        mean: Subtracted after scaling to 0-1, one number or one a channel.
        std: Divided by after that, one number or one a channel.
        resize: ``stretch`` to ``size`` or keep the aspect and ``pad`` with zeros (right and bottom). Always antialiased bilinear.
        window: ``(low, high)`` in stored units that becomes 0-1 (values outside saturate, as on a viewing station); required for HU.
    """

    channels: int = 1
    size: int | tuple[int, int] | None = None
    unit: Unit = "auto"
    mean: float | tuple[float, ...] = 0.5
    std: float | tuple[float, ...] = 0.5
    resize: Resize = "stretch"
    window: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Bring lists (from JSON, YAML) into tuples and refuse impossible values."""
        self._check_types()
        if isinstance(self.size, int):
            object.__setattr__(self, "size", (self.size, self.size))
        for name in ("size", "mean", "std", "window"):
            value = getattr(self, name)
            if isinstance(value, list):
                object.__setattr__(self, name, tuple(value))
        if self.channels < 1:
            raise InputError(f"contract: channels must be 1 or more, not {self.channels}")
        if self.unit not in _UNITS:
            raise InputError(f"contract: unknown unit '{self.unit}'{nearest(self.unit, _UNITS)}")
        if self.resize not in get_args(Resize):
            raise InputError(f"contract: unknown resize '{self.resize}'{nearest(self.resize, get_args(Resize))}")
        if self.size is not None:
            size = self.size if isinstance(self.size, tuple) else (self.size, self.size)
            if len(size) != 2 or not all(isinstance(s, int) and _MIN_SIDE <= s <= 16384 for s in size):
                raise InputError(f"contract: size must be two whole numbers from {_MIN_SIDE} to 16384, not {self.size}")
        for name in ("mean", "std"):
            value = getattr(self, name)
            if isinstance(value, tuple) and len(value) != self.channels:
                raise InputError(f"contract: {name} has {len(value)} values for {self.channels} channels")
            if not all(math.isfinite(v) and (name == "mean" or v > 0) for v in (value if isinstance(value, tuple) else (value,))):
                raise InputError(f"contract: {name} must be finite{' and above 0' if name == 'std' else ''}, not {value}")
        if self.unit == "HU" and self.window is None:
            raise InputError("contract: unit HU needs a window, for example window=(-1000, 400)")
        if self.window is not None and not (
            len(self.window) == 2 and all(map(math.isfinite, self.window)) and self.window[0] < self.window[1]
        ):
            raise InputError(f"contract: window must be (low, high) with low < high, not {self.window}")

    def _check_types(self) -> None:
        """Refuse values of a wrong type: they may come from somebody's config.json."""
        for name, kinds in (("channels", int), ("unit", str), ("resize", str)):
            value = getattr(self, name)
            if not isinstance(value, kinds) or isinstance(value, bool):
                raise InputError(f"contract: {name} must be {'a whole number' if kinds is int else 'a text'}, not {value!r}")
        for name in ("mean", "std", "window", "size"):
            value = getattr(self, name)
            if value is None and name in ("window", "size"):
                continue
            values = value if isinstance(value, list | tuple) else (value,) if name != "window" else (None,)
            if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
                raise InputError(f"contract: {name} must be made of numbers, not {value!r}")

    # ---- dict round trip -------------------------------------------------------------------------------------------
    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values; `from_dict` gives back an equal contract."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> InputContract:
        """Build a contract from `to_dict`'s form.

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

    # ---- normalised <-> unit range ---------------------------------------------------------------------------------
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

    def check_range(self, x_BCHW: Tensor, where: str = "batch") -> None:
        """Refuse a batch that cannot come from this contract.

        Args:
            x_BCHW: Normalised images.
            where: Named in the message.

        Raises:
            InputError: for a wrong number of channels, NaN or infinite values, or values outside 0-1 after undoing the normalisation.
        """
        if x_BCHW.shape[-3] != self.channels:
            raise InputError(f"{where}: {x_BCHW.shape[-3]} channels, but the contract says {self.channels}")
        low, high = (float(v) for v in torch.aminmax(self.denormalise(x_BCHW.detach().float())))
        if not (math.isfinite(low) and math.isfinite(high)):
            raise InputError(f"{where}: NaN or infinite pixels")
        if low < -1e-3 or high > 1 + 1e-3:
            raise InputError(
                f"{where}: values from {low:.3g} to {high:.3g} after undoing mean and std, but the contract says 0 to 1; "
                "load images with contract.load() rather than by hand"
            )

    # ---- loading ---------------------------------------------------------------------------------------------------
    def load(self, source: Source) -> Tensor:
        """Load one image as the encoder expects it.

        Args:
            source: Path of a PNG, JPEG, TIFF, BMP or ``.npy`` file, an array [H, W] or [H, W, C], or a PIL image.

        Returns:
            float32 [C, H, W], normalised; H and W are the contract's size, or the file's where that is None.

        Raises:
            InputError: naming the file and the rule that was broken.
        """
        return self.normalise(self.fit(self.load_unit(source)))

    def load_unit(self, source: Source) -> Tensor:
        """Load one image at its own size in the unit range: float32 [C, H, W], 0-1, channels matched. Errors as in `load`."""
        name = str(source) if isinstance(source, str | Path) else f"<{type(source).__name__}>"
        array = _read(source, name)
        return torch.from_numpy(np.ascontiguousarray(self._channels(self._scale(array, name), name)))

    def fit(self, image_CHW: Tensor) -> Tensor:
        """Resize a [C, H, W] image in 0-1 to the contract's size (antialiased bilinear); None keeps it."""
        if self.size is None:
            return image_CHW
        height, width = self.inner_size(image_CHW.shape[-2], image_CHW.shape[-1])
        if (height, width) != tuple(image_CHW.shape[-2:]):
            image_CHW = F.interpolate(image_CHW[None], size=(height, width), mode="bilinear", antialias=True)[0].clamp_(0, 1)
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

    def _pad(self, image: Tensor, value: int) -> Tensor:
        assert isinstance(self.size, tuple)
        bottom, right = self.size[0] - image.shape[-2], self.size[1] - image.shape[-1]
        return F.pad(image, (0, right, 0, bottom), value=value) if bottom or right else image

    def _scale(self, array: np.ndarray, name: str) -> np.ndarray:
        """Stored values to float32 0-1, or an error that names the broken rule."""
        kind = array.dtype.kind
        if kind == "f":
            if not np.isfinite(array).all():
                raise InputError(f"{name}: NaN or infinite pixels; repair or leave out this image")
            stored = "HU" if self.unit == "HU" else "unit-interval"
        elif kind == "b":
            array, stored = array.astype(np.uint8) * 255, "8-bit"
        elif array.dtype == np.uint8:
            stored = "8-bit"
        elif kind in "iu":
            stored = self.unit if self.unit in ("12-bit", "16-bit", "HU") else "undeclared"
        else:
            raise InputError(f"{name}: cannot read pixels of type {array.dtype}")
        if stored == "undeclared":
            raise InputError(
                f"{name}: {array.dtype} pixels (largest {array.max()}) of undeclared depth; the contract's unit is '{self.unit}': "
                "set unit to '12-bit' or '16-bit', or HU with a window"
            )
        if self.unit not in ("auto", stored):
            raise InputError(f"{name}: {stored} pixels, but the contract's unit is '{self.unit}'")
        low, high = self.window or (0.0, _FULL_SCALE.get(stored, 1.0))
        values: np.ndarray = array.astype(np.float32)
        if self.window is None:
            smallest, largest = float(values.min()), float(values.max())
            if smallest < low or largest > high:
                raise InputError(f"{name}: values from {smallest:g} to {largest:g}, but {stored} means {low:g} to {high:g}")
            return values / np.float32(high)
        return np.clip((values - low) / (high - low), 0, 1).astype(np.float32)

    def _channels(self, array: np.ndarray, name: str) -> np.ndarray:
        """[H, W] or [H, W, c] in 0-1 to [C, H, W]."""
        have = 1 if array.ndim == 2 else array.shape[2]
        planes = array[None] if array.ndim == 2 else np.moveaxis(array, 2, 0)
        if have == self.channels:
            return planes
        if have == 1:
            return np.repeat(planes, self.channels, axis=0)
        if have == 3 and self.channels == 1:
            # grey content stored as RGB stays exactly what it was
            same = np.array_equal(planes[0], planes[1]) and np.array_equal(planes[0], planes[2])
            return planes[:1] if same else np.tensordot(_LUMA, planes, axes=1)[None]
        raise InputError(f"{name}: {have} channels, but the contract says {self.channels} (grey and RGB are converted, nothing else)")


def _read(source: Source, name: str) -> np.ndarray:
    """Read pixels as stored: [H, W] or [H, W, C] of bool, uint8, uint16, int32 or float."""
    if isinstance(source, str | Path):
        array = _read_file(Path(source), name)
    elif isinstance(source, Image.Image):
        with _readable(name):  # Pillow may read the pixels only now
            array = _from_pil(source, name)
    elif isinstance(source, np.ndarray):
        array = source
    else:
        raise InputError(f"{name}: expected a path, a numpy array or a PIL image")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] > 64):
        raise InputError(f"{name}: shape {array.shape}; an image is [H, W] or [H, W, C]")
    if min(array.shape[:2]) < _MIN_SIDE:
        raise InputError(f"{name}: {array.shape[1]}x{array.shape[0]} pixels; an image has at least {_MIN_SIDE} a side")
    return array


def _read_file(path: Path, name: str) -> np.ndarray:
    if not path.is_file():
        raise InputError(f"{name}: no such file")
    with _readable(name):
        if path.suffix.lower() == ".npy":
            return np.asarray(np.load(path, allow_pickle=False))
        with Image.open(path) as image:
            return _from_pil(image, name)


@contextlib.contextmanager
def _readable(name: str) -> Iterator[None]:
    """Turn what Pillow and numpy raise on a damaged file into one error that names it."""
    try:
        yield
    except UnidentifiedImageError as error:
        raise InputError(f"{name}: not an image that can be read (PNG, JPEG, TIFF, BMP or .npy)") from error
    except InputError:
        raise
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise InputError(
            f"{name}: damaged or unreadable image ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
        ) from error


def _from_pil(image: Image.Image, name: str) -> np.ndarray:
    if (frames := getattr(image, "n_frames", 1)) > 1:
        raise InputError(f"{name}: {frames} frames in one file; save each as an image of its own")
    mode = image.mode
    if mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
        mode = image.mode
    if mode in ("LA", "RGBA"):
        alpha = image.getchannel("A")
        if alpha.getextrema() != (255, 255):
            raise InputError(f"{name}: transparent pixels; flatten the image on a background first")
        image = image.convert("L" if mode == "LA" else "RGB")
        mode = image.mode
    if mode not in ("1", "L", "RGB", "I;16", "I;16B", "I;16L", "I", "F"):
        raise InputError(f"{name}: colour mode {mode} is not supported; save it as grey or RGB")
    return np.asarray(image)
