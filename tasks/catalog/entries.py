"""What the catalog lists: presets, model folders and the models of an organisation on the Hub, each with all that is known of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from umsrep.errors import InputError
from umsrep.zoo import hub, listing
from umsrep.zoo.card import metadata_of, read_card, read_results
from umsrep.zoo.card_sections import is_repo, snippets
from umsrep.zoo.listing import Listed
from umsrep.zoo.results import Data, Measurement, Results, load_results


@dataclasses.dataclass(frozen=True)
class Entry:
    """One encoder.

    Attributes:
        listed: What `umsrep list` tells of it.
        place: Where it is: "shipped with umsrep", "folder", or the organisation or user on the Hub.
        results: Its results file; for a model that has none, what its card's metadata says, in groups of "results" only.
        complete: Whether ``results`` is a results file.
        mebibytes: Of its weight files; None where they are not at hand.
        code: Snippets by library, as on the card; None where a library cannot load it; empty where the card does not tell enough.
        size: [height, width] of its input; None where not said.
    """

    listed: Listed
    place: str
    results: Results
    complete: bool
    mebibytes: float | None
    code: dict[str, str | None]
    size: tuple[int, int] | None


def collect(places: Iterable[str] = (), *, token: str | bool | None = None) -> tuple[list[Entry], list[str]]:
    """Gather the presets and the models of further places.

    Args:
        places: Folders of models (as `umsrep list --from` takes them), organisations or users on the Hub.
        token: For private models there.

    Returns:
        The entries, each name once, and a line for each folder or results file that could not be read.

    Raises:
        InputError: for a place that is neither, or that holds no model; as `umsrep.zoo.listing.hub_metadata`.
    """
    found = [_preset(one) for one in listing.list_presets()]
    problems: list[str] = []
    for place in places:
        if Path(place).is_dir():
            folders, lines = listing.list_folder(Path(place))
            more = [_folder(one, lines) for one in folders]
            problems += lines
        elif place.startswith((".", "/", "~")) or "/" in place:
            raise InputError(f"'{place}' is no folder, and no organisation or user on the Hub")
        else:
            more = [_on_hub(name, metadata, place) for name, metadata in listing.hub_metadata(place, token=token).items()]
        if not more:
            raise InputError(f"'{place}' holds no model that can be read{': ' if problems else ''}{'; '.join(problems)}")
        found += more
    return list({one.listed.name: one for one in found}.values()), problems


def _preset(listed: Listed) -> Entry:
    folder = hub.WEIGHTS / listed.name
    metadata, config = metadata_of(read_card(listed.name)), hub.read_config(folder)
    listed = dataclasses.replace(listed, heads=_kinds(config))
    return _entry(listed, "shipped with umsrep", metadata, read_results(listed.name), _weights(folder, config), listed.name)


def _folder(listed: Listed, problems: list[str]) -> Entry:
    """Read a model folder, and the results.json that a run leaves beside its ``model``; what is wrong with that becomes a problem."""
    folder = Path(listed.name)
    config = hub.read_config(folder)
    metadata = metadata_of(read_card(listed.name)) if (folder / hub.CARD_FILE).is_file() else {}
    results = None
    if folder.name == "model" and all((folder.parent / name).is_file() for name in ("report.json", "results.json")):
        try:
            results = load_results(folder.parent / "results.json")
        except InputError as error:
            problems.append(str(error))
    block = {"strides": _mapping(metadata.get("umsrep")).get("strides"), **config["umsrep"], "architecture": config["architecture"]}
    location = f"./{folder.as_posix()}" if is_repo(folder.as_posix()) else folder.as_posix()
    return _entry(listed, "folder", {**metadata, "umsrep": block}, results, _weights(folder, config), location)


def _on_hub(name: str, metadata: dict[str, Any], place: str) -> Entry:
    return _entry(listing.from_metadata(name, metadata), place, metadata, None, None, name)


def _entry(
    listed: Listed, place: str, metadata: Mapping[str, Any], results: Results | None, mebibytes: float | None, location: str
) -> Entry:
    block = _mapping(metadata.get("umsrep"))
    contract = _mapping(block.get("contract"))
    found = results or _from_metadata(metadata)
    whole = (found.cost.model or found.cost.encoder).parameters if found.cost else listed.parameters
    return Entry(
        listed=dataclasses.replace(listed, parameters=whole),
        place=place,
        results=found,
        complete=results is not None,
        mebibytes=mebibytes,
        code=_code(block, contract, location),
        size=_size(contract.get("size")),
    )


def _from_metadata(metadata: Mapping[str, Any]) -> Results:
    """Read the Hub's metadata of a card, which may be anybody's; what has not the form it should have is taken as not said."""
    rows = [row for row in listing.rows_of(metadata.get("model-index")) if isinstance(row["data"], str)]
    return Results(
        license=_text(metadata.get("license")) or "unknown",
        base_model=_text(metadata.get("base_model")),
        data=tuple(Data(name) for name in _list(metadata.get("datasets")) if isinstance(name, str)),
        measurements=tuple(
            Measurement(
                "results",
                row["head"],
                row["metric"],
                row["data"],
                float(row["value"]),
                split=_text(row["split"]),
                interval=tuple(row["interval"]) if row["interval"] else None,
            )
            for row in rows
        ),
    )


def _code(block: Mapping[str, Any], contract: Mapping[str, Any], location: str) -> dict[str, str | None]:
    """Return the card's snippets; none where what stands in them is not plain, as somebody is going to run them."""
    if type(contract.get("channels")) is not int or any(not c.isprintable() or c in "\"'\\{}" for c in location):
        return {}
    strides = [s for s in _list(block.get("strides")) if isinstance(s, int)]
    safe = {"contract": contract, "strides": strides, "heads": block.get("heads"), "architecture": str(block.get("architecture"))}
    return snippets(safe, location)


def _kinds(config: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(head["kind"]) for name, head in config["umsrep"]["heads"].items()}


def _weights(folder: Path, config: Mapping[str, Any]) -> float:
    """Return the size of the weight files, MiB; what is missing counts nothing."""
    files = [folder / name for name in (hub.ENCODER_FILE, hub.HEADS_FILE) if name in config["umsrep"]["sha256"]]
    return sum(file.stat().st_size for file in files if file.is_file()) / 2**20


def _size(value: Any) -> tuple[int, int] | None:
    pair = _list(value)
    return (pair[0], pair[1]) if len(pair) == 2 and all(type(side) is int and math.isfinite(side) for side in pair) else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
