"""The 19 photometric operations of StrongAugment, each a function of an image and one magnitude.

Pohjonen et al. 2022, "Augment like there's no tomorrow: Consistently performing neural networks for medical imaging", arXiv
2206.15274. Images are float tensors [..., C, H, W] in 0-1, on any device; a batch gets one magnitude. What a magnitude means:

==============  ==========  ===================================================================================================
operation       range       meaning
==============  ==========  ===================================================================================================
red green blue  0 - 2       the channel times this, clipped at 1
hue             -0.5 - 0.5  turn of the colour circle (1 is a whole turn), in HSV
saturation      0 - 2       0 is grey (ITU-R 601 luma), 1 the image; beyond, further away from grey
brightness      0.1 - 2     the image times this, clipped at 1
contrast        0.1 - 2     distance of each value from the image's mean luma times this
gamma           0.1 - 2     exponent
solarize        0 - 255     inverts every value that is at least this, as 8-bit values (rounded); 256 inverts none
posterize       1 - 8       bits kept of each 8-bit value (rounded, the others cut off); 8 leaves finer values as they are too
sharpen         0 - 1       share of the filter (-1 -1 -1, -1 9 -1, -1 -1 -1) in a mix with the image
emboss          0 - 1       share of the filter (-2 -1 0, -1 1 1, 0 1 2) in a mix with the image
blur            0 - 3       standard deviation of a Gaussian, pixels
noise           0 - 0.2     share of noise, uniform from 0 to 1 and the same in all channels, in a mix with the image
jpeg            0 - 100     quality; JPEG knows no 0, which is 1
tone            0 - 1       heights of the two inner controls of a cubic Bezier curve from (0, 0) to (1, 1): a pair
autocontrast    none        stretches each channel to 0-1
equalize        none        flattens each channel's histogram of 256 bins; the result has 8 bits
grayscale       none        luma in all channels
==============  ==========  ===================================================================================================

The filters and the noise are those of the authors' package, whose README and paper leave them open; it works on 8-bit images,
which this module does only where the operation is one of 8-bit values.
"""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from umsrep.errors import InputError, nearest

Magnitude = float | tuple[float, float] | None
_LUMA = (0.299, 0.587, 0.114)
_SHARPEN = (-1.0, -1.0, -1.0, -1.0, 9.0, -1.0, -1.0, -1.0, -1.0)
_EMBOSS = (-2.0, -1.0, 0.0, -1.0, 1.0, 1.0, 0.0, 1.0, 2.0)


@dataclasses.dataclass(frozen=True)
class Operation:
    """One operation and where StrongAugment draws its magnitude from.

    Attributes:
        name: Key in `OPERATIONS`.
        low: Least magnitude.
        high: Largest magnitude.
        integer: Magnitudes are whole numbers, both ends included.
        colour: Only meaningful on images of three channels.
        neutral: The magnitude that changes nothing, which may lie just outside the range; None where there is none.
        parameters: How many magnitudes it takes: 0, 1, or 2 (a pair, both from ``low`` to ``high``).
    """

    name: str
    low: float = 0.0
    high: float = 0.0
    integer: bool = False
    colour: bool = False
    neutral: Magnitude = None
    parameters: int = 1


OPERATIONS: dict[str, Operation] = {
    "red": Operation("red", 0, 2, colour=True, neutral=1.0),
    "green": Operation("green", 0, 2, colour=True, neutral=1.0),
    "blue": Operation("blue", 0, 2, colour=True, neutral=1.0),
    "hue": Operation("hue", -0.5, 0.5, colour=True, neutral=0.0),
    "saturation": Operation("saturation", 0, 2, colour=True, neutral=1.0),
    "brightness": Operation("brightness", 0.1, 2, neutral=1.0),
    "contrast": Operation("contrast", 0.1, 2, neutral=1.0),
    "gamma": Operation("gamma", 0.1, 2, neutral=1.0),
    "solarize": Operation("solarize", 0, 255, integer=True, neutral=256),
    "posterize": Operation("posterize", 1, 8, integer=True, neutral=8),
    "sharpen": Operation("sharpen", 0, 1, neutral=0.0),
    "emboss": Operation("emboss", 0, 1, neutral=0.0),
    "blur": Operation("blur", 0, 3, neutral=0.0),
    "noise": Operation("noise", 0, 0.2, neutral=0.0),
    "jpeg": Operation("jpeg", 0, 100, integer=True),
    "tone": Operation("tone", 0, 1, neutral=(1 / 3, 2 / 3), parameters=2),
    "autocontrast": Operation("autocontrast", parameters=0),
    "equalize": Operation("equalize", parameters=0),
    "grayscale": Operation("grayscale", colour=True, parameters=0),
}


