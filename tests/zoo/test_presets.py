"""The registry is data that agrees with the shipped folders."""

from __future__ import annotations

import dataclasses

import pytest
import timm

from umsrep.zoo import PRESETS, Preset, hub, list_encoders

EXAMPLES = {
    "ums-us-resnet18": Preset("us", "resnet18", "b", "apache-2.0", "0" * 64),
    "ums-cxr-resnet18": Preset("cxr", "resnet18", "a", "apache-2.0", "0" * 64),
    "ums-cxr-vit": Preset("cxr", "vit_tiny_patch16_224", "a", "apache-2.0", "0" * 64),
}


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put three known entries into an otherwise empty registry."""
    for name in list(PRESETS):
        monkeypatch.delitem(PRESETS, name)
    for name, preset in EXAMPLES.items():
        monkeypatch.setitem(PRESETS, name, preset)


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize(
    ("pattern", "modality", "wanted"),
    [
        ("*", None, ["ums-cxr-resnet18", "ums-cxr-vit", "ums-us-resnet18"]),
        ("*resnet18", None, ["ums-cxr-resnet18", "ums-us-resnet18"]),
        ("*", "cxr", ["ums-cxr-resnet18", "ums-cxr-vit"]),
        ("*resnet18", "us", ["ums-us-resnet18"]),
        ("UMS*", None, []),
        ("*", "doppler", []),
    ],
)
def test_listing_filters_by_name_and_modality(pattern: str, modality: str | None, wanted: list[str]) -> None:
    assert list_encoders(pattern, modality=modality) == wanted


def test_a_preset_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        EXAMPLES["ums-cxr-vit"].modality = "us"  # type: ignore[misc]


def test_every_preset_is_a_shipped_folder_with_the_pinned_weights() -> None:
    assert list_encoders() == sorted(PRESETS)
    for name, preset in PRESETS.items():
        folder = hub.resolve(name)
        config = hub.read_config(folder)
        assert name.startswith(f"ums-{preset.modality}-")
        assert timm.is_model(preset.arch)
        assert (config["architecture"], config["umsrep"]["modality"]) == (preset.arch, preset.modality)
        assert hub.sha256(folder / hub.ENCODER_FILE) == preset.sha256 == config["umsrep"]["sha256"][hub.ENCODER_FILE]


def test_no_folder_is_shipped_without_its_entry() -> None:
    folders = {path.name for path in hub.WEIGHTS.iterdir() if path.is_dir()} if hub.WEIGHTS.is_dir() else set()
    assert folders == set(PRESETS)
