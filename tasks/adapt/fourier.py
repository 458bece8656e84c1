"""FDA: an image in the style of another, by exchanging the amplitudes of low frequencies (Yang & Soatto 2020)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from umsrep.errors import InputError


def fourier_domain_adapt(source: Tensor, target: Tensor, beta: float) -> Tensor:
    """Give the source images the low-frequency amplitudes of the target's; all phases, and with them the anatomy, stay the source's.

    The window is the square of the frequencies ``|fy| <= b`` and ``|fx| <= b`` cycles an image, ``b = floor(min(H, W) * beta)``, centred
    on the zero frequency: 2b + 1 by 2b + 1 of the H by W. So a small beta above 0 (b = 0) exchanges the mean brightness alone, and
    beta = 0.5 or more all amplitudes. beta = 0 is off: the source as it is, as the paper says of it (section 3.1), although its public
    code exchanges the mean there.

    To be used on images in 0-1, before they are normalised: in a normalised image the zero frequency can be negative, its sign counts as
    phase, and brightness would come out mirrored. The result can leave 0-1 a little at edges; it is not clipped, which would alter phases.

    Args:
        source: [C, H, W] or [B, C, H, W], float, 0-1; half precision is computed in float32.
        target: Of the same C, H and W; one image for all sources, or as many as they.
        beta: Share of the spectrum, 0-1; the paper takes 0.01 to 0.09.

    Returns:
        As the source in shape, device and dtype.

    Raises:
        InputError: for other shapes, integers, values that are not finite, or a beta outside 0-1.
    """
    for what, image in (("source", source), ("target", target)):
        if not isinstance(image, Tensor) or image.ndim not in (3, 4) or not image.is_floating_point() or not image.numel():
            found = f"{image.dtype} {list(image.shape)}" if isinstance(image, Tensor) else type(image).__name__
            raise InputError(f"fourier_domain_adapt: {what} must be float images [C, H, W] or [B, C, H, W], not {found}")
        if not bool(torch.isfinite(image).all()):
            raise InputError(f"fourier_domain_adapt: the {what} has values that are NaN or infinite")
    if not 0 <= beta <= 1:  # NaN as well
        raise InputError(f"fourier_domain_adapt: beta must be between 0 and 1, not {beta}")
    several = target.ndim == 4 and len(target) > 1
    if source.shape[-3:] != target.shape[-3:] or (several and (source.ndim == 3 or len(source) != len(target))):
        raise InputError(
            f"fourier_domain_adapt: target {list(target.shape)} does not fit source {list(source.shape)}; resize to the same C, H and W, "
            "and give one target or as many as sources"
        )
    if beta == 0:
        return source.clone()
    height, width = source.shape[-2:]
    border = math.floor(min(height, width) * beta)
    if target.ndim == 4 and not several:
        target = target[0]
    double = torch.float64 in (source.dtype, target.dtype)
    dtype = torch.float64 if double else torch.float32
    spectrum = torch.fft.rfft2(source.to(dtype))  # of real images: the other half mirrors it
    amplitude = torch.fft.rfft2(target.to(source.device, dtype)).abs()
    rows = torch.fft.fftfreq(height, 1 / height, device=source.device).abs().round() <= border
    columns = torch.arange(width // 2 + 1, device=source.device) <= border
    swapped = torch.where(rows[:, None] & columns, torch.polar(amplitude, spectrum.angle()), spectrum)
    result: Tensor = torch.fft.irfft2(swapped, s=(height, width)).to(source.dtype)
    return result
