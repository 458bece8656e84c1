"""Reading and writing fine-tuning configurations: YAML, overrides, and one clear error for every mistake in them."""

from __future__ import annotations

import copy
import dataclasses
import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from umsrep.errors import InputError, nearest
from umsrep.tasks.config import (
    AdaptConfig,
    DataConfig,
    EarlyStoppingConfig,
    EncoderConfig,
    FineTuneConfig,
    OptimiserConfig,
    TargetConfig,
    TaskConfig,
    UnlabelledConfig,
)
from umsrep.tasks.config_data import BlendConfig
from umsrep.tasks.data.augment import Augment
from umsrep.zoo.blending import check_share

_MOST_BYTES = 1_000_000  # 20,000 class names have half of it
_DEEPEST = 32
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's where PyYAML was built with it: ten times as fast


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> FineTuneConfig:
    """Read a YAML configuration.

    Args:
        path: The file; relative paths in it are relative to the working directory.
        overrides: ``--key.key value`` or ``--key.key=value``, values in YAML.

    Raises:
        InputError: naming the key that is unknown (with the nearest), missing, or of a wrong type.
    """
    values = read_mapping(Path(path))
    # --adapt FOLDER is short for --adapt.path FOLDER, beside what the file says of the method
    words = [f"--adapt.path{word[7:]}" if word == "--adapt" or word.startswith("--adapt=") else word for word in overrides]
    return config_from_dict(apply_overrides(values, words), where=str(path))


def read_mapping(path: Path, kind: str = "configuration") -> dict[Any, Any]:
    """Read a YAML file of keys and values; ``kind`` is what to call it.

    Raises:
        InputError: for a file that is missing, too large to be one, no YAML, or no mapping.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such {kind} file")
    if (size := path.stat().st_size) > _MOST_BYTES:
        raise InputError(f"{path}: {size:,} bytes; no {kind} has more than {_MOST_BYTES:,}")
    try:
        values = read_yaml(path.read_text(encoding="utf-8"))
    except ValueError as error:  # also for what is not UTF-8
        raise InputError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: a {kind} is a mapping of keys")
    return values


def read_yaml(text: str) -> Any:
    """Read YAML into plain values, without aliases, by which a small file can mean an endless one.

    Raises:
        ValueError: for what is not YAML, holds an alias, is nested deep, or has a date or number that Python does not read.
    """
    try:
        depth = 0
        for event in yaml.parse(text, Loader=_LOADER):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST:
                raise ValueError(f"line {_line(event)}: nested deeper than {_DEEPEST} levels")
            if isinstance(event, yaml.AliasEvent):
                raise ValueError(f"line {_line(event)}: an alias, *{event.anchor}; write the value out")
        return yaml.load(text, Loader=_LOADER)  # a safe loader
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark is not None else 0


def config_from_dict(values: Mapping[str, Any], *, where: str = "config") -> FineTuneConfig:
    """Check plain values and make the configuration; errors as in `load_config`."""
    _check_keys(values, FineTuneConfig, where, "")
    for key in _MAY_BE_NULL:  # apart: in an optional block jsonargparse tells a mistake in a paragraph
        if values.get(key) is not None:
            _instantiate(_NESTED[key], key, values[key], where)
    config: FineTuneConfig = _instantiate(FineTuneConfig, "run", _words(values), where)
    return config


def _instantiate(kind: type, name: str, values: Any, where: str) -> Any:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, name)
    try:
        return getattr(parser.instantiate(parser.parse_object({name: values})), name)
    except (ArgumentError, TypeError, OverflowError) as error:
        if isinstance(error.__cause__, InputError):
            raise error.__cause__ from None
        message = re.sub(r"\brun\.", "", " ".join(str(error).split()))
        raise InputError(f"{where}: {message}") from error


def _words(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy in which YAML's readings of what was meant are undone: ``no`` as False, numbers as keys of a map, one licence."""
    copied = copy.deepcopy(dict(values))
    if copied.get("precision") is False:
        copied["precision"] = "no"
    sets = copied.get("data")
    for data in sets if isinstance(sets, list) else ():  # other types are refused by the parser
        if isinstance(data, dict) and isinstance(data.get("licenses"), str):
            data["licenses"] = [data["licenses"]]
        targets = data.get("targets") if isinstance(data, dict) else None
        for target in targets.values() if isinstance(targets, dict) else ():
            if isinstance(target, dict) and isinstance(target.get("map"), dict):
                target["map"] = text_keys(target["map"])
    return copied


