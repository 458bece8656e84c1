"""Which models there are: the presets, those in a local folder, those of an organisation or user on the Hub."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from umsrep.errors import InputError, nearest
from umsrep.zoo.card import metadata_of, read_card
from umsrep.zoo.card_sections import shown
from umsrep.zoo.presets import PRESETS
from umsrep.zoo.results import METRICS


@dataclasses.dataclass(frozen=True)
class Listed:
    """What one line of `umsrep list` tells, from the model's card and configuration; None where they do not say.

    Attributes:
        name: What ``from_pretrained`` takes.
        modality: "cxr", "us" ...
        arch: timm's name of the architecture.
        heads: Name to kind.
        parameters: Of encoder and heads.
        macs: Multiply-accumulates of one image at ``macs_size``.
        macs_size: [channels, height, width].
        license: As the Hub names it.
        measured: The first measured number of each head, as in `rows_of`.
    """

    name: str
    modality: str | None = None
    arch: str | None = None
    heads: dict[str, str] = dataclasses.field(default_factory=dict)
    parameters: int | None = None
    macs: int | None = None
    macs_size: list[int] | None = None
    license: str | None = None
    measured: list[dict[str, Any]] = dataclasses.field(default_factory=list)


def from_metadata(name: str, metadata: Mapping[str, Any]) -> Listed:
    """Read a card's metadata, which may be anybody's: what has not the form it should have is taken as not said."""
    own = _mapping(metadata.get("umsrep"))
    heads, licence = own.get("heads"), metadata.get("license")
    return Listed(
        name=name,
        modality=_of(str, own.get("modality")),
        arch=_of(str, own.get("architecture")),
        heads={str(k): str(v) for k, v in heads.items()} if isinstance(heads, Mapping) else {},
        parameters=_of(int, own.get("parameters")),
        macs=_of(int, own.get("macs")),
        macs_size=_of(list, own.get("macs_size")),
        license=_of(str, licence),
        measured=first_rows(metadata.get("model-index")),
    )


def _of(kind: type, value: Any) -> Any:
    return value if isinstance(value, kind) and (kind is not int or _is_number(value)) else None


def first_rows(index: Any) -> list[dict[str, Any]]:
    """Return the first measured number of each head from the Hub's ``model-index``."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows_of(index):
        found.setdefault(row["head"], row)
    return list(found.values())


def rows_of(index: Any) -> list[dict[str, Any]]:
    """Flatten the Hub's ``model-index`` to rows of head, metric, value, data, split and interval (None where there is none).

    Entries that are not in its form are left out.
    """
    names = {m.hub: name for name, m in METRICS.items()}
    rows = []
    for result in [r for model in _dicts(index) for r in _dicts(model.get("results"))]:
        task, data = _mapping(result.get("task")), _mapping(result.get("dataset"))
        for entry in _dicts(result.get("metrics")):
            known, slash, part = str(entry.get("type")).partition("/")
            value = entry.get("value")
            if _is_number(value):
                metric = names.get(known, known) + slash + part
                place = {"data": data.get("name"), "split": data.get("split"), "interval": _interval(entry)}
                rows.append({"head": str(task.get("name") or task.get("type")), "metric": metric, "value": entry["value"], **place})
    return rows


def _interval(entry: Mapping[str, Any]) -> list[float] | None:
    ends = _mapping(entry.get("args")).get("interval")
    return ends if isinstance(ends, list) and len(ends) == 2 and all(map(_is_number, ends)) else None


