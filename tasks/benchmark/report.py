"""From results.json to what people read: tables, tests and pictures."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from umsrep.errors import InputError
from umsrep.tasks.benchmark.figures import draw_compute, draw_critical_difference, rank_variants
from umsrep.tasks.benchmark.summary import compare, main_values
from umsrep.tasks.benchmark.tables import latex, markdown
from umsrep.tasks.runfolder import plain


def write_report(results: Mapping[str, Any], out: Path, baseline: str | None = None) -> dict[str, Any]:
    """Write table.md, table.tex, comparisons.json, compute.png and, where there is something to rank, critical_difference.png.

    Args:
        results: As `run_benchmark` returns them and results.json holds them.
        out: Folder.
        baseline: The variant that the others are tested against; None compares nothing.

    Returns:
        JSON values: ``comparisons`` (see `compare`), ``family`` (their number), ``ranks`` (variant to mean rank, with ``p`` of Friedman's
        test, the ``critical_difference`` and ``blocks``; or null) and ``files``.
    """
    values = main_values(results["cells"], results["metrics"])
    if not values:
        raise InputError("no cell is done yet that measured anything on test rows")
    comparisons = compare(values, baseline) if baseline is not None else []
    ranked = rank_variants(values)
    ranks = None
    if ranked is not None:
        names, test = ranked
        ranks = {**dataclasses.asdict(test), "ranks": dict(zip(names, test.ranks, strict=True))}
    found: dict[str, Any] = plain({"baseline": baseline, "family": len(comparisons), "comparisons": comparisons, "ranks": ranks})
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "table.md").write_text(markdown(values, found["comparisons"], baseline), encoding="utf-8")
        (out / "table.tex").write_text(latex(values, found["comparisons"], baseline), encoding="utf-8")
        (out / "comparisons.json").write_text(json.dumps(found, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        draw_compute(results["cells"], values, out / "compute.png")
        drawn = draw_critical_difference(values, out / "critical_difference.png")
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror})") from error
    files = ["table.md", "table.tex", "comparisons.json", "compute.png", *(["critical_difference.png"] if drawn else [])]
    return found | {"files": [str(out / name) for name in files]}
