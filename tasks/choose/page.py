"""A choice as one HTML page that needs nothing else; all text is escaped."""

from __future__ import annotations

from pathlib import Path

from umsrep.tasks.choose import table
from umsrep.tasks.choose.choice import Choice
from umsrep.tasks.choose.plots import cost_picture, scores_picture, truth_picture
from umsrep.tasks.choose.truth import Study
from umsrep.tasks.web_page import render_page


def render(choice: Choice, studies: list[Study]) -> str:
    """Make the page.

    Args:
        choice: From `umsrep.tasks.choose.choose`.
        studies: From `umsrep.tasks.choose.truth.load_truth`.

    Returns:
        HTML; no script, no address of another file.
    """
    from umsrep import __version__

    kinds = list(dict.fromkeys(task.kind for task in choice.tasks))
    return render_page(
        "umsrep.tasks.choose",
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
