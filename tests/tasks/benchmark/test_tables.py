"""Tables: the same numbers in Markdown and LaTeX, with what the marks mean."""

from __future__ import annotations

from tests.tasks.benchmark.grids import cell
from tests.tasks.benchmark.test_summary import A, B
from umsrep.tasks.benchmark.grid import MAIN_METRICS
from umsrep.tasks.benchmark.summary import compare, main_values
from umsrep.tasks.benchmark.tables import cell_text, latex, markdown

CELLS = [cell(name, v, seed=s) for name, some in (("base_line", A), ("b", B)) for s, v in enumerate(some)]
VALUES = main_values([*CELLS, cell("b", 0.5, set="us")], MAIN_METRICS)


def test_markdown() -> None:
    text = markdown(VALUES, compare(VALUES, "base_line/full"), "base_line/full")
    lines = text.splitlines()
    assert lines[0] == "| | cxr lesion: AUROC | us lesion: AUROC |"
    assert lines[2] == "| base_line/full (baseline) | **81.67 ± 1.63 (6)** |  |"
    assert lines[3] == "| b/full | 71.83 ± 1.94 (6) -w | **50.00 (1)** |"
    assert "family of all 1 comparisons" in text
    assert "| b/full | cxr lesion: AUROC | -9.83 | 6 | <.001 (<.001) | <.001 (<.001) | .031 (.031), .031 |" in lines
    assert "±" in markdown(VALUES, [], None)
    assert "family" not in markdown(VALUES, [], None)


def test_latex() -> None:
    text = latex(VALUES, compare(VALUES, "base_line/full"), "base_line/full")
    assert r"base\_line/full & \textbf{81.67 $\pm$ 1.63 (6)} & -- \\" in text
    assert r"b/full & 71.83 $\pm$ 1.94 (6)$^{-w}$ & \textbf{50.00 (1)} \\" in text
    assert text.count(r"\begin{tabular}{lrr}") == text.count(r"\end{tabular}") == 1
    assert text.count(r"\\") == 3


def test_names_and_signs_are_text_in_latex() -> None:
    odd = main_values([cell("a", 0.5, shifted={r"x\y^2~|": {"lesion": {"n": 1.0, "auroc": 0.5}}})], MAIN_METRICS)
    assert r"cxr lesion on x\textbackslash{}y\textasciicircum{}2\textasciitilde{}$|$: AUROC" in latex(odd, [], None)
    assert r"x\y^2~\|: AUROC |" in markdown(odd, [], None), "no further column"
    assert "at p $<$ .05" in latex(VALUES, compare(VALUES, "base_line/full"), "base_line/full")


def test_what_is_certain_or_undefined() -> None:
    columns = compare(VALUES, "base_line/full")
    columns[0]["welch"]["p_holm"] = 0.0
    assert "71.83 ± 1.94 (6) -w" in markdown(VALUES, columns, "base_line/full"), "0 is below .05 too"
    one = main_values([cell("a", 0.5), cell("b", 0.6)], MAIN_METRICS)
    assert "all 1 comparisons of this benchmark that have a p-value (0 by Welch's test, 1 by Wilcoxon's)." in markdown(
        one, compare(one, "a/full"), "a/full"
    )


def test_units() -> None:
    assert cell_text([0.5, 0.75], "dice") == "62.50 ± 17.68 (2)"
    assert cell_text([3.14159], "psnr_gain") == "3.14 (1)"
    assert cell_text([0.25], "hd95") == "0.2500 (1)"
