"""Classical denoisers as baselines: what a learned denoiser has to beat, with parameters tuned on validation pairs.

Every function takes one float image ``[H, W]`` or ``[C, H, W]`` in the unit range 0-1 and the true standard deviation of its
white Gaussian noise (``sigma = level / 255``), and returns an image of the same shape and dtype. A sigma of 0 returns a copy.
Nothing is clipped, before or after: PSNR is measured with data range 1 on unclipped images for every method alike.
Every function raises `InputError` for an image that is not float, not finite or of another shape, and for a negative sigma.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from umsrep.errors import InputError
from umsrep.tasks.denoising import psnr
from umsrep.tasks.progress import track
from umsrep.tasks.task import check_choice

PATCH_SIZE, PATCH_DISTANCE = 5, 6  # non-local means: 5 x 5 patches, sought in a window of 13 x 13 pixels
MAX_EXTENSIONS = 8  # steps that `tune` goes beyond the ends of a grid


def non_local_means(image: np.ndarray, sigma: float, h: float = 0.6) -> np.ndarray:
    """Average pixels whose 5 x 5 patches look alike, within 6 pixels.

    Buades, Coll & Morel, CVPR 2005, with the expected noise ``2 sigma**2`` taken off the patch distances (the same authors, IPOL
    2011); distances by integral images (Froment, IPOL 2014). Channels share one distance.

    ``h`` is the strength in multiples of sigma; for the rest see the module.
    """
    from skimage.restoration import denoise_nl_means  # slow to import: not at import of the package

    if not _noisy(image, sigma):
        return image.copy()
    # scikit-image drops a channel axis of length 1.
    plain = image if image.ndim == 3 and len(image) > 1 else image.reshape(image.shape[-2:])
    axis = 0 if plain.ndim == 3 else None
    return _like(image, denoise_nl_means(plain, PATCH_SIZE, PATCH_DISTANCE, h * sigma, sigma=sigma, fast_mode=True, channel_axis=axis))


def total_variation(image: np.ndarray, sigma: float, weight: float = 1.0, eps: float = 2e-4) -> np.ndarray:
    """Minimise total variation plus squared distance (Rudin, Osher & Fatemi 1992) by Chambolle's projection.

    Chambolle, J. Math. Imaging Vis. 20, 2004. Channels are treated one by one.

    Args:
        image: see the module.
        sigma: of the noise.
        weight: of the total variation, in multiples of sigma.
        eps: relative change of the energy at which the iteration stops (1000 iterations at most). Stopping early, at 2e-4, is usual and
            acts as a second, often helpful, regulariser; 1e-5 is close to the minimiser.
    """
    from skimage.restoration import denoise_tv_chambolle

    if not _noisy(image, sigma):
        return image.copy()
    axis = 0 if image.ndim == 3 else None
    out = denoise_tv_chambolle(image, weight * sigma, eps=eps, max_num_iter=1000, channel_axis=axis)  # type: ignore[no-untyped-call]
    return _like(image, out)


def bayes_shrink(
    image: np.ndarray, sigma: float, factor: float = 1.0, wavelet: str = "sym4", levels: int = 3, shifts: int = 3
) -> np.ndarray:
    """Soft-threshold wavelet coefficients, each subband at ``sigma**2 / std`` of its clean coefficients, averaged over shifts.

    BayesShrink: Chang, Yu & Vetterli, IEEE TIP 9, 2000. Cycle spinning: Coifman & Donoho, "Translation-invariant de-noising", 1995.
    Shifts wrap around at the border. Channels are treated one by one.

    Args:
        image: see the module.
        sigma: of the noise.
        factor: the transform is told ``factor * sigma``.
        wavelet: of PyWavelets.
        levels: of the transform; fewer where the image is too small for them.
        shifts: largest shift along each axis, so ``(shifts + 1)**2`` transforms are averaged; 0 for none.
    """
    return _wavelet(image, sigma, factor, wavelet, levels, shifts, "BayesShrink", "soft")


def visu_shrink(
    image: np.ndarray, sigma: float, factor: float = 0.5, wavelet: str = "sym4", levels: int = 2, shifts: int = 3, threshold: str = "soft"
) -> np.ndarray:
    """Threshold all wavelet coefficients at ``factor * sigma * sqrt(2 log N)`` of N pixels, averaged over shifts.

    VisuShrink: Donoho & Johnstone, Biometrika 81, 1994; its universal threshold (factor 1) removes all noise and much of the image,
    hence the factor. Arguments as in `bayes_shrink`, and ``threshold`` ``"soft"`` or ``"hard"``.
    """
    check_choice(threshold, ("soft", "hard"), "threshold")
    return _wavelet(image, sigma, factor, wavelet, levels, shifts, "VisuShrink", threshold)


def gaussian_filter(image: np.ndarray, sigma: float, width: float = 1.0) -> np.ndarray:
    """Smooth with a Gaussian of standard deviation ``width`` pixels, whatever the sigma of the noise (but for 0)."""
    from scipy.ndimage import gaussian_filter as smooth

    if not _noisy(image, sigma):
        return image.copy()
    return _like(image, smooth(image, width, mode="reflect", axes=(-2, -1)))


def median_filter(image: np.ndarray, sigma: float, radius: float = math.sqrt(2.0)) -> np.ndarray:
    """Median over the disc of ``radius`` pixels (1: five pixels, sqrt(2): 3 x 3; Tukey 1977), whatever the sigma (but for 0)."""
    from scipy.ndimage import median_filter as median

    if not _noisy(image, sigma):
        return image.copy()
    reach = np.arange(-int(radius), int(radius) + 1)
    disc = reach[:, None] ** 2 + reach**2 <= radius**2 + 1e-9
    return _like(image, median(image, footprint=disc if image.ndim == 2 else disc[None], mode="reflect"))


@dataclasses.dataclass(frozen=True)
class Method:
    """A classical denoiser and what `tune` tries.

    Attributes:
        title: For tables.
        function: One of this module's.
        parameter: Name of its numeric parameter.
        grid: Values of that, ascending, from well under to well over what is sensible.
        options: Name of each other parameter to its choices; every combination gets the whole grid.
    """

    title: str
    function: Callable[..., np.ndarray]
    parameter: str
    grid: tuple[float, ...]
    options: Mapping[str, tuple[Any, ...]] = dataclasses.field(default_factory=dict)


def _geometric(low: float, ratio: float, count: int) -> tuple[float, ...]:
    return tuple(round(low * ratio**i, 4) for i in range(count))


_WAVELETS = {"wavelet": ("db2", "sym4", "bior4.4"), "levels": (2, 3, 4)}
CLASSICAL: dict[str, Method] = {
    "nlm": Method("Non-local means", non_local_means, "h", _geometric(0.3, 1.2, 9)),
    "tv": Method("Total variation", total_variation, "weight", _geometric(0.4, 1.2, 10), {"eps": (2e-4, 1e-5)}),
    "bayes_shrink": Method("Wavelets, BayesShrink", bayes_shrink, "factor", _geometric(0.6, 1.15, 7), _WAVELETS),
    "visu_shrink": Method(
        "Wavelets, VisuShrink", visu_shrink, "factor", _geometric(0.2, 1.25, 9), {**_WAVELETS, "threshold": ("soft", "hard")}
    ),
    "gaussian": Method("Gaussian filter", gaussian_filter, "width", _geometric(0.4, 1.2, 9)),
    "median": Method("Median filter", median_filter, "radius", _geometric(1.0, math.sqrt(2.0), 6)),
}


@dataclasses.dataclass(frozen=True)
class Tuned:
    """The outcome of `tune`.

    Attributes:
        name: Key of `CLASSICAL`.
        parameters: The best ones, for `apply`.
        psnr: Their mean PSNR over the pairs, dB.
        gain: The same less the mean PSNR of the noisy images, dB.
        interior: Whether values on both sides of the best numeric parameter were tried.
        curve: Every combination tried and its mean PSNR in dB.
    """

    name: str
    parameters: dict[str, Any]
    psnr: float
    gain: float
    interior: bool
    curve: tuple[tuple[dict[str, Any], float], ...]


def apply(name: str, image: np.ndarray, sigma: float, **parameters: Any) -> np.ndarray:
    """Run one method of `CLASSICAL` on one image (see the module) with the parameters that `tune` found, or its defaults.

    Raises `InputError` for an unknown method or parameter too.
    """
    method = _method(name)
    known = (method.parameter, *method.options, *(("shifts",) if "wavelet" in method.options else ()))
    for key in parameters:
        check_choice(key, known, f"parameter of '{name}'")
    return method.function(image, sigma, **parameters)


def tune(
    name: str,
    clean: Sequence[np.ndarray],
    noisy: Sequence[np.ndarray],
    sigma: float,
    *,
    grid: Sequence[float] | None = None,
    title: str | None = None,
) -> Tuned:
    """Choose the parameters with the highest mean PSNR on validation pairs.

    Every combination of the method's options is tried on the whole grid; where the best value lies at an end, the search goes on beyond
    it by the ratio there, up to `MAX_EXTENSIONS` steps. If it still lies at an end, a RuntimeWarning says so.

    Args:
        name: Key of `CLASSICAL`.
        clean: Clean images, 0-1.
        noisy: Their noisy twins.
        sigma: True standard deviation of the noise, > 0.
        grid: Values of the numeric parameter instead of the method's own; two or more, positive, ascending.
        title: Of the progress bar, or None for no bar.

    Raises:
        InputError: for an unknown method, no pairs, images that do not pair up, a sigma of 0 or a grid that is not ascending.
    """
    method = _method(name)
    values = list(method.grid if grid is None else grid)
    if len(values) < 2 or values[0] <= 0 or any(a >= b for a, b in itertools.pairwise(values)):
        raise InputError(f"grid {values} of '{name}' must be two or more positive values in ascending order")
    if not clean or [c.shape for c in clean] != [n.shape for n in noisy]:
        raise InputError(f"tuning needs pairs of equal shape, got {len(clean)} clean and {len(noisy)} noisy image(s)")
    if not sigma > 0:
        raise InputError(f"sigma {sigma} must be > 0: without noise there is nothing to tune")
    best, interior = -math.inf, False
    curve: list[tuple[dict[str, Any], float]] = []
    combinations = list(itertools.product(*method.options.values()))
    for combination in track(combinations, title, total=len(combinations)):
        fixed = dict(zip(method.options, combination, strict=True))

        def score(value: float, fixed: dict[str, Any] = fixed) -> float:
            parameters = {method.parameter: value, **fixed}
            curve.append((parameters, _mean_psnr(clean, [method.function(image, sigma, **parameters) for image in noisy])))
            return curve[-1][1]

        highest, inside = _search(score, values)
        if highest > best:
            best, interior = highest, inside
    parameters = next(tried for tried, value in curve if value == best)
    if not interior:
        end = f"{method.parameter} {parameters[method.parameter]:g}"
        warnings.warn(f"'{name}': the best {end} lies at an end of what was tried; give a wider grid", RuntimeWarning, stacklevel=2)
    return Tuned(name, parameters, best, best - _mean_psnr(clean, noisy), interior, tuple(curve))


def _search(score: Callable[[float], float], grid: Sequence[float]) -> tuple[float, bool]:
    """Return the highest score over a grid, extended where it lies at an end, and whether it lies inside in the end."""
    scores = {value: score(value) for value in grid}
    while True:
        tried = sorted(scores)
        best = max(tried, key=lambda value: scores[value])
        if tried[0] < best < tried[-1]:
            return scores[best], True
        if len(tried) == len(grid) + MAX_EXTENSIONS:
            return scores[best], False
        beyond = best * tried[-1] / tried[-2] if best == tried[-1] else best * tried[0] / tried[1]
        scores[beyond] = score(beyond)


def _method(name: str) -> Method:
    check_choice(name, list(CLASSICAL), "classical denoiser")
    return CLASSICAL[name]


def _mean_psnr(clean: Sequence[np.ndarray], images: Sequence[np.ndarray]) -> float:
    """Mean PSNR in dB over images, as `Denoising` measures it."""
    pairs = [(torch.from_numpy(x.reshape(1, -1, *x.shape[-2:])) for x in pair) for pair in zip(images, clean, strict=True)]
    return float(np.mean([float(psnr(image, target)) for image, target in pairs]))


def _wavelet(image: np.ndarray, sigma: float, factor: float, wavelet: str, levels: int, shifts: int, method: str, mode: str) -> np.ndarray:
    import pywt
    from skimage.restoration import denoise_wavelet

    if not _noisy(image, sigma):
        return image.copy()
    check_choice(wavelet, pywt.wavelist(kind="discrete"), "wavelet")
    depth = max(1, min(levels, pywt.dwt_max_level(min(image.shape[-2:]), wavelet)))  # deeper levels would see the border only
    settings = {"sigma": factor * sigma, "wavelet": wavelet, "method": method, "mode": mode, "wavelet_levels": depth, "rescale_sigma": True}
    rolls, out = list(itertools.product(range(shifts + 1), repeat=2)), np.zeros_like(image)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Wavelet thresholding was designed for use with orthogonal", UserWarning)  # bior4.4 nearly is
        for plane, into in zip(image.reshape(-1, *image.shape[-2:]), out.reshape(-1, *image.shape[-2:]), strict=True):
            for down, right in rolls:
                moved = denoise_wavelet(np.roll(plane, (down, right), (0, 1)), **settings)
                into += np.roll(moved, (-down, -right), (0, 1)) / len(rolls)
    return out


def _noisy(image: np.ndarray, sigma: float) -> bool:
    """Check the input; tell whether there is noise to remove."""
    if image.dtype.kind != "f" or image.ndim not in (2, 3):
        raise InputError(f"an image of {image.dtype} {image.shape}; classical denoisers take float [H, W] or [C, H, W] in the range 0-1")
    if not (math.isfinite(sigma) and sigma >= 0):
        raise InputError(f"sigma {sigma} must be finite and >= 0, in the unit range (25 grey levels are 25/255)")
    if not np.isfinite(image).all():
        raise InputError("NaN or infinite pixels; repair or leave out this image")
    return sigma > 0


def _like(image: np.ndarray, out: Any) -> np.ndarray:
    return np.asarray(out, dtype=image.dtype).reshape(image.shape)