def text_keys(mapping: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a map of stored values with its keys as text, as a table holds them."""
    return {str(key): value for key, value in mapping.items()}


def apply_overrides(values: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return the values with ``--a.b value`` pairs put in."""
    result = copy.deepcopy(dict(values))
    words = list(overrides)
    while words:
        word = words.pop(0)
        if not word.startswith("--") or len(word) < 3:
            raise InputError(f"'{word}': expected --key value or --key=value")
        key, equals, text = word[2:].partition("=")
        if not equals:
            if not words:
                raise InputError(f"--{key} needs a value")
            text = words.pop(0)
        try:
            value = read_yaml(text)
        except ValueError as error:
            raise InputError(f"--{key}: '{text}' is not valid YAML") from error
        _put(result, key.split("."), value, key)
    return dict(result)


def _put(node: Any, path: list[str], value: Any, key: str) -> None:
    *parents, last = path
    for part in parents:
        if isinstance(node, list):
            node = node[_index(node, part, key)]
        else:
            if node.get(part) is None:
                node[part] = {}
            node = node[part]
        if not isinstance(node, dict | list):
            raise InputError(f"--{key}: '{part}' holds a plain value, no further keys")
    if isinstance(node, list):
        node[_index(node, last, key)] = value
    else:
        node[last] = value


def _index(node: list[Any], part: str, key: str) -> int:
    if not part.isdigit() or int(part) >= len(node):
        raise InputError(f"--{key}: '{part}' must be the number of an entry, 0 to {len(node) - 1}")
    return int(part)


_NESTED: dict[str, type] = {
    "encoder": EncoderConfig,
    "optimiser": OptimiserConfig,
    "early_stopping": EarlyStoppingConfig,
    "augment": Augment,
    "unlabelled": UnlabelledConfig,
    "adapt": AdaptConfig,
}
_MAY_BE_NULL = ("unlabelled", "adapt")


def _check_keys(values: Any, kind: type, where: str, prefix: str) -> None:
    """Name an unknown key and the nearest known ones, which a type error would bury."""
    if not isinstance(values, Mapping):
        raise InputError(f"{where}: {prefix.rstrip('.') or 'the configuration'} must be a mapping of keys")
    known = [f.name for f in dataclasses.fields(kind)]
    for key, value in values.items():
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=2, cutoff=0.5)
            raise InputError(f"{where}: unknown key '{prefix}{key}'{nearest(str(key), close or known)}")
        if kind is FineTuneConfig and key in _NESTED and not (value is None and key in _MAY_BE_NULL):
            _check_keys(value, _NESTED[key], where, f"{key}.")
        elif kind is EncoderConfig and key == "blend" and value is not None:
            _check_keys(value, BlendConfig, where, f"{prefix}{key}.")
            if isinstance(share := value.get("share"), str | None) and "share" in value:  # a type error would name the parser's classes
                check_share(share, f"{where}: {prefix}{key}.")
        elif kind is FineTuneConfig and key == "tasks" and isinstance(value, Mapping):
            for name, task in value.items():
                _check_keys(task, TaskConfig, where, f"tasks.{name}.")
        elif kind is FineTuneConfig and key == "data" and isinstance(value, list):
            for number, data in enumerate(value):
                _check_keys(data, DataConfig, where, f"data.{number}.")
                targets = data.get("targets") or {}
                if not isinstance(targets, Mapping):
                    raise InputError(f"{where}: data.{number}.targets must be a mapping of tasks, not {targets!r}")
                for name, target in targets.items():
                    _check_keys(target, TargetConfig, where, f"data.{number}.targets.{name}.")
    missing = [f.name for f in dataclasses.fields(kind) if f.default is f.default_factory and f.name not in values]
    if missing:
        raise InputError(f"{where}: missing key '{prefix}{missing[0]}'")


def dump_config(config: FineTuneConfig) -> str:
    """Return the configuration as YAML that `load_config` reads back."""
    text: str = yaml.safe_dump(dataclasses.asdict(config), sort_keys=False, allow_unicode=True)
    return text
