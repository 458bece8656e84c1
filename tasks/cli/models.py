"""Commands about encoders and model folders: list, card, export, publish."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

from umsrep.errors import InputError, nearest
from umsrep.tasks.cli import show
from umsrep.tasks.cli.parser import Add


def add_commands(add: Add) -> None:
    """Add these commands to the parser."""
    listing = add("list", _list, "list the encoders that are shipped")
    listing.add_argument("pattern", nargs="?", default="*", help="shell wildcard")
    listing.add_argument("--modality", help="cxr, us, doppler ...")
    listing.add_argument("--json", action="store_true", help="print JSON")

    card = add("card", _card, "show the card of a preset or a model folder, or lint one")
    card.add_argument("name", nargs="?", help="preset or folder")
    card.add_argument("--lint", type=Path, metavar="PATH", help="check this card file or folder")

    export = add("export", _export, "export a model with named outputs")
    export.add_argument("model", help="preset, org/repo or folder")
    export.add_argument("--format", default="onnx", choices=("onnx", "torch"))
    export.add_argument("--out", type=Path, required=True, help="file")

    publish = add("publish", _publish, "upload a model folder to the Hugging Face Hub")
    publish.add_argument("folder", type=Path)
    publish.add_argument("repo", help="ORG/REPO")
    publish.add_argument("--private", action="store_true")
    publish.add_argument("--revision", help="branch")
    publish.add_argument("--message", help="commit message")


def _list(arguments: argparse.Namespace) -> None:
    from umsrep.zoo.presets import PRESETS, list_encoders

    known = sorted({p.modality for p in PRESETS.values()})
    if arguments.modality is not None and arguments.modality not in known:
        raise InputError(f"no encoder for modality '{arguments.modality}'{nearest(arguments.modality, known)}")
    names = list_encoders(arguments.pattern, modality=arguments.modality)
    if arguments.json:
        show.print_json([{"name": name, **dataclasses.asdict(PRESETS[name])} for name in names])
        return
    from rich.table import Table

    table = Table("name", "modality", "arch", "licence", "summary")
    for name in names:
        preset = PRESETS[name]
        table.add_row(name, preset.modality, preset.arch, preset.license, preset.summary)
    show.stdout().print(table if names else f"no encoder matches '{arguments.pattern}'")


def _card(arguments: argparse.Namespace) -> int:
    from umsrep.zoo.card import lint_card, read_card

    if arguments.lint is not None:
        problems = lint_card(read_card(str(arguments.lint)))
        for problem in problems:
            print(f"{arguments.lint}: {problem}", file=sys.stderr)
        if not problems:
            print(f"{arguments.lint}: well formed")
        return 2 if problems else 0
    if arguments.name is None:
        raise InputError("umsrep card: give a name, or --lint PATH")
    text = read_card(arguments.name)
    if sys.stdout.isatty():
        from rich.markdown import Markdown

        show.stdout().print(Markdown(text.partition("\n---\n")[2] or text))
    else:
        print(text, end="")
    return 0


def _export(arguments: argparse.Namespace) -> None:
    from umsrep.tasks.model import MultiTaskModel

    print(MultiTaskModel.from_pretrained(arguments.model).export(arguments.out, format=arguments.format))


def _publish(arguments: argparse.Namespace) -> None:
    from umsrep.zoo import hub

    print(
        hub.push(arguments.folder, arguments.repo, private=arguments.private, revision=arguments.revision, commit_message=arguments.message)
    )
