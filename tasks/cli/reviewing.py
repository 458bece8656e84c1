"""`umsrep evaluate --review DIR`: the whole review of a model, as JSON, page, checklist and gallery."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from umsrep.errors import InputError
from umsrep.tasks.cli import show
from umsrep.tasks.cli.parser import Add
from umsrep.tasks.cli.targets import read_targets

if TYPE_CHECKING:
    from umsrep.tasks.model import MultiTaskModel

CALIBRATION_TARGETS = "--calibration-targets."
"""Prefix of the words that tell where targets stand in the calibration data."""
_ONLY: tuple[str, ...] = (
    *("groups", "compare", "alpha", "calibrate_on", "calibration_data", "tolerance", "tolerance_mm", "prevalence", "classical"),
    *("review_pictures", "review_ids"),
)


def add_options(evaluate: argparse.ArgumentParser) -> None:
    """Add the options of a review to the parser of evaluate; their defaults are None, so that one without --review is noticed."""
    evaluate.add_argument("--review", type=Path, metavar="DIR", help="write review.json and review.html there (docs/evaluation.md)")
    evaluate.add_argument(
        "--groups", metavar="A,B", help="with --review: columns whose groups to tabulate; numbers with cut points as age:40:60"
    )
    evaluate.add_argument("--compare", metavar="MODEL", help="with --review: another model, tested on the same rows")
    evaluate.add_argument("--alpha", type=float, help="with --review: share of conformal sets that may miss the truth (default 0.1)")
    evaluate.add_argument(
        "--calibrate-on", metavar="SPLIT", help="with --review: split for temperature and conformal sets, or none (default validation)"
    )
    evaluate.add_argument(
        "--calibration-data",
        metavar="DATA",
        help=f"with --review: other data that has that split ({CALIBRATION_TARGETS}HEAD.column C says where its targets stand)",
    )
    evaluate.add_argument("--tolerance", type=float, help="with --review: of the surface Dice, in pixels of the model's input (default 2)")
    evaluate.add_argument("--tolerance-mm", type=float, help="with --review: the same in mm, for images of known spacing")
    evaluate.add_argument("--prevalence", metavar="P,Q", help="with --review: give predictive values at these prevalences")
    evaluate.add_argument("--review-pictures", type=int, metavar="N", help="with --review: worst rows a head to draw (default 6)")
    evaluate.add_argument(
        "--review-ids", action="store_true", default=None, help="with --review: name files and patients under the pictures (may be private)"
    )
    evaluate.add_argument(
        "--classical",
        nargs="?",
        const="",
        metavar="F,G",
        help="with --review: classical filters beside a denoising head, tuned on validation (default tv,nlm,bayes_shrink; takes minutes)",
    )


def add_commands(add: Add) -> None:
    """Add the command that writes a review's page again."""
    review = add("review", _review, "write the page of a review again from its review.json, with what further runs found")
    review.add_argument("folder", help="what umsrep evaluate --review wrote")
    review.add_argument("--shifts", metavar="F", help="JSON of umsrep evaluate MODEL DATA --shifts --json F, for a section on shifts")
    review.add_argument(
        "--left-out", nargs="+", default=[], metavar="DIR", help="reviews of models trained without a site, each on that site"
    )
    review.add_argument("--model", help="preset or folder of the model, to fill the checklists anew")


def _review(arguments: argparse.Namespace) -> None:
    from umsrep.tasks.evaluation.publishing import render_again

    page = render_again(arguments.folder, shifts=arguments.shifts, left_out=arguments.left_out, model=arguments.model)
    print(show.clean(f"written: {page}"))


def check_options(arguments: argparse.Namespace) -> None:
    """Refuse options of a review without one."""
    if arguments.review is not None:
        if arguments.shifts is not None:
            raise InputError("umsrep evaluate: --review and --shifts are two runs; give one of them")
        return
    for option in _ONLY:
        if getattr(arguments, option) is not None:
            raise InputError(f"umsrep evaluate: --{option.replace('_', '-')} needs --review DIR")
    if any(word.startswith(CALIBRATION_TARGETS) for word in arguments.rest):
        raise InputError(f"umsrep evaluate: {CALIBRATION_TARGETS}* needs --review DIR and --calibration-data")


