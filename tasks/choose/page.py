"""A choice as one HTML page that needs nothing else; all text is escaped."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from umsrep.tasks.choose import table
from umsrep.tasks.choose.choice import Choice
from umsrep.tasks.choose.plots import cost_picture, scores_picture, truth_picture
from umsrep.tasks.choose.truth import Study


def render(choice: Choice, studies: list[Study]) -> str:
    """Make the page.

    Args:
        choice: From `umsrep.tasks.choose.choose`.
        studies: From `umsrep.tasks.choose.truth.load_truth`.

    Returns:
        HTML; no script, no address of another file.
    """
    from umsrep import __version__

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_visible
    )
    template = environment.from_string(resources.files("umsrep.tasks.choose").joinpath("page.html").read_text(encoding="utf-8"))
    kinds = list(dict.fromkeys(task.kind for task in choice.tasks))
    return template.render(
        choice=choice,
        version=__version__,
        title=Path(choice.data).name or choice.data,
        combined=table.combined_rows(choice),
        cost=cost_picture(choice),
        cards=table.card_lines(choice),
        tasks=[
            {
                "task": task,
                "table": table.score_rows(task, interval=True),
                "picture": scores_picture(task),
                "basis": table.basis_text(task),
                "baselines": table.size_text(task),
            }
            for task in choice.tasks
        ],
        truths=[
            {"kind": kind, "lines": next(t.truth for t in choice.tasks if t.kind == kind), "picture": truth_picture(studies, kind)}
            for kind in kinds
        ],
        budget=None if choice.budget is None else {"rounds": table.round_rows(choice), "regrets": table.budget_rows(choice)},
    )


def _visible(value: Any) -> Any:
    """Replace what steers a terminal or turns the direction of text by question marks, which HTML's own escapes do not."""
    if isinstance(value, Markup):  # what a macro made of values that came through here
        return value
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in value) if isinstance(value, str) else value
