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
    "ums-cxr-cbr-tiny": Preset(
        modality="cxr",
        arch="cbr_tiny",
        summary="small, from scratch: chest X-rays of children and adults, 64 px; heads: denoising, lungs, pneumonia, adult_pneumonia",
        license="cc-by-4.0",
        sha256="314256b2827191df9ce46fd1ffc44737a140789fe6964bdaa536b58168b90ce5",
    ),
    "ums-cxr-efficientnet-lite0": Preset(
        modality="cxr",
        arch="tf_efficientnet_lite0",
        summary="chest X-rays of children and adults, 64 to 192 px; heads: denoising, lungs, pneumonia, adult_pneumonia, view",
        license="cc-by-4.0",
        sha256="b7d840fac18f12fed7c8572194ceb4332d67ce7da0adc53194d1bb9e8be1f5c3",
    ),
    "ums-doppler-efficientnet-lite0": Preset(
        modality="doppler",
        arch="tf_efficientnet_lite0",
        summary="spectral Doppler, simulated only, 128 px; heads: denoising, envelope, flow",
        license="cc-by-4.0",
        sha256="2045e1736443e2f468b30c4343765ac5bf6c6d3b0c5f989ae7fc116b0927cad2",
    ),
    "ums-us-efficientnet-lite0": Preset(
        modality="us",
        arch="tf_efficientnet_lite0",
        summary="ultrasound of nerves and lungs, 128 px, non-commercial; heads: denoising, nerve, lung",
        license="cc-by-nc-4.0",
        sha256="83bad930f53dfff908e89ce34741096f379d2d367cbf762f26940f86708fe8cc",
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
