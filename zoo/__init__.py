"""Encoders: build, describe, load, publish and choose."""

from umsrep.zoo import cbr  # its import registers the architectures with timm
from umsrep.zoo.encoder import Encoder
from umsrep.zoo.input_contract import InputContract
from umsrep.zoo.presets import PRESETS, Preset, list_encoders

__all__ = ["PRESETS", "Encoder", "InputContract", "Preset", "cbr", "list_encoders"]
