"""Tables of a benchmark for papers and for reading: Markdown and LaTeX, of the same numbers as results.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from umsrep.tasks.benchmark.summary import Column, Values, spread

SHOWN = {
    "auroc": ("AUROC", 100, 2),
    "balanced_accuracy": ("balanced accuracy", 100, 2),
    "accuracy": ("accuracy", 100, 2),
    "f1": ("F1", 100, 2),
    "dice": ("Dice", 100, 2),
    "iou": ("IoU", 100, 2),
    "psnr_gain": ("PSNR gain (dB)", 1, 2),
    "psnr": ("PSNR (dB)", 1, 2),
    "ssim": ("SSIM", 1, 4),
}
"""Metric to its name, factor (fractions are printed in percent) and decimals; others are printed as they are, to four decimals."""


def shown(metric: str) -> tuple[str, int, int]:
    """Return name, factor and decimals of a metric."""
    return SHOWN.get(metric, (metric, 1, 4))


def cell_text(values: Sequence[float], metric: str, *, plus_minus: str = "±") -> str:
    """Return "mean ± sd (n)" in the units of print; without sd where n is 1."""
    _, factor, decimals = shown(metric)
    found = spread([v * factor for v in values])
    assert found["mean"] is not None
    sd = "" if found["sd"] is None else f" {plus_minus} {found['sd']:.{decimals}f}"
    return f"{found['mean']:.{decimals}f}{sd} ({found['n']})"


def rows_of(values: Values, comparisons: Sequence[Mapping[str, Any]], *, level: float = 0.05) -> tuple[list[Column], dict[str, list[Any]]]:
    """Return the columns, and for each variant one entry a column: (seeds' values, best, marks), or None where it has none.

    ``marks`` holds "+" (better than the baseline) or "-" (worse) where Welch's corrected p is below ``level``, then "w" where that of
    Wilcoxon's test is.
    """
    columns = list(values)
    signs = {}
    for c in comparisons:
        sign = "+" if c["difference"] > 0 else "-"
        small = {kind: (p := c[kind]["p_holm"]) is not None and p < level for kind in ("welch", "wilcoxon")}
        marks = (sign if small["welch"] else "") + ("w" if small["wilcoxon"] else "")
        signs[(c["variant"], c["set"], c["fraction"], c["test"], c["task"])] = marks
    rows: dict[str, list[Any]] = {}
    for variant in dict.fromkeys(v for column in values.values() for v in column):
        rows[variant] = []
        for column in columns:
            own = values[column].get(variant)
            if own is None:
                rows[variant].append(None)
                continue
            means = {v: sum(s.values()) / len(s) for v, s in values[column].items()}
            key = (variant, column.set, column.fraction, column.test, column.task)
            rows[variant].append((list(own.values()), means[variant] == max(means.values()), signs.get(key, "")))
    return columns, rows


def markdown(values: Values, comparisons: Sequence[Mapping[str, Any]], baseline: str | None) -> str:
    """Return the table of all variants and columns, and one of the tests, as Markdown."""
    columns, rows = rows_of(values, comparisons)
    lines = ["| | " + " | ".join(_head(c) for c in columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for variant, entries in rows.items():
        texts = []
        for column, entry in zip(columns, entries, strict=True):
            text = "" if entry is None else cell_text(entry[0], column.metric)
            texts.append("" if entry is None else f"{f'**{text}**' if entry[1] else text}{' ' + entry[2] if entry[2] else ''}")
        lines.append(f"| {variant}{' (baseline)' if variant == baseline else ''} | " + " | ".join(texts) + " |")
    lines += ["", legend(comparisons, baseline)]
    if comparisons:
        lines += [
            "",
            f"| against {baseline} | in | difference | pairs | Welch p (Holm) | paired t p (Holm) | Wilcoxon p (Holm), smallest possible |",
            "|---|---|---|---|---|---|---|",
        ]
        for c in comparisons:
            column = Column(*(c[k] for k in ("set", "fraction", "test", "task", "metric")))
            _, factor, decimals = shown(c["metric"])
            lines.append(
                f"| {c['variant']} | {_head(column)} | {c['difference'] * factor:+.{decimals}f} | {c['n']} | {_p(c['welch'])} | "
                f"{_p(c['paired'])} | {_p(c['wilcoxon'])}, {_number(c['smallest_wilcoxon_p'])} |"
            )
    return "\n".join(lines) + "\n"


def _head(column: Column) -> str:
    return f"{column.title}: {shown(column.metric)[0]}".replace("|", "\\|")


def legend(comparisons: Sequence[Mapping[str, Any]], baseline: str | None) -> str:
    """Return what the table's entries and marks mean, with the family of the correction."""
    text = "Mean ± standard deviation over seeds (number of seeds); fractions in percent; the best mean of a column is bold."
    if not comparisons:
        return text
    welch, signed = (sum((p := c[kind]["p"]) is not None and p == p for c in comparisons) for kind in ("welch", "wilcoxon"))
    return (
        f"{text} Against {baseline}: + better, - worse (Welch's t-test), w (Wilcoxon's signed-rank test, paired by seed), each at p < .05 "
        f"after Holm's correction over the family of all {len(comparisons)} comparisons of this benchmark"
        + ("" if welch == signed == len(comparisons) else f" that have a p-value ({welch} by Welch's test, {signed} by Wilcoxon's)")
        + "."
    )


def latex(values: Values, comparisons: Sequence[Mapping[str, Any]], baseline: str | None) -> str:
    """Return the table of all variants and columns for LaTeX, with booktabs."""
    columns, rows = rows_of(values, comparisons)
    lines = [
        r"% \usepackage{booktabs}",
        r"\begin{table}",
        r"\caption{" + _tex(legend(comparisons, baseline)) + "}",
        r"\begin{tabular}{l" + "r" * len(columns) + "}",
        r"\toprule",
        " & ".join(["", *(_tex(f"{c.title}: {shown(c.metric)[0]}") for c in columns)]) + r" \\",
        r"\midrule",
    ]
    for variant, entries in rows.items():
        texts = [_tex(variant)]
        for column, entry in zip(columns, entries, strict=True):
            text = "--" if entry is None else cell_text(entry[0], column.metric, plus_minus=r"$\pm$")
            bold = rf"\textbf{{{text}}}" if entry is not None and entry[1] else text
            texts.append(bold + (f"$^{{{entry[2]}}}$" if entry is not None and entry[2] else ""))
        lines.append(" & ".join(texts) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]) + "\n"


_TEX = str.maketrans(
    {mark: "\\" + mark for mark in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$", "|": "$|$", "±": r"$\pm$"}
)


def _tex(text: str) -> str:
    return text.translate(_TEX)


def _p(test: Mapping[str, float | None]) -> str:
    return f"{_number(test['p'])} ({_number(test['p_holm'])})"


def _number(p: float | None) -> str:
    return "–" if p is None or p != p else "<.001" if p < 0.001 else f"{p:.3f}".lstrip("0") if p < 1 else "1"
