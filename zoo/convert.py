"""Checkpoints that others publish, made into encoder folders: renamed by a table of layouts, strictly, nothing in them ever executed."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import hashlib
import pickle
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor

from umsrep.errors import InputError, nearest
from umsrep.zoo import hub
from umsrep.zoo.card import build_card
from umsrep.zoo.cost import DEFAULT_SIZE, cost_of
from umsrep.zoo.encoder import Encoder
from umsrep.zoo.input_contract import InputContract
from umsrep.zoo.layouts import IMAGENET, LAYOUTS, Layout
from umsrep.zoo.results import Cost, Features, Results

_COUNTER = "num_batches_tracked"
_WRAPPERS = ("state_dict", "model", "resnet", "teacher", "student")
_SHOWN = 12


@dataclasses.dataclass(frozen=True)
class Converted:
    """What a conversion did.

    Attributes:
        folder: The encoder folder.
        layout: The checkpoint's.
        arch: timm's name.
        tensors: How many were taken.
        dropped: Names, as in the file, that were left out: heads, queues, copies of the encoder.
        added: Names that the file lacks and that count for nothing: batch norms' counters.
    """

    folder: Path
    layout: str
    arch: str
    tensors: int
    dropped: tuple[str, ...]
    added: tuple[str, ...]

    def lines(self) -> list[str]:
        """Say it in lines for people, names grouped by their first parts."""
        said = [f"{self.tensors} tensors of {self.arch} (layout {self.layout}) in {self.folder}"]
        for what, names in (("dropped", self.dropped), ("added as 0", self.added)):
            groups = collections.Counter(_group(name) for name in names)
            shown = [f"{name} ({count})" if count > 1 else name for name, count in groups.items()]
            more = f" and {len(shown) - _SHOWN} more groups" if len(shown) > _SHOWN else ""
            said += [f"{what} {len(names)}: {', '.join(shown[:_SHOWN])}{more}"] if names else []
        return said


def convert(
    checkpoint: str | Path,
    out: str | Path,
    *,
    layout: str = "auto",
    arch: str | None = None,
    modality: str | None = None,
    size: int | None = None,
    unit: str = "auto",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    license: str = "unknown",
) -> Converted:
    """Convert a checkpoint into an encoder folder with a card.

    Args:
        checkpoint: A .safetensors file, or a file of `torch.save`, opened with ``weights_only`` (``argparse.Namespace``, a bag of values
            that several of these files hold, is let through).
        out: The folder; must not hold anything yet.
        layout: A key of `umsrep.zoo.layouts.LAYOUTS`; ``auto`` takes the only one that fits.
        arch: timm's name of the architecture; None where the layout has only one.
        modality: Recorded in the folder.
        size: Side in pixels of the contract; None keeps that of the file.
        unit: Of the contract.
        mean: Subtracted from the input in 0-1, one number or one a channel; None as the layout says.
        std: Likewise.
        license: Of the weights, for the card.

    Returns:
        What was taken, dropped and added.

    Raises:
        InputError: where the file is no file of tensors, tensors are missing, unknown or of another shape, or the input's normalisation is
            not known. Nothing is written then.
    """
    path, folder = Path(checkpoint), Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"--out {folder}: exists already; choose another folder")
    if layout != "auto" and layout not in LAYOUTS:
        raise InputError(f"unknown layout '{layout}'{nearest(layout, LAYOUTS)}; there are {', '.join(LAYOUTS)}")
    stored = read_checkpoint(path, LAYOUTS[layout].advice if layout != "auto" else "")
    if layout == "auto":
        layout = _find_layout(stored, path, arch, known_input=mean is not None and std is not None)
    chosen = LAYOUTS[layout]
    name = arch or chosen.arch
    if name is None:
        raise InputError(f"layout {layout} is of many architectures; give timm's name with --arch")
    encoder, dropped, added = _fit(stored, chosen, name, str(path))
    mean, std = mean or _input_of(chosen, name, "mean"), std or _input_of(chosen, name, "std")
    channels = encoder.contract.channels
    for key, values in (("mean", mean), ("std", std)):
        if len(values) not in (1, channels):
            raise InputError(f"{key}: {len(values)} numbers for {channels} input channel(s) of {path}")
    contract = {"mean": _short(mean), "std": _short(std), "unit": unit, "size": size}
    encoder.contract = InputContract.from_dict(encoder.contract.to_dict() | contract)
    encoder.modality = modality
    encoder.save_pretrained(folder)
    done = Converted(folder, layout, encoder.arch, len(encoder.model.state_dict()) - len(added), tuple(dropped), tuple(added))
    card = build_card(folder.name, hub.read_config(folder), _results(path, done, encoder, license))
    (folder / hub.CARD_FILE).write_text(card, encoding="utf-8")
    return done


def read_checkpoint(path: Path, advice: str = "") -> dict[str, Any]:
    """Read a checkpoint without executing anything in it.

    Raises:
        InputError: if it is missing, damaged, or holds more than tensors and plain values; ``advice`` is added then.
    """
    if path.suffix == ".safetensors":
        return dict(hub.read_tensors(path))
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint")
    hint = f"; {advice}" if advice else "; save its state_dict alone, where you trust it"
    try:
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected pickle protocol")  # what it cannot read it refuses
            stored = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        what = re.search(r"(?:GLOBAL|global) ([\w.]+)", str(error))
        held = f"holds {what[1]}" if what else "holds more than tensors"
        raise InputError(f"{path}: {held}, which only running code from the file would open{hint}") from error
    except (RuntimeError, EOFError, OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: no checkpoint that torch.load reads with weights_only ({first[:200]}){hint}") from error
    if not isinstance(stored, Mapping):
        raise InputError(f"{path}: holds a {type(stored).__name__}, no table of tensors{hint}")
    return dict(stored)


def to_timm(stored: Mapping[str, Any], layout: Layout) -> tuple[dict[str, Tensor], list[str]]:
    """Rename the encoder's tensors.

    Args:
        stored: As `read_checkpoint` gives it.
        layout: The checkpoint's.

    Returns:
        New name to tensor, unknown ones among them; and the names (as stored) of what is outside the encoder or belongs to a head.
    """
    container = next((key for key in layout.containers if isinstance(stored.get(key), Mapping)), None)
    tensors = {str(k): v for k, v in (stored if container is None else stored[container]).items() if isinstance(v, Tensor)}
    prefix = next((p for p in layout.prefixes if any(key.startswith(p) for key in tensors)), None)
    if prefix is None:
        return {}, list(tensors)
    taken: dict[str, Tensor] = {}
    dropped = []
    for key, value in tensors.items():
        name = key.removeprefix(prefix)
        for pattern, new in layout.renames:
            name = re.sub(rf"\A{pattern}", new, name)
        if not key.startswith(prefix) or name.startswith(layout.heads):
            dropped.append(key)
        else:
            taken[name] = value
    return taken, dropped


def _fit(stored: Mapping[str, Any], layout: Layout, arch: str, where: str) -> tuple[Encoder, list[str], list[str]]:
    """Build the encoder and load it, strictly; returns it, what was dropped and what was added."""
    given, dropped = to_timm(stored, layout)
    if not any(value.ndim == 4 for value in given.values()):
        raise InputError(f"{where}: no encoder in this layout ({layout.title}); see {', '.join(list(stored)[:3])} ...")
    base = arch.partition(".")[0]
    encoder = Encoder.create(base, contract=InputContract(channels=3))
    # the first convolution, or the patches of a transformer, by the network's order: files may be sorted by name
    stem = given.get(next(name for name, value in encoder.model.state_dict().items() if value.ndim == 4))
    if stem is not None and stem.ndim == 4 and stem.shape[1] != 3:
        encoder = Encoder.create(base, contract=InputContract(channels=stem.shape[1]))
    own = encoder.model.state_dict()
    config = getattr(encoder.model, "pretrained_cfg", None) or {}
    classifiers = config.get("classifier") or ()
    starts = tuple(f"{name}." for name in ([classifiers] if isinstance(classifiers, str) else classifiers))
    for name in [name for name in given if name not in own and starts and name.startswith(starts)]:
        given.pop(name)  # timm's own name of the classifier
        dropped.append(name)
    added = [name for name in own if name.endswith(_COUNTER) and name not in given]
    missing, unknown = [n for n in own if n not in given and n not in added], [n for n in given if n not in own]
    if missing or unknown:
        parts = [f"{len(names)} {what} ({', '.join(names[:4])}{' ...' if len(names) > 4 else ''})"
                 for what, names in (("missing", missing), ("unknown", unknown)) if names]  # fmt: skip
        raise InputError(f"{where}: does not fit {arch} by this layout ({layout.title}): {'; '.join(parts)}")
    tensors = {name: given.get(name, own[name]) for name in own}
    if (wrong := hub.not_finite(tensors)) is not None:
        raise InputError(f"{where}: {wrong} holds NaN or an infinity")
    encoder.load_weights({name: value.to(own[name].dtype) for name, value in tensors.items()}, where=where)
    return encoder.eval(), dropped, added


def _find_layout(stored: Mapping[str, Any], path: Path, arch: str | None, *, known_input: bool) -> str:
    """Return the only layout that fits; those that differ in the input's normalisation alone cannot be told apart by names."""
    fitting: dict[str, Layout] = {}
    container = next((key for key in _WRAPPERS if isinstance(stored.get(key), Mapping)), None)
    for name, layout in LAYOUTS.items():
        wanted = arch or layout.arch
        if wanted is None or (container is not None and container not in layout.containers):
            continue
        try:
            encoder, _, _ = _fit(stored, layout, wanted, str(path))
        except InputError:
            continue
        if len(layout.mean or IMAGENET[0]) == encoder.contract.channels:  # timm's are for RGB
            fitting[name] = layout
    if not fitting:
        give = "" if arch else "; give timm's name of its architecture with --arch, or"
        raise InputError(f"{path}: fits none of the known layouts{give} say which it is with --layout ({', '.join(LAYOUTS)})")
    inputs = {(layout.mean, layout.std) for layout in fitting.values()}
    if len(inputs) > 1 and not known_input:
        raise InputError(
            f"{path}: its names fit {', '.join(fitting)}, whose inputs are normalised in different ways; say which it is with --layout, or "
            "give --mean and --std"
        )
    return next(iter(fitting))