def read_groups(text: str | None) -> tuple[list[str], dict[str, list[float]]]:
    """Read ``sex,age:40:60``: columns, and cut points of those that have some.

    Raises:
        InputError: for a cut point that is no number.
    """
    columns, edges = [], {}
    for word in show.names(text) or []:
        column, *cuts = word.split(":")
        columns.append(column)
        if cuts:
            edges[column] = _numbers(cuts, f"--groups {word}")
    return columns, edges


def _numbers(words: Sequence[str], where: str) -> list[float]:
    try:
        return [float(word) for word in words]
    except ValueError as error:
        raise InputError(f"{where}: '{next(w for w in words if not _is_number(w))}' is no number") from error


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def run_review(arguments: argparse.Namespace, model: MultiTaskModel) -> None:
    """Review, write the folder, and print a short table."""
    from umsrep.tasks.evaluation.gallery import WORST
    from umsrep.tasks.evaluation.publishing import check_folder, write_review
    from umsrep.tasks.evaluation.review import PREVALENCES, review

    check_folder(arguments.review)
    columns, edges = read_groups(arguments.groups)
    other = [word.replace(CALIBRATION_TARGETS, "--targets.", 1) for word in _after(arguments.rest, CALIBRATION_TARGETS)]
    if other and arguments.calibration_data is None:
        raise InputError(f"umsrep evaluate: {CALIBRATION_TARGETS}* needs --calibration-data")
    given = show.names(arguments.prevalence)
    calibrate_on = "validation" if arguments.calibrate_on is None else arguments.calibrate_on
    if arguments.calibrate_on is None and arguments.split == "validation" and arguments.calibration_data is None:
        calibrate_on = "none"  # the default would be the rows under review
    found = review(
        arguments.model,
        arguments.data,
        split=arguments.split,
        split_column=arguments.split_column,
        targets=read_targets(_after(arguments.rest, "--targets.")),
        tasks=show.chosen(arguments.tasks),
        groups=columns,
        edges=edges,
        compare=arguments.compare,
        calibrate_on=None if calibrate_on == "none" else calibrate_on,
        calibration_data=arguments.calibration_data,
        calibration_targets=read_targets(other) if arguments.calibration_data is not None else None,
        alpha=0.1 if arguments.alpha is None else arguments.alpha,
        resamples=arguments.resamples,
        noise=arguments.noise,
        level=arguments.level,
        tolerance=2.0 if arguments.tolerance is None else arguments.tolerance,
        tolerance_mm=arguments.tolerance_mm,
        prevalences=PREVALENCES if given is None else _numbers(given, "--prevalence"),
        classical=False if arguments.classical is None else show.names(arguments.classical) or True,
        batch_size=arguments.batch_size,
        workers=arguments.workers,
        lenient=arguments.lenient,
    )
    whole = write_review(
        found,
        arguments.review,
        model=arguments.model,
        data=arguments.data,
        pictures=WORST if arguments.review_pictures is None else arguments.review_pictures,
        ids=bool(arguments.review_ids),
        lenient=arguments.lenient,
    )
    if arguments.json == "-":
        show.print_json(whole)
        return
    if arguments.json:
        import json

        show.write(Path(arguments.json), json.dumps(whole, indent=1, allow_nan=False) + "\n")
    for note in found["notes"]:
        print(f"umsrep: note: {show.clean(note)}", file=sys.stderr)
    show.print_metrics(_table(found))
    print(show.clean(f"written: {arguments.review / 'review.html'} and review.json beside it"))


def _after(words: Sequence[str], prefix: str) -> list[str]:
    """Return the words under a prefix with the values that follow them."""
    found, taken = [], False
    for word in words:
        if word.startswith("--"):
            taken = word.startswith(prefix)
        if taken:
            found.append(word)
    return found


def _table(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Bring a review's metrics into the form of `umsrep evaluate`."""
    table = {}
    for name, task in found["tasks"].items():
        metrics = {m: e["value"] for m, e in task["metrics"].items() if e["value"] is not None}
        intervals = {m: [task["metrics"][m]["low"], task["metrics"][m]["high"]] for m in metrics}
        table[name] = {"n": float(task["n"]), "patients": float(task["patients"]), **metrics, "intervals": intervals}
    return table
