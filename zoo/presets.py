"""The registry of shipped encoders: data only, one key an entry."""

from __future__ import annotations

import dataclasses
import fnmatch


@dataclasses.dataclass(frozen=True)
class Preset:
    """One shipped model folder under ``zoo/weights``.

    Attributes:
        modality: "cxr" (chest X-ray), "us" (ultrasound), "doppler" (spectral Doppler).
        arch: timm's name of the architecture.
        summary: One line for `umsrep list`.
        license: SPDX-like name of the weights' licence.
        sha256: Of model.safetensors, pinned here besides config.json.
    """

    modality: str
    arch: str
    summary: str
    license: str
    sha256: str


PRESETS: dict[str, Preset] = {
    "ums-cxr-efficientnet-lite0": Preset(
        modality="cxr",
        arch="tf_efficientnet_lite0",
        summary="children's chest X-rays, 128 px; heads: denoising, lungs, pneumonia",
        license="cc-by-4.0",
        sha256="fdf4da1e2eeb97c78c7766fd1bec211f8fc749990a93589e560f6d22262490c1",
    ),
}


def list_encoders(pattern: str = "*", *, modality: str | None = None) -> list[str]:
    """List the presets, sorted.

    Args:
        pattern: Shell wildcard on the name, as in ``timm.list_models``.
        modality: Only those of one modality.

    Returns:
        Names that `Encoder.from_pretrained` takes.
    """
    return sorted(n for n, p in PRESETS.items() if fnmatch.fnmatchcase(n, pattern) and modality in (None, p.modality))
