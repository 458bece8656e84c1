"""The command that makes an out-of-distribution guard for a model: guard."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from umsrep.errors import InputError
from umsrep.tasks.cli import show
from umsrep.tasks.cli.parser import Add


def add_commands(add: Add) -> None:
    """Add this command to the parser."""
    guard = add("guard", _guard, "make a model's out-of-distribution guard from a data set, and measure it (docs/guard.md)")
    guard.add_argument("model", help="model folder; the guard is written into it")
    guard.add_argument("data", help="folder with metadata.csv: its training rows are what is usual, its held-out rows give the threshold")
    guard.add_argument("--split-column", default="split")
    guard.add_argument("--train-split", default="train", help="rows of what is usual (default train)")
    guard.add_argument("--held-out-split", default="validation", help="rows that the threshold comes from (default validation)")
    guard.add_argument("--false-alarms", type=float, default=0.05, help="fraction of usual images that may be flagged (default 0.05)")
    guard.add_argument("--score", choices=("knn", "energy"), default="knn", help="knn (default) or the energy of a classification head")
    guard.add_argument("--head", help="of the score energy")
    guard.add_argument("--neighbours", type=int, default=5, help="k of knn (default 5)")
    guard.add_argument("--rows", type=int, default=256, help="most images of each split and set (default 256)")
    guard.add_argument("--source", default="training pictures", help="what the guard is made from, and its licence; stored with it")
    guard.add_argument(
        "--measure", nargs="+", default=[], metavar="DATA", help="data sets whose images (test rows where there are any) are tried"
    )
    guard.add_argument("--dry-run", action="store_true", help="make and measure only; the folder stays as it is")
    guard.add_argument("--json", action="store_true", help="print what was measured as JSON")


def _guard(arguments: argparse.Namespace) -> None:
    from umsrep.tasks.data.manifest import load_manifest
    from umsrep.tasks.guard import attach, needed
    from umsrep.tasks.guarding import described, make_guard, open_rows, rate, spread_rows
    from umsrep.tasks.model import MultiTaskModel
    from umsrep.zoo.results import GuardRate

    folder = _folder(arguments.model, write=not arguments.dry_run)
    if arguments.rows < 1:
        raise InputError(f"--rows must be 1 or more, not {arguments.rows}")
    model = MultiTaskModel.from_pretrained(str(folder))
    manifest = load_manifest(arguments.data)
    rows = {split: manifest.rows(split, arguments.split_column) for split in (arguments.train_split, arguments.held_out_split)}
    if 0 < arguments.false_alarms < 1:
        least = needed(arguments.false_alarms)
    else:
        raise InputError(f"--false-alarms must be above 0 and below 1, not {arguments.false_alarms}")
    train = spread_rows(manifest, rows[arguments.train_split], arguments.rows, least=arguments.rows)
    held_out = spread_rows(manifest, rows[arguments.held_out_split], arguments.rows, least=least)
    guard = make_guard(
        model,
        open_rows(model, manifest, train, title="what is usual"),
        open_rows(model, manifest, held_out, title="held out"),
        score=arguments.score,
        head=arguments.head,
        false_alarms=arguments.false_alarms,
        neighbours=arguments.neighbours,
        source=arguments.source,
    )
    rates: list[GuardRate] = []
    for place in arguments.measure:
        other = load_manifest(place)
        splits = set(other.columns.get("split", ()))
        some = other.rows("test") if "test" in splits else list(range(len(other)))
        name = Path(place).name
        shown = spread_rows(other, some, arguments.rows)
        rates.append(rate(guard, model, name, "test rows" if "test" in splits else "all rows", open_rows(model, other, shown, title=name)))
    results = described(guard, f"{Path(arguments.data).name}, {arguments.held_out_split}", rates)
    if not arguments.dry_run:
        attach(folder, guard)
    if arguments.json:
        show.print_json(dataclasses.asdict(results))
        return
    _print(results, None if arguments.dry_run else folder)


def _folder(name: str, *, write: bool) -> Path:
    """Return the model folder; presets and repositories are not written into."""
    from umsrep.zoo import hub
    from umsrep.zoo.presets import PRESETS

    folder = hub.resolve(name)
    if write and (name in PRESETS or not Path(name).is_dir()):
        raise InputError(f"'{name}' is no folder of yours: save the model into one first (save_pretrained), or give --dry-run")
    return folder


def _print(results: Any, folder: Path | None) -> None:
    from rich.table import Table

    kept = f"{folder / 'reference.safetensors'}" if folder is not None else "not written (dry run)"
    print(f"guard: {results.score}; threshold {results.threshold:.4g} from {results.calibrated} images of {results.data}")
    print(f"at most {100 * results.false_alarms:g} % of images like those are flagged; {kept}")
    if results.rates:
        table = Table("images", "kind", "flagged", "fraction", "95 % interval")
        for r in results.rates:
            low, high = r.interval
            table.add_row(
                show.clean(r.data), r.kind, f"{r.flagged} of {r.images}", f"{r.flagged / r.images:.3f}", f"{low:.3f} to {high:.3f}"
            )
        show.stdout().print(table)