def apply_operation(image: Tensor, name: str, magnitude: Magnitude = None, generator: torch.Generator | None = None) -> Tensor:
    """Apply one operation at one magnitude to an image or a batch; the input stays as it is.

    Args:
        image: Float, [..., C, H, W], values from 0 to 1 (not checked: it would cost as much as an operation), sides of 2 or more.
        name: Key of `OPERATIONS`.
        magnitude: Within the operation's range, or its neutral value; a pair for ``tone``; None where it takes none.
        generator: Draws the noise of ``noise``, which needs it; the others do not touch it.

    Returns:
        A new tensor of the same shape, dtype and device, values from 0 to 1. At the neutral magnitude it equals the input exactly.

    Raises:
        InputError: for an unknown operation, a magnitude outside its range, a colour operation on an image that has not three
            channels, or noise without a generator.
    """
    operation = OPERATIONS.get(name)
    if operation is None:
        raise InputError(f"no augmentation is called '{name}'{nearest(name, OPERATIONS)}")
    if image.ndim < 3 or not image.is_floating_point() or min(image.shape[-2:]) < 2:
        raise InputError(f"{name}: the image must be float [..., C, H, W] with sides of 2 or more, not {image.dtype} {list(image.shape)}")
    if operation.colour and image.shape[-3] != 3:
        raise InputError(f"{name} changes colours, but the image has {image.shape[-3]} channel(s), not 3")
    values = _checked(operation, magnitude)
    if operation.neutral is not None and magnitude == operation.neutral:
        return image.clone()
    if name == "noise":
        if generator is None:
            raise InputError("noise: give a torch.Generator")
        return _noise(image, values[0], generator)
    return apply_unchecked(image, name, *values)


def apply_unchecked(image: Tensor, name: str, *values: float) -> Tensor:
    """Apply an operation other than noise as `apply_operation` does, at any magnitude that has a meaning, and also where it is neutral."""
    return _FUNCTIONS[name](image, *values)


def _checked(operation: Operation, magnitude: Magnitude) -> tuple[float, ...]:
    """Return the magnitudes as a tuple; refuse a wrong count, a value out of range, and a fraction where whole numbers are meant."""
    values = () if magnitude is None else magnitude if isinstance(magnitude, tuple) else (magnitude,)
    if len(values) != operation.parameters:
        wanted = ("no magnitude", "one magnitude", "a pair of magnitudes")[operation.parameters]
        raise InputError(f"{operation.name} takes {wanted}, not {magnitude}")
    for value in values:
        if not operation.low <= value <= operation.high and magnitude != operation.neutral:  # also NaN
            raise InputError(f"{operation.name}: magnitude must be from {operation.low:g} to {operation.high:g}, not {value}")
        if operation.integer and value != int(value):
            raise InputError(f"{operation.name}: magnitude must be a whole number, not {value}")
    return values


def _channel(index: int) -> Callable[..., Tensor]:
    def scaled(image: Tensor, factor: float) -> Tensor:
        new = image.clone()
        new[..., index, :, :].mul_(factor).clamp_(max=1)
        return new

    return scaled


def _luma(image: Tensor) -> Tensor:
    """Return [..., 1, H, W]: the luma of three channels, else the mean of all."""
    if image.shape[-3] != 3:
        return image.mean(-3, keepdim=True)
    red, green, blue = image.unbind(-3)
    return (red * _LUMA[0]).add_(green, alpha=_LUMA[1]).add_(blue, alpha=_LUMA[2]).unsqueeze(-3)


def _contrast(image: Tensor, factor: float) -> Tensor:
    mean = _luma(image).mean((-2, -1), keepdim=True)
    return torch.lerp(mean, image, factor).clamp_(0, 1)


def _saturation(image: Tensor, factor: float) -> Tensor:
    return torch.lerp(_luma(image).expand_as(image), image, factor).clamp_(0, 1)


def _solarize(image: Tensor, threshold: float) -> Tensor:
    # half a grey level below the threshold: what rounds to it, so that k/255 counts as k whatever its last bit
    return torch.where(image >= (threshold - 0.5) / 255, 1 - image, image)


def _posterize(image: Tensor, bits: float) -> Tensor:
    step = 2 ** (8 - int(bits))
    return (image * 255).round_().div_(step).floor_().mul_(step / 255)


