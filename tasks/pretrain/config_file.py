"""Reading and writing pretraining configurations; a supervised one is a fine-tuning configuration."""

from __future__ import annotations

import copy
import dataclasses
import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from umsrep.errors import InputError, nearest
from umsrep.tasks.config import FineTuneConfig
from umsrep.tasks.config_file import apply_overrides, config_from_dict, read_mapping
from umsrep.tasks.pretrain.config import BLOCKS, PretrainConfig

METHODS = ("supervised", *BLOCKS)


def load_pretrain_config(path: str | Path, overrides: Sequence[str] = ()) -> PretrainConfig | FineTuneConfig:
    """Read a YAML configuration.

    Args:
        path: The file; relative paths in it are relative to the working directory.
        overrides: ``--key.key value`` or ``--key.key=value``, values in YAML.

    Returns:
        A `FineTuneConfig` for ``method: supervised`` (the other keys are its own), else a `PretrainConfig`.

    Raises:
        InputError: naming the key that is unknown (with the nearest), missing, or of a wrong type.
    """
    values = read_mapping(Path(path))
    return pretrain_config_from_dict(apply_overrides(values, overrides), where=str(path))


def pretrain_config_from_dict(values: Mapping[str, Any], *, where: str = "config") -> PretrainConfig | FineTuneConfig:
    """Check plain values and make the configuration; errors as in `load_pretrain_config`."""
    method = values.get("method")
    if method not in METHODS:
        raise InputError(f"{where}: method must be one of {', '.join(METHODS)}, not {method!r}{nearest(str(method), METHODS)}")
    if method == "supervised":
        return config_from_dict({k: v for k, v in values.items() if k != "method"}, where=where)
    _check_keys(values, PretrainConfig, where, "")
    plain = copy.deepcopy(dict(values))  # the parser changes what it is given
    if plain.get("precision") is False:  # YAML's reading of no
        plain["precision"] = "no"
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(PretrainConfig, "run")
    try:
        parsed = parser.instantiate(parser.parse_object({"run": plain}))
    except (ArgumentError, TypeError, OverflowError) as error:
        if isinstance(error.__cause__, InputError):
            raise error.__cause__ from None
        message = re.sub(r"\brun\.", "", " ".join(str(error).split()))
        raise InputError(f"{where}: {message}") from error
    config: PretrainConfig = parsed.run
    return config


def _check_keys(values: Any, kind: Any, where: str, prefix: str) -> None:
    """Name an unknown key and the nearest known ones, which a type error would bury, in a configuration and all that it holds."""
    if not isinstance(values, Mapping):
        raise InputError(f"{where}: {prefix.rstrip('.') or 'the configuration'} must be a mapping of keys")
    hints = typing.get_type_hints(kind)
    for key, value in values.items():
        if key not in hints:
            raise InputError(f"{where}: unknown key '{prefix}{key}'{nearest(str(key), hints)}")
        for part in _parts(hints[key]):
            if dataclasses.is_dataclass(part) and value is not None:
                _check_keys(value, part, where, f"{prefix}{key}.")
            elif typing.get_origin(part) is list and dataclasses.is_dataclass(inner := typing.get_args(part)[0]):
                for number, entry in enumerate(value if isinstance(value, list) else ()):
                    _check_keys(entry, inner, where, f"{prefix}{key}.{number}.")
    missing = [f.name for f in dataclasses.fields(kind) if f.default is f.default_factory and f.name not in values]
    if missing:
        raise InputError(f"{where}: missing key '{prefix}{missing[0]}'")


def _parts(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)


def dump_pretrain_config(config: PretrainConfig) -> str:
    """Return the configuration as YAML that `load_pretrain_config` reads back."""
    text: str = yaml.safe_dump(dataclasses.asdict(config), sort_keys=False, allow_unicode=True)
    return text