def _is_number(value: Any) -> bool:
    """Whether a stranger's value is a finite number that a float can hold."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _dicts(values: Any) -> list[Mapping[str, Any]]:
    return [v for v in values if isinstance(v, Mapping)] if isinstance(values, list) else []


def measured_text(entry: Listed) -> str:
    """Write the measured numbers of a model in a few words."""
    names = {name: m.label for name, m in METRICS.items()}
    return "; ".join(f"{r['head']}: {names.get(r['metric'], r['metric'])} {shown(r['metric'], r['value'])}" for r in entry.measured)


# ---- places --------------------------------------------------------------------------------------------------------
def list_presets() -> list[Listed]:
    """Return the presets."""
    found = [from_metadata(name, metadata_of(read_card(name))) for name in PRESETS]
    return [
        dataclasses.replace(e, modality=p.modality, arch=p.arch, license=p.license) for e, p in zip(found, PRESETS.values(), strict=True)
    ]


def list_folder(folder: Path) -> tuple[list[Listed], list[str]]:
    """Return the model folders in a folder (itself, one below, or run folders' ``model``), and why others were left out, a line each."""
    from umsrep.zoo.folder import CARD_FILE, CONFIG_FILE, read_config

    found, problems = [], []
    for path in sorted({*folder.glob(CONFIG_FILE), *folder.glob(f"*/{CONFIG_FILE}"), *folder.glob(f"*/model/{CONFIG_FILE}")}):
        try:
            config = read_config(path.parent)
            card = read_card(str(path.parent)) if (path.parent / CARD_FILE).is_file() else ""
        except InputError as error:
            problems.append(str(error))
            continue
        block = config["umsrep"]
        kinds = {n: str(h.get("kind")) for n, h in block["heads"].items() if isinstance(h, Mapping)}
        entry = from_metadata(str(path.parent), metadata_of(card))
        found.append(dataclasses.replace(entry, modality=_of(str, block.get("modality")), arch=config["architecture"], heads=kinds))
    return found, problems


def list_hub(author: str, *, token: str | bool | None = None) -> list[Listed]:
    """Return the umsrep models of an organisation or user on the Hub, from one request; errors as `hub_metadata`."""
    return [from_metadata(name, metadata) for name, metadata in hub_metadata(author, token=token).items()]


def hub_metadata(author: str, *, token: str | bool | None = None) -> dict[str, dict[str, Any]]:
    """Return the card metadata of the umsrep models of an organisation or user on the Hub by their names, from one request.

    Raises:
        InputError: if the Hub cannot be reached or refuses, or knows nobody of that name.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError

    from umsrep.zoo.network import FAILURES, again, check_token, download_error, status_of

    if constants.is_offline_mode():
        raise InputError(f"'{author}' cannot be listed: HF_HUB_OFFLINE forbids the network; unset it")
    check_token(token)
    api = HfApi(token=token)

    def known(call: Callable[[str], object]) -> bool:
        try:
            again(lambda: call(author))
        except HfHubHTTPError as error:
            if status_of(error) != 404:
                raise
            return False
        return True

    try:
        models = list(api.list_models(author=author, filter="umsrep", cardData=True))  # it repeats what failed in passing
        if not models and not known(api.get_organization_overview) and not known(api.get_user_overview):
            raise InputError(f"'{author}' is no organisation and no user on {constants.ENDPOINT}")
    except InputError:
        raise
    except FAILURES as error:
        raise download_error(error, author, file="the list of models", revision=None, token=token, cache_dir=None, local=False) from error
    cards: list[Any] = [model.card_data for model in models]
    return {model.id: card.to_dict() if card else {} for model, card in zip(models, cards, strict=True)}


def select(entries: Iterable[Listed], pattern: str, modality: str | None) -> list[Listed]:
    """Return those whose name (or its last part) matches a shell wildcard, of one modality, sorted by name.

    Raises:
        InputError: for a modality that none of them has.
    """
    everything = list(entries)
    known = sorted({e.modality for e in everything if e.modality})
    if modality is not None and modality not in known:
        raise InputError(f"no encoder for modality '{modality}'{nearest(modality, known)}")
    matching = [e for e in everything if any(fnmatch.fnmatchcase(n, pattern) for n in (e.name, Path(e.name).name))]
    return sorted((e for e in matching if modality in (None, e.modality)), key=lambda e: e.name)
