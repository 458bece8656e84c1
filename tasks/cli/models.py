"""Commands about encoders and model folders: list, card, verify, export, publish."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umsrep.errors import InputError, nearest
from umsrep.tasks.cli import show
from umsrep.tasks.cli.parser import Add

if TYPE_CHECKING:
    from umsrep.zoo.card_numbers import Problem


def add_commands(add: Add) -> None:
    """Add these commands to the parser."""
    listing = add("list", _list, "list encoders: those that are shipped, in a folder, or on the Hub")
    listing.add_argument("pattern", nargs="?", default="*", help="shell wildcard on the name")
    listing.add_argument("--modality", help="cxr, us, doppler ...")
    listing.add_argument("--from", dest="place", metavar="PLACE", help="a folder of models, or an organisation or user on the Hub")
    listing.add_argument("--token", help="for private models on the Hub")
    listing.add_argument("--json", action="store_true", help="print JSON")

    card = add("card", _card, "show a model's card, check one, or build one from a results file")
    card.add_argument("name", nargs="?", help="preset, org/repo or folder")
    card.add_argument("--lint", metavar="PATH", help="check this card: a file, folder or preset, offline; or org/repo")
    card.add_argument("--results", type=Path, metavar="F", help="with --lint: the results file that its numbers must agree with")
    card.add_argument("--build", type=Path, metavar="F", help="build the card of NAME from this results file (docs/cards.md)")
    card.add_argument("--out", type=Path, metavar="F", help="with --build: write it there instead of printing it")
    card.add_argument("--json", action="store_true", help="print metadata and results as JSON")
    _add_source(card)

    verify = add("verify", _verify, "check the weight files of a model against their checksums")
    verify.add_argument("name", help="preset, org/repo or folder")
    verify.add_argument("--json", action="store_true", help="print JSON")
    _add_source(verify)

    export = add("export", _export, "export a model with named outputs")
    export.add_argument("model", help="preset, org/repo or folder")
    export.add_argument("--format", default="onnx", choices=("onnx", "torch"))
    export.add_argument("--out", type=Path, required=True, help="file")

    publish = add("publish", _publish, "upload a model folder to the Hugging Face Hub, after checking its card")
    publish.add_argument("folder", help="folder or preset")
    publish.add_argument("repo", help="ORG/REPO")
    publish.add_argument("--private", action="store_true", help="make it private; an existing repository must be so already")
    publish.add_argument("--revision", metavar="B", help="branch, made if absent (default main); the card's snippets then load it")
    publish.add_argument("--pr", action="store_true", help="open a pull request on main instead")
    publish.add_argument("--license", metavar="ID", help="of the weights, as the Hub names it (cc-by-4.0, mit ...), for the card")
    publish.add_argument(
        "--results", type=Path, metavar="F", help="results file that the card must agree with (default: that of the run, if it is one)"
    )
    publish.add_argument("--message", help="commit message")
    publish.add_argument("--tag", metavar="T", help="name this release; the card's snippets then load exactly it")
    publish.add_argument("--token", help="with write right; default is HF_TOKEN or that of `hf auth login`")
    publish.add_argument("--dry-run", action="store_true", help="check, and only list what would go up")


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--revision", help="branch, tag or commit on the Hub")
    parser.add_argument("--token", help="for a private repository")


# ---- list ----------------------------------------------------------------------------------------------------------
def _list(arguments: argparse.Namespace) -> None:
    from umsrep.zoo import listing
    from umsrep.zoo.presets import PRESETS

    if arguments.place is None:
        entries = listing.list_presets()
    elif Path(arguments.place).is_dir():
        entries, problems = listing.list_folder(Path(arguments.place))
        for problem in problems:
            print(f"umsrep: left out: {problem}", file=sys.stderr)
    elif arguments.place.startswith((".", "/", "~")) or "/" in arguments.place:
        raise InputError(f"'{arguments.place}' is no folder, and no organisation or user on the Hub")
    else:
        entries = listing.list_hub(arguments.place, token=arguments.token)
    entries = listing.select(entries, arguments.pattern, arguments.modality)
    if arguments.json:
        presets = PRESETS if arguments.place is None else {}
        further = {n: {k: v for k, v in dataclasses.asdict(p).items() if k in ("summary", "sha256")} for n, p in presets.items()}
        show.print_json([dataclasses.asdict(e) | further.get(e.name, {}) for e in entries])
        return
    table = _table("name", "modality", "arch", "parameters", "MACs", "licence", "measured (its card tells where)")
    for e in entries:
        macs = f"{_short(e.macs)} at {'x'.join(map(str, e.macs_size or []))}" if e.macs else "?"
        cells = (
            e.name,
            e.modality or "?",
            e.arch or "?",
            _short(e.parameters),
            macs,
            e.license or "?",
            listing.measured_text(e) or "nothing",
        )
        table.add_row(*map(show.clean, cells))
    where = f" in '{arguments.place}'" if arguments.place else ""
    show.stdout().print(table if entries else f"no encoder matches '{arguments.pattern}'{where}")


def _table(*columns: str) -> Any:
    """Return an empty table whose words are folded, never cut."""
    from rich.table import Table

    table = Table()
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _short(number: int | None) -> str:
    if number is None:
        return "?"
    for unit, factor in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= factor:
            return f"{number / factor:.3g} {unit}"
    return str(number)


# ---- card ----------------------------------------------------------------------------------------------------------
def _card(arguments: argparse.Namespace) -> int:
    from umsrep.zoo.card import metadata_of

    if arguments.lint is not None:
        return _lint(arguments)
    for option, needed in (("results", "--lint PATH"), ("out", "--build F")):
        if getattr(arguments, option) is not None and (option == "results" or arguments.build is None):
            raise InputError(f"umsrep card: --{option} needs {needed}")
    if arguments.name is None:
        raise InputError("umsrep card: give a name, or --lint PATH")
    if arguments.build is not None:
        return _build(arguments)
    text, _ = _read(arguments.name, revision=arguments.revision, token=arguments.token)
    if arguments.json:
        from umsrep.zoo.listing import rows_of

        metadata = metadata_of(text)
        show.print_json({"name": arguments.name, "metadata": metadata, "results": rows_of(metadata.get("model-index"))})
    elif sys.stdout.isatty():
        from rich.markdown import Markdown

        show.stdout().print(Markdown(show.clean(text.partition("\n---\n")[2] or text)))
    else:
        print(show.clean(text), end="")
    return 0


def _read(name: str, *, revision: str | None = None, token: str | None = None) -> tuple[str, dict[str, Any] | None]:
    """Return the card and, where there is one, config.json of a preset, folder, file or repository on the Hub."""
    from umsrep.zoo import hub
    from umsrep.zoo.card import read_card
    from umsrep.zoo.card_sections import is_repo
    from umsrep.zoo.presets import PRESETS

    path = Path(name)
    if name not in PRESETS and not path.exists() and is_repo(name):
        source = hub.open_source(name, revision=revision, token=token)
        assert source.download is not None
        return read_card(str(source.download(hub.CARD_FILE, False))), source.config
    text = read_card(name)
    if revision is not None:
        raise InputError(f"'{name}' is not on the Hub: it has no revision '{revision}'")
    if path.is_file() and path.stem in PRESETS:  # model_cards/NAME.md, which lies away from its model
        name = path.stem
    folder = hub.WEIGHTS / name if name in PRESETS else path if path.is_dir() else path.parent
    return text, hub.read_config(folder) if (folder / hub.CONFIG_FILE).is_file() else None


def _lint(arguments: argparse.Namespace) -> int:
    from umsrep.zoo.card_lint import lint_card
    from umsrep.zoo.presets import PRESETS
    from umsrep.zoo.results import load_results

    path = Path(arguments.lint)
    text, config = _read(arguments.lint)
    results = load_results(arguments.results) if arguments.results is not None else None
    if results is not None and config is None:
        raise InputError(f"{path}: no config.json beside it, which --results needs")
    folder = path if path.is_dir() else path.parent
    if arguments.lint in PRESETS or not path.exists():  # not there: a repository
        location = arguments.lint
    else:
        location = path.stem if path.stem in PRESETS else folder.resolve().name
    problems = lint_card(text, config=config, results=results, location=location if config is not None else None)
    _print_problems(arguments.lint, problems)
    if not problems:
        print(f"{arguments.lint}: well formed{'' if config is not None else ' (no config.json beside it: checksums were not compared)'}")
    return 2 if problems else 0


def _print_problems(where: str, problems: Iterable[Problem]) -> None:
    for problem in problems:
        print(f"{where}:{problem.line}: {show.clean(problem.message)}", file=sys.stderr)


def _build(arguments: argparse.Namespace) -> int:
    from umsrep.zoo import hub
    from umsrep.zoo.card import build_card
    from umsrep.zoo.results import load_results

    results = load_results(arguments.build)
    folder = hub.resolve(arguments.name, revision=arguments.revision, token=arguments.token)
    card = build_card(results.name or Path(arguments.name).name, hub.read_config(folder), results)
    if arguments.out is None:
        print(card, end="")
    else:
        show.write(arguments.out, card)
    return 0


# ---- verify, export ------------------------------------------------------------------------------------------------
def _verify(arguments: argparse.Namespace) -> int:
    from umsrep.zoo import hub

    checks = hub.verify(arguments.name, revision=arguments.revision, token=arguments.token)
    wrong = [check.file for check in checks if not check.ok]
    if arguments.json:
        show.print_json([dataclasses.asdict(check) for check in checks])
    else:
        table = _table("file", "size", "sha256", "ok")
        for check in checks:
            table.add_row(show.clean(check.file), _size(check.size), check.sha256 or "missing", "yes" if check.ok else "NO")
        show.stdout().print(table)
    if wrong:
        print(
            f"umsrep: {arguments.name}: not what config.json says, or not finite: {', '.join(map(show.clean, wrong))}; save it again",
            file=sys.stderr,
        )
    return 2 if wrong else 0


def _size(number: int) -> str:
    return f"{number / 2**20:.1f} MiB" if number >= 2**20 else f"{number / 2**10:.1f} KiB"


def _export(arguments: argparse.Namespace) -> None:
    from umsrep.tasks.model import MultiTaskModel

    print(MultiTaskModel.from_pretrained(arguments.model).export(arguments.out, format=arguments.format))


# ---- publish -------------------------------------------------------------------------------------------------------
def _publish(arguments: argparse.Namespace) -> None:
    from umsrep.zoo import hub
    from umsrep.zoo.card import read_card
    from umsrep.zoo.presets import PRESETS

    if arguments.folder not in PRESETS and not Path(arguments.folder).is_dir():
        raise InputError(f"'{arguments.folder}' is neither a model folder nor a preset{nearest(arguments.folder, PRESETS)}")
    folder = hub.resolve(arguments.folder)
    card = read_card(arguments.folder) if arguments.folder in PRESETS else None  # which lies away from its weights
    target = {"revision": arguments.revision, "create_pr": arguments.pr, "tag": arguments.tag}
    try:
        with hub.staged(folder, arguments.repo, card=card, results=arguments.results, license=arguments.license, **target) as staged:
            _upload(arguments, staged, target)
    except hub.BadCard as error:
        _print_problems(arguments.folder, error.problems)
        raise


def _upload(arguments: argparse.Namespace, staged: Path, target: dict[str, Any]) -> None:
    from umsrep.zoo import hub
    from umsrep.zoo.card import metadata_of, read_card

    if metadata_of(read_card(str(staged)))["license"] == "unknown":
        print("umsrep: warning: the card's license is 'unknown', so nobody may use the weights; name one with --license", file=sys.stderr)
    if arguments.dry_run:
        files = hub.plan(staged)
        for file, size in files:
            print(f"{file}  {_size(size)}")
        print(f"dry run: {_size(sum(size for _, size in files))} would go to {arguments.repo}; nothing was uploaded")
        return
    message, heads = arguments.message, bool(hub.read_config(staged)["umsrep"]["heads"])
    done = hub.upload(staged, arguments.repo, private=arguments.private, token=arguments.token, commit_message=message, **target)
    print(done)
    print(f"\n{hub.snippet(arguments.repo, done.commit, heads=heads)}", end="")
