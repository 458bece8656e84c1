"""Commands about data folders: inspect."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from umsrep.errors import InputError
from umsrep.tasks.cli import show
from umsrep.tasks.cli.parser import Add

_MOST_ROWS = 30


def add_commands(add: Add) -> None:
    """Add these commands to the parser."""
    inspect = add("inspect", _inspect, "say what is in a data set, what is wrong with it, and how to train on it")
    inspect.add_argument("data", help="folder with metadata.csv, or a MedMNIST npz; with --write also a folder of pictures")
    inspect.add_argument("--split-column", default="split")
    inspect.add_argument("--json", action="store_true", help="print JSON")
    inspect.add_argument("--html", metavar="F", help="write one page with pictures, which needs no network")
    inspect.add_argument("--config-out", metavar="F", help="write the suggested configuration, for `umsrep finetune --config F`")
    inspect.add_argument("--write", action="store_true", help="first make metadata.csv from images/ masks/ or from class folders")
    compared = inspect.add_mutually_exclusive_group()
    compared.add_argument(
        "--encoder", default="auto", metavar="NAME", help="compare with this encoder's kind of picture (default: a preset)"
    )
    compared.add_argument("--no-encoder", action="store_true", help="no comparison with an encoder's kind of picture")


def _inspect(arguments: argparse.Namespace) -> int:
    from umsrep.tasks.data.inspect import inspect

    _check_outputs(arguments)
    written = _write_manifest(Path(arguments.data)) if arguments.write else []
    report = inspect(arguments.data, split_column=arguments.split_column, encoder=None if arguments.no_encoder else arguments.encoder)
    report["notes"] = written + report["notes"]
    report["note_kinds"] = ["manifest written"] * len(written) + report["note_kinds"]
    if arguments.html:
        from umsrep.tasks.data.inspect.page import render
        from umsrep.tasks.data.manifest import load_manifest

        show.write(Path(arguments.html), render(report, load_manifest(arguments.data)))
    config, advice = report["suggested"]["config"], report["suggested"]["notes"]
    if arguments.config_out and config:
        lines = [f"# Suggested by `umsrep inspect {arguments.data}`", *(f"# {note}" for note in advice)]
        show.write(Path(arguments.config_out), "\n".join([*map(show.clean, lines), config]))
    if arguments.json:
        show.print_json(report)
    else:
        _print(report, unwritten=not arguments.config_out)
    for path in filter(None, (arguments.html, arguments.config_out if config else None)):
        print(show.clean(f"written: {path}"), file=sys.stderr if arguments.json else sys.stdout)
    if arguments.config_out and not config:
        raise InputError(f"--config-out {arguments.config_out} is not written: {'; '.join(advice)}")
    return 2 if report["problems"] else 0


def _check_outputs(arguments: argparse.Namespace) -> None:
    """Refuse, before anything is read, to replace what is not a page or configuration made here."""
    if arguments.config_out and os.path.lexists(arguments.config_out):
        raise InputError(f"--config-out {arguments.config_out}: exists already and is not replaced; name another file or remove it")
    if arguments.html and os.path.lexists(arguments.html):
        path = Path(arguments.html)
        if not path.is_file():
            raise InputError(f"--html {path}: exists and is no regular file; name another")
        with path.open("rb") as file:
            if not file.read(14).lower().startswith(b"<!doctype html"):
                raise InputError(f"--html {path}: exists and is no HTML page; name another file or remove it")


def _write_manifest(folder: Path) -> list[str]:
    """Turn a folder of pictures into one with a manifest; returns what was decided. A manifest that is there is never replaced."""
    from umsrep.tasks.data.folders import propose, write_manifest

    proposal = propose(folder)
    return [f"{write_manifest(folder, proposal.columns)}: written", *proposal.notes]


def _print(report: dict[str, Any], *, unwritten: bool) -> None:
    from rich.table import Table

    from umsrep.tasks.data.inspect.page import image_facts, modality_line
    from umsrep.tasks.data.inspect.report import limited

    console = show.stdout()
    annotated = ", ".join(f"{k} {v}" for k, v in report["annotated"].items())
    print(show.clean(f"{report['data']}: {report['rows']} rows; annotations: {annotated or 'none'}"))
    table = Table("split", "site", "rows", "patients", "masks", "labels")
    for group in report["groups"][:_MOST_ROWS]:
        masks = ", ".join(_annotations(group["masks"], "mask_file_name"))
        labels = "; ".join(", ".join(f"{k} {v}" for k, v in counts.items()) for counts in _few(group["labels"]))
        cells = (group["split"], group["site"], str(group["rows"]), str(group["patients"] or "?"), masks, labels)
        table.add_row(*map(show.clean, cells))
    console.print(table)
    if len(report["groups"]) > _MOST_ROWS:
        print(f"... and {len(report['groups']) - _MOST_ROWS} more groups (all in --json)")
    areas = Table("mask", "split", "class", "masks", "smallest", "25 %", "middle", "75 %", "largest", title="area of the image, %")
    for name, task in report["tasks"].items():
        for split, values in task.get("areas", {}).items():
            for value, area in values.items():
                areas.add_row(name, split, value, str(area["masks"]), *(f"{100 * v:.2f}" for v in area["quartiles"]))
    if areas.row_count:
        console.print(areas)
    for name, value in image_facts(report["images"], report["licences"]):
        print(show.clean(f"{name}: {value}"))
    if line := modality_line(report["modality"]):
        print(line)
    if report["suggested"]["config"] and unwritten:
        print("suggested configuration: --config-out F.yaml writes it")
    for line in report["suggested"]["notes"]:
        print(show.clean(f"suggestion: {line}"))
    for line in limited(report["notes"], report["note_kinds"]):
        print(show.clean(f"note: {line}"))
    for line in limited(report["problems"], report["problem_kinds"]):
        print(show.clean(line), file=sys.stderr)


def _annotations(counts: dict[str, int], base: str) -> list[str]:
    """Name the mask columns by what sets them apart; a single one needs no name."""
    if len(counts) == 1:
        return [str(number) for number in counts.values()]
    return [f"{column.removeprefix(base).lstrip('.') or 'all'} {number}" for column, number in counts.items()]


def _few(labels: dict[str, dict[str, int]], most: int = 3) -> list[dict[str, int]]:
    """Return the first label columns; a table of fourteen findings is for --json."""
    return list(labels.values())[:most]