def _input_of(layout: Layout, arch: str, key: str) -> tuple[float, ...]:
    """Return mean or std as the layout, or timm's record of the architecture, says."""
    if (known := getattr(layout, key)) is not None:
        return tuple(known)
    base, _, tag = arch.partition(".")
    tags = [arch] if tag else [m for m in timm.list_models(f"{base}.*", pretrained=True) if m.partition(".")[0] == base]
    values = {tuple(getattr(config, key)) for name in tags if (config := timm.get_pretrained_cfg(name)) is not None}
    if len(values) != 1:
        raise InputError(f"{arch}: timm has weights with different {key}; give --{key}, or the tag with --arch ({', '.join(tags[:4])} ...)")
    return values.pop()


def _short(values: Sequence[float]) -> float | list[float]:
    return float(values[0]) if len(set(values)) == 1 else [float(v) for v in values]


def _group(name: str) -> str:
    return ".".join(name.split(".")[:2])


def _results(path: Path, done: Converted, encoder: Encoder, license: str) -> Results:
    """Return what the card says: whence, what was dropped, and that nothing was measured."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    layout = LAYOUTS[done.layout]
    size = (encoder.contract.channels, *(encoder.contract.size if isinstance(encoder.contract.size, tuple) else DEFAULT_SIZE))
    groups = ", ".join(dict.fromkeys(map(_group, done.dropped)))
    return Results(
        license=license,
        features=Features(tuple(encoder.channels), tuple(encoder.strides), encoder.embedding_dim),
        training=(
            f"Converted by umsrep from `{path.name}` (sha256 `{digest}`), layout {done.layout}: {layout.title}. Left out: "
            f"{len(done.dropped)} tensors{f' ({groups})' if groups else ''}. "
            "What it was trained on is for its authors to say."
        ),
        cost=Cost(size=size, encoder=cost_of(encoder, size, method="forward_both")),
        limits=("Neither the training nor the numbers of its authors were repeated here.",),
        reproduce=(f"umsrep convert {path.name} --layout {done.layout} --arch {done.arch} --out {done.folder.name}",),
        name=done.folder.name,
        location=done.folder.as_posix() if done.folder.is_absolute() else f"./{done.folder.as_posix()}",
    )
