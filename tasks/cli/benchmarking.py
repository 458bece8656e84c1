"""The command that runs grids of trainings, and tells how well scores foretold their results."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from umsrep.tasks.cli import show
from umsrep.tasks.cli.parser import Add


def add_commands(add: Add) -> None:
    """Add the command to the parser."""
    benchmark = add("benchmark", _benchmark, "train a grid of encoders, data sets, strategies, label fractions and seeds, and compare them")
    benchmark.add_argument(
        "what", nargs="?", metavar="truth", help="compare transferability scores with what fine-tuning gave, instead of training"
    )
    benchmark.add_argument("--out", type=Path, metavar="DIR", help="folder for tables and pictures (default the grid's output)")
    benchmark.add_argument("--json", action="store_true", help="print the results as JSON")
    run = benchmark.add_argument_group("train")
    run.add_argument("--config", help="YAML file of the grid (docs/benchmark.md)")
    run.add_argument("--parallel", type=int, metavar="N", help="run N cells at a time, one process a GPU or a share of the cores")
    run.add_argument("--plan", action="store_true", default=None, help="train nothing: tell what is left, and how long it may take")
    run.add_argument(
        "--leave-one-out", metavar="COLUMN", help="train a model for each value of a column (site), without it, and test it on its rows"
    )
    truth = benchmark.add_argument_group("truth")
    truth.add_argument("--scores", nargs="+", type=Path, help="what umsrep choose --json printed; several files are joined")
    truth.add_argument("--results", nargs="+", type=Path, help="results.json of benchmarks (default: the scores' file holds the truth)")
    truth.add_argument("--metric", action="append", metavar="KIND=METRIC", help="instead of a kind of task's main metric")
    truth.add_argument("--resamples", type=int, help="bootstrap draws (default 2000)")
    truth.add_argument("--seed", type=int, help="of the draws (default 0)")


_RUN, _TRUTH = ("config", "parallel", "plan", "leave_one_out"), ("scores", "results", "metric", "resamples", "seed")


def _check(arguments: argparse.Namespace) -> None:
    from umsrep.errors import InputError, nearest

    if arguments.what not in (None, "truth"):
        raise InputError(
            f"umsrep benchmark: unknown word '{arguments.what}'{nearest(arguments.what, ['truth'])}; a grid is named by --config"
        )
    needed, others = ("scores", _RUN) if arguments.what else ("config", _TRUTH)
    if getattr(arguments, needed) is None:
        raise InputError("umsrep benchmark needs --config FILE, or: umsrep benchmark truth --scores FILE")
    for other in others:
        if getattr(arguments, other) is not None:
            raise InputError(f"umsrep benchmark: --{other.replace('_', '-')} is {'not for' if arguments.what else 'for'} truth")


def _benchmark(arguments: argparse.Namespace) -> int:
    _check(arguments)
    if arguments.what == "truth":
        _truth(arguments)
        return 0
    from umsrep.tasks.benchmark import load_benchmark, run_benchmark
    from umsrep.tasks.benchmark.parallel import is_launched, run_launched, run_parallel
    from umsrep.tasks.benchmark.report import write_report
    from umsrep.tasks.benchmark.run import INVOCATION, plan
    from umsrep.tasks.progress import say

    config = arguments.config
    if arguments.leave_one_out is not None:
        from umsrep.tasks.benchmark.leave_one_out import write_expanded

        config = write_expanded(config, arguments.leave_one_out)
    benchmark = load_benchmark(config)
    if arguments.plan:
        _print_plan(plan(benchmark, arguments.parallel or 1), arguments)
        return 0
    if INVOCATION in os.environ:  # one of the processes of another one, which tells what came of it
        run_benchmark(benchmark)
        return 0
    if is_launched():
        launched = run_launched(benchmark)
        if launched is None:
            return 0
        results = launched
    else:
        results = run_parallel(benchmark, arguments.parallel) if arguments.parallel is not None else run_benchmark(benchmark)
    report = write_report(results, arguments.out or benchmark.output, benchmark.baseline) if results["cells"] else None
    if arguments.json:
        show.print_json({**results, "report": report})
    elif report is not None:
        print(Path(report["files"][0]).read_text(encoding="utf-8"))
        print("\n".join(report["files"]))
    for name, message in results["failed"].items():
        say(f"umsrep: failed: {name}: {message}")
    if results["missing"]:
        say(f"umsrep: not done, as another process is at them: {', '.join(results['missing'])}")
    return 2 if results["failed"] else 0


def _print_plan(found: dict[str, object], arguments: argparse.Namespace) -> None:
    if arguments.json:
        show.print_json(found)
        return
    left, failed, hours = found["left"], found["failed"], found["hours"]
    assert isinstance(left, list)
    assert isinstance(failed, dict)
    print(f"{found['cells']} cells: {found['done']} done, {len(left)} left, {len(failed)} of them failed before")
    if isinstance(hours, float):
        print(f"about {hours:.2g} hours by {arguments.parallel or 1} at a time, going by the cells that are done (training and validation)")
    elif left:
        print("no cell is done yet to estimate the time from")
    for name in left:
        print(f"  {name}{': ' + failed[name] if name in failed else ''}")


def _truth(arguments: argparse.Namespace) -> None:
    from umsrep.errors import InputError
    from umsrep.tasks.benchmark.joining import join
    from umsrep.tasks.benchmark.truth import judge, markdown, write_judgement
    from umsrep.tasks.benchmark.truth_reader import read_scores, read_truth

    metrics = {}
    for word in arguments.metric or ():
        kind, equals, metric = word.partition("=")
        if not equals:
            raise InputError(f"--metric '{word}': write KIND=METRIC, such as classification=balanced_accuracy")
        metrics[kind] = metric
    if metrics and not arguments.results:
        raise InputError("--metric chooses among what --results hold; the scores' own file has one truth")
    resamples = 2000 if arguments.resamples is None else arguments.resamples
    for option, value, least in (("resamples", resamples, 1), ("seed", arguments.seed or 0, 0)):
        if value < least:
            raise InputError(f"--{option} must be {least} or more, not {value}")
    scores = read_scores(arguments.scores)
    truth = read_truth(arguments.results, metrics) if arguments.results else None
    judgement = judge(join(scores, truth), resamples=resamples, seed=arguments.seed or 0)
    files = write_judgement(judgement, arguments.out) if arguments.out is not None else []
    if arguments.json:
        show.print_json(judgement)
        return
    print(markdown(judgement))
    print("\n".join(files))