def _mixed(image: Tensor, kernel: tuple[float, ...], share: float) -> Tensor:
    """Return (1 - share) times the image plus share times its 3x3 correlation with the kernel, in one pass."""
    weight = torch.tensor(kernel, dtype=image.dtype, device=image.device) * share
    weight[4] += 1 - share
    planes = image.reshape(-1, 1, *image.shape[-2:])
    return F.conv2d(F.pad(planes, (1, 1, 1, 1), mode="reflect"), weight.reshape(1, 1, 3, 3)).reshape(image.shape).clamp_(0, 1)


def _blur(image: Tensor, sigma: float) -> Tensor:
    """Blur with a Gaussian cut off at three standard deviations (at the side of a smaller image), mirrored at the borders."""
    planes = image.reshape(-1, 1, *image.shape[-2:])
    for axis in (2, 3):
        radius = min(math.ceil(3 * sigma), planes.shape[axis] - 1)
        offsets = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
        weight = torch.softmax(-0.5 * (offsets / max(sigma, 1e-6)) ** 2, 0)
        pads = (0, 0, radius, radius) if axis == 2 else (radius, radius, 0, 0)
        planes = F.conv2d(F.pad(planes, pads, mode="reflect"), weight.reshape((1, 1, -1, 1) if axis == 2 else (1, 1, 1, -1)))
    return planes.reshape(image.shape).clamp_(0, 1)


def _noise(image: Tensor, share: float, generator: torch.Generator) -> Tensor:
    shape = (*image.shape[:-3], 1, *image.shape[-2:])
    noise = torch.rand(shape, generator=generator, device=generator.device).to(image)
    return torch.lerp(image, noise.expand_as(image), share).clamp_(0, 1)


def _bytes(image: Tensor) -> Tensor:
    return (image * 255).round_().to(torch.uint8)


def _jpeg(image: Tensor, quality: float) -> Tensor:
    """Compress each image by itself on the CPU: as colour if it has three channels, else each channel as grey."""
    colour = image.shape[-3] == 3
    stored = _bytes(image).cpu()
    decoded = []
    for pixels in (stored.movedim(-3, -1) if colour else stored).reshape(-1, *image.shape[-2:], *((3,) if colour else ())).numpy():
        with io.BytesIO() as buffer:  # Pillow: torchvision's codecs are deprecated since 0.29
            Image.fromarray(pixels).save(buffer, "JPEG", quality=max(1, int(quality)))
            decoded.append(np.asarray(Image.open(buffer)))
    made = torch.from_numpy(np.stack(decoded))
    made = (made.movedim(-1, 1) if colour else made).reshape(image.shape)
    return made.to(image.device).to(image.dtype).div_(255).contiguous()


def _tone(image: Tensor, low: float, high: float) -> Tensor:
    rest = 1 - image
    return (3 * rest * image * (rest * low + image * high)).add_(image**3).clamp_(0, 1)


def _equalize(image: Tensor) -> Tensor:
    from torchvision.transforms.v2 import functional as V  # costs .1 s: not at import

    equalized: Tensor = V.equalize(_bytes(image))
    return equalized.to(image.dtype).div_(255)


def _autocontrast(image: Tensor) -> Tensor:
    from torchvision.transforms.v2 import functional as V

    stretched: Tensor = V.autocontrast(image.reshape(-1, 1, *image.shape[-2:]))
    return stretched.clamp_(0, 1).reshape(image.shape)


def _hue(image: Tensor, turn: float) -> Tensor:
    from torchvision.transforms.v2 import functional as V

    turned: Tensor = V.adjust_hue(image, turn)
    return turned.clamp_(0, 1)


_FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "red": _channel(0),
    "green": _channel(1),
    "blue": _channel(2),
    "hue": _hue,
    "saturation": _saturation,
    "brightness": lambda image, factor: (image * factor).clamp_(max=1),
    "contrast": _contrast,
    "gamma": lambda image, exponent: image**exponent,
    "solarize": _solarize,
    "posterize": _posterize,
    "sharpen": lambda image, share: _mixed(image, _SHARPEN, share),
    "emboss": lambda image, share: _mixed(image, _EMBOSS, share),
    "blur": _blur,
    "jpeg": _jpeg,
    "tone": _tone,
    "autocontrast": _autocontrast,
    "equalize": _equalize,
    "grayscale": lambda image: _luma(image).expand_as(image).clamp(0, 1),
}
