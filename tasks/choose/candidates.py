"""Candidate encoders by name: presets, folders, repositories on the Hub, timm's models with or without weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import timm
import torch
from torch import nn

from umsrep.errors import InputError, nearest
from umsrep.heads import ClassificationHead
from umsrep.tasks.config import EncoderConfig
from umsrep.tasks.data.manifest import Manifest
from umsrep.tasks.model import MultiTaskModel
from umsrep.zoo import Encoder, InputContract, hub, list_encoders
from umsrep.zoo.presets import PRESETS
from umsrep.zoo.stored import read_stored

DEFAULT_SIZE = 128
"""Side in pixels for architectures, which have no contract of their own."""


@dataclasses.dataclass(frozen=True)
class SourceClassifier:
    """The linear classifier that an encoder was trained with, on its embedding.

    Attributes:
        name: Of the head, or ``classifier`` of a timm model.
        weight: float32 [Z, D].
        bias: float32 [Z].
    """

    name: str
    weight: np.ndarray
    bias: np.ndarray

    def probabilities(self, embedding: np.ndarray) -> np.ndarray:
        """Return the softmax of each row, float64 [N, Z]."""
        from scipy.special import softmax

        logits = embedding.astype(np.float64) @ self.weight.T.astype(np.float64) + self.bias
        return np.asarray(softmax(logits, axis=1))


@dataclasses.dataclass(frozen=True)
class Candidate:
    """An encoder that may be chosen.

    Attributes:
        name: Short and unique among the candidates.
        spec: As the user wrote it.
        encoder: In evaluation mode; its contract has a size.
        config: How a fine-tuning configuration names it.
        random: Whether its weights are random.
        source: Its own classifier, or None where it brings none (then LEEP and NCE are not defined).
        folder: The model folder, or None for timm's models.
    """

    name: str
    spec: str
    encoder: Encoder
    config: EncoderConfig
    random: bool = False
    source: SourceClassifier | None = None
    folder: Path | None = None


def default_specs() -> list[str]:
    """Return the shipped presets, and for each of their architectures the same with random weights, as a floor."""
    names = list_encoders()
    return [*names, *dict.fromkeys(PRESETS[name].arch for name in names)]


def open_candidates(specs: Sequence[str], *, channels: int, image_size: int | None = None, seed: int = 0) -> list[Candidate]:
    """Open candidates.

    Args:
        specs: Each a preset, a model folder, ``org/repo`` on the Hub; ``timm/NAME`` or ``hf-hub:org/repo``, timm's model with its
            pretrained weights from the Hub; ``ARCH=FILE.safetensors``, timm's (or a cbr_*) architecture with weights of a file; or
            ``ARCH`` alone, with random weights.
        channels: Of the architectures; folders and presets have their own.
        image_size: Side in pixels for all; None: each contract's own, or 128 for architectures.
        seed: Of random weights.

    Raises:
        InputError: for an unknown name (with the nearest), the same candidate twice, or weights that cannot be had or do not fit.
    """
    if not specs:
        raise InputError("no encoder is named")
    found: list[Candidate] = []
    for spec in specs:
        one = _open(spec, channels=channels, size=image_size, seed=seed)
        if any(one.spec == other.spec for other in found):
            raise InputError(f"encoder '{spec}' is named twice")
        if any(one.name == other.name for other in found):
            one = dataclasses.replace(one, name=spec)
        found.append(one)
    return found


def _open(spec: str, *, channels: int, size: int | None, seed: int) -> Candidate:
    arch, equals, file = spec.partition("=")
    if equals and not Path(spec).is_dir():
        return _with_weights(spec, arch, Path(file).expanduser(), channels=channels, size=size or DEFAULT_SIZE)
    if spec.startswith(("timm/", "hf-hub:")):
        return _timm_hub(spec, channels=channels, size=size or DEFAULT_SIZE)
    if spec not in PRESETS and timm.is_model(spec):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            encoder = Encoder.create(spec, contract=InputContract(channels=channels, size=size or DEFAULT_SIZE)).eval()
        return Candidate(f"{spec} (random)", spec, encoder, EncoderConfig(arch=spec, in_channels=channels), random=True)
    if spec not in PRESETS and not Path(spec).expanduser().exists() and (spec.count("/") != 1 or spec.startswith((".", "/", "~"))):
        known = [*PRESETS, *timm.list_models()]
        raise InputError(
            f"unknown encoder '{spec}'{nearest(spec, known)}; give a preset, folder, org/repo, timm/NAME or ARCH=FILE.safetensors"
        )
    return _folder(spec, size=size)


def _folder(spec: str, *, size: int | None) -> Candidate:
    folder = hub.resolve(spec)
    config = hub.read_config(folder)["umsrep"]
    source = None
    if any(head.get("kind") == "classification" for head in config["heads"].values()):
        model = MultiTaskModel.from_pretrained(folder)
        encoder, source = model.encoder, _head_of(model)
    else:
        encoder = Encoder.from_pretrained(folder)
    if size is not None:
        encoder.contract = encoder.contract.replace(size=size)
    elif encoder.contract.size is None:
        raise InputError(f"encoder '{spec}': its input contract has no size; give --image-size")
    return Candidate(
        Path(spec).name if Path(spec).is_dir() else spec, spec, encoder.eval(), EncoderConfig(name=spec), False, source, folder
    )


def _head_of(model: MultiTaskModel) -> SourceClassifier | None:
    """Return the classification head with the most classes that exclude each other: only those give a distribution over classes."""
    heads = [(name, head) for name, head in model.heads.items() if isinstance(head, ClassificationHead) and not head.multi_label]
    if not heads:
        return None
    name, head = max(heads, key=lambda item: len(item[1].classes))
    linear = next(layer for layer in head.layers if isinstance(layer, nn.Linear))
    return _linear(name, linear, model.encoder.embedding_dim)


def _linear(name: str, layer: Any, features: int) -> SourceClassifier | None:
    if not isinstance(layer, nn.Linear) or layer.in_features != features:
        return None
    bias = torch.zeros(layer.out_features) if layer.bias is None else layer.bias.detach()
    return SourceClassifier(name, layer.weight.detach().float().numpy(), bias.float().numpy())


def _with_weights(spec: str, arch: str, file: Path, *, channels: int, size: int) -> Candidate:
    if not timm.is_model(arch):
        raise InputError(f"encoder '{spec}': unknown arch '{arch}'{nearest(arch, timm.list_models())}")
    contract, config = _contract(arch, channels, size)
    encoder = Encoder.create(arch, contract=contract, weights=file).eval()
    key = cast(Any, encoder.model).pretrained_cfg.get("classifier") or "classifier"
    tensors = hub.read_tensors(file)
    source = None
    weight, bias = (tensors.get(f"{key}.{part}") for part in ("weight", "bias"))
    if weight is not None and weight.ndim == 2 and weight.shape[1] == encoder.embedding_dim:
        offsets = np.zeros(len(weight), dtype=np.float32) if bias is None else bias.float().numpy()
        source = SourceClassifier("classifier", weight.float().numpy(), offsets)
    name = file.stem if file.stem.startswith(arch) else f"{arch}={file.stem}"
    return Candidate(name, spec, encoder, dataclasses.replace(config, arch=arch, weights=str(file)), False, source)


def _timm_hub(spec: str, *, channels: int, size: int) -> Candidate:
    """Open timm's model with its own weights; a bare name takes the tag that timm takes by default."""
    arch = spec.removeprefix("timm/") if spec.startswith("timm/") else spec.removeprefix("hf-hub:").rpartition("/")[2]
    base = arch.partition(".")[0]
    if spec.startswith("timm/") and not timm.is_model(base):
        raise InputError(f"unknown encoder '{spec}'{nearest(base, timm.list_models())}")
    repo = spec if spec.startswith("hf-hub:") else ""
    if not repo:
        known = timm.get_pretrained_cfg(arch)
        found = known.hf_hub_id if known is not None else None
        if not found:
            raise InputError(f"encoder '{spec}': timm has no weights of it on the Hub; {arch} alone means random weights")
        repo = f"hf-hub:{found}"
    contract, config = (
        _contract(base, channels, size) if timm.is_model(base) else (InputContract(channels=channels, size=size), EncoderConfig())
    )
    try:
        encoder = Encoder.create(repo, contract=contract).eval()
        whole = timm.create_model(repo, pretrained=True)
    except (InputError, OSError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise InputError(
            f"encoder '{spec}': its weights cannot be had ({first}); without the network give a file as {base}=FILE.safetensors, or "
            f"{base} alone for random weights"
        ) from error
    source = _linear("classifier", cast(Any, whole).get_classifier(), encoder.embedding_dim)
    return Candidate(arch, spec, encoder, dataclasses.replace(config, arch=repo), False, source)


def _contract(arch: str, channels: int, size: int) -> tuple[InputContract, EncoderConfig]:
    """Return the contract by the mean and sd that timm knows of an architecture; for other than three channels, their means."""
    known = timm.get_pretrained_cfg(arch)
    assert known is not None  # of every registered name
    mean, std = (tuple(float(v) for v in values) for values in (known.mean, known.std))
    if channels != 3:
        mean, std = ((sum(values) / len(values),) * channels for values in (mean, std))
    contract = InputContract(channels=channels, size=size, mean=mean, std=std)
    return contract, EncoderConfig(in_channels=channels, mean=list(mean), std=list(std))


def colour_channels(manifest: Manifest, rows: Sequence[int], sample: int = 20) -> int:
    """Return 3 if one of the first images is in colour, 1 if all are grey (also stored as RGB). Errors name row and file."""
    for row in rows[:sample]:
        try:
            pixels = read_stored(manifest.image(row), frame=manifest.frame(row)).pixels
        except InputError as error:
            raise InputError(f"{manifest.where(row)}: {error}") from error
        if pixels.ndim == 3 and pixels.shape[2] == 3 and not (pixels == pixels[..., :1]).all():
            return 3
    return 1
