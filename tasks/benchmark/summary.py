"""What the cells of a benchmark show: means and spreads, and tests of every variant against the baseline."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from umsrep.tasks.statistics import holm, paired_t_test, smallest_wilcoxon_p, welch_t_test, wilcoxon

OWN_TEST = "test"
"""Name of the rows with split = test of the data that a run trained on, beside a grid's further test sets."""


def summarise_cells(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return mean, standard deviation over seeds (n - 1; null with one) and n of each metric of each variant, set and fraction.

    Args:
        cells: As `run_benchmark` collects them.

    Returns:
        One entry a (variant, set, fraction): ``variant``, ``set`` (where the grid has sets), ``fraction``, ``seconds``, ``metrics``
        ("task/metric" to mean, sd, n) and ``shifted`` (further test set to the same).
    """
    groups: dict[tuple[str, str | None, float], list[Mapping[str, Any]]] = {}
    for cell in cells:
        groups.setdefault((cell["variant"], cell.get("set"), cell["fraction"]), []).append(cell)
    table = []
    for (variant, name, fraction), members in groups.items():
        entry: dict[str, Any] = {"variant": variant, **({"set": name} if name is not None else {}), "fraction": fraction}
        entry["seconds"] = spread([m["seconds"] for m in members])
        entry["metrics"] = _spreads([m["test"] for m in members])
        tests = dict.fromkeys(test for m in members for test in m.get("shifted", {}))
        if tests:
            entry["shifted"] = {test: _spreads([m["shifted"][test] for m in members if test in m["shifted"]]) for test in tests}
        table.append(entry)
    return table


def _spreads(measured: Sequence[Mapping[str, Mapping[str, float | None]]]) -> dict[str, dict[str, float | int | None]]:
    values: dict[str, list[float]] = {}
    for every in measured:
        for task, metrics in every.items():
            for key, value in metrics.items():
                if value is not None and key != "n":
                    values.setdefault(f"{task}/{key}", []).append(value)
    return {name: spread(some) for name, some in values.items()}


def spread(values: Sequence[float]) -> dict[str, float | int | None]:
    """Return mean, sample standard deviation (None of one value) and n."""
    sd = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": math.fsum(values) / len(values), "sd": sd, "n": len(values)}


@dataclasses.dataclass(frozen=True, order=True)
class Column:
    """One thing that variants are compared in.

    Attributes:
        set: Entry of the axis ``sets``, or "".
        fraction: Of the training rows.
        test: `OWN_TEST`, or the name of a further test set.
        task: Head.
        metric: Its main metric.
    """

    set: str
    fraction: float
    test: str
    task: str
    metric: str

    @property
    def title(self) -> str:
        """Short name, for tables."""
        parts = [self.set, self.task, *([f"on {self.test}"] if self.test != OWN_TEST else [])]
        return " ".join(p for p in parts if p) + (f", {self.fraction:.3g} of labels" if self.fraction != 1 else "")


Values = dict[Column, dict[str, dict[int, float]]]
"""Column to variant to seed to quality, higher is better."""


def main_values(cells: Sequence[Mapping[str, Any]], metrics: Mapping[str, str]) -> Values:
    """Return every task's main metric, by column, variant and seed; what is undefined (null) is left out.

    Args:
        cells: With ``kinds``, task to its kind.
        metrics: Kind of task to its main metric.
    """
    values: Values = {}
    for cell in cells:
        for test, measured in {OWN_TEST: cell["test"], **cell.get("shifted", {})}.items():
            for task, found in measured.items():
                metric = metrics[cell["kinds"][task]]
                if found.get(metric) is not None:
                    column = Column(cell.get("set") or "", cell["fraction"], test, task, metric)
                    values.setdefault(column, {}).setdefault(cell["variant"], {})[cell["seed"]] = found[metric]
    return values


def compare(values: Values, baseline: str) -> list[dict[str, Any]]:
    """Test every variant against the baseline in every column.

    Welch's t-test of the seeds' values, and two tests paired by seed (one seed draws the same training rows for all variants): Student's
    and Wilcoxon's. Each of the three kinds is corrected by Holm over one family: all variants in all columns of the benchmark.

    Returns:
        One entry a comparison: the column's fields, ``variant``, ``difference`` of the means, ``n`` (pairs), and for ``welch``,
        ``paired`` and ``wilcoxon`` the ``p`` and the corrected ``p_holm``; ``smallest_wilcoxon_p`` that n pairs can give at all.
    """
    found = []
    for column, variant, own, base in _against(values, baseline):
        seeds = sorted(own.keys() & base.keys())
        pairs = [own[s] for s in seeds], [base[s] for s in seeds]
        tests = {
            "welch": welch_t_test(list(own.values()), list(base.values())),
            "paired": paired_t_test(*pairs),
            "wilcoxon": wilcoxon(*pairs),
        }
        found.append((column, variant, len(seeds), tests))
    families = {kind: holm([tests[kind].p for *_, tests in found]) for kind in ("welch", "paired", "wilcoxon")}
    return [
        {
            **dataclasses.asdict(column),
            "variant": variant,
            "difference": tests["welch"].difference,
            "n": n,
            **{kind: {"p": tests[kind].p, "p_holm": families[kind][i]} for kind in families},
            "smallest_wilcoxon_p": smallest_wilcoxon_p(n) if n else None,
        }
        for i, (column, variant, n, tests) in enumerate(found)
    ]


def _against(values: Values, baseline: str) -> Iterator[tuple[Column, str, dict[int, float], dict[int, float]]]:
    for column, variants in values.items():
        if baseline in variants:
            for variant, own in variants.items():
                if variant != baseline:
                    yield column, variant, own, variants[baseline]
