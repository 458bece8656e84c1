"""Pictures of a choice, as SVG in a light and a dark form."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any

from umsrep.tasks.choose.choice import CONSENSUS, Choice, TaskChoice, columns_of
from umsrep.tasks.choose.scores import LABELS
from umsrep.tasks.choose.truth import Study

_INKS = {"light": "#1b2733", "dark": "#e6edf3"}
_MARKS = {"light": "#0072b2", "dark": "#56b4e9"}
_WIDTH = 10.5


def both(draw: Callable[[Any, str, str], None], width: float, height: float) -> dict[str, str]:
    """Draw a figure twice; returns ``light`` and ``dark`` as data addresses. ``draw`` gets the figure, the ink and the colour of marks."""
    import matplotlib  # half a second that only those who draw shall pay
    from matplotlib.figure import Figure

    found = {}
    for mode in _INKS:
        ink = _INKS[mode]
        style: Any = {  # its stubs know no mix of texts, numbers and truth values
            **{f"{part}.color": ink for part in ("text", "xtick", "ytick")},
            **{"axes.edgecolor": ink, "axes.labelcolor": ink, "font.size": 9, "svg.fonttype": "path", "svg.hashsalt": "umsrep"},
            **{"axes.spines.top": False, "axes.spines.right": False, "axes.facecolor": "none", "figure.facecolor": "none"},
        }
        with matplotlib.rc_context(style):
            figure = Figure(figsize=(width, height), layout="constrained")
            draw(figure, ink, _MARKS[mode])
            memory = io.BytesIO()
            figure.savefig(memory, format="svg", metadata={"Date": None}, transparent=True)
        found[mode] = "data:image/svg+xml;base64," + base64.b64encode(memory.getvalue()).decode()
    return found


def scores_picture(task: TaskChoice) -> dict[str, str]:
    """Draw every score of a task, one panel each with its own scale: encoders from the best, dots with their intervals."""
    names = [CONSENSUS, *columns_of(task)] if task.basis == CONSENSUS else columns_of(task)
    names = [name for name in names if name == CONSENSUS or task.scores.get(name)]
    ordered = task.order()
    columns = min(5, len(names))
    lines = -(-len(names) // columns)

    def draw(figure: Any, ink: str, mark: str) -> None:
        axes = figure.subplots(lines, columns, squeeze=False, sharey=True)
        for spare in axes.flat[len(names) :]:
            spare.axis("off")
        for axis, name in zip(axes.flat, names, strict=False):
            table = task.ranking if name == CONSENSUS else task.scores[name]
            sign = -1 if name == CONSENSUS else 1e-6 if name == "parameters" else 1
            for row, encoder in enumerate(ordered):
                if encoder not in table:
                    axis.text(0.5, row, "none", transform=axis.get_yaxis_transform(), ha="center", va="center", color=ink, alpha=0.6)
                    continue
                place = table[encoder]
                first = place.rank == 1
                if place.interval is not None:
                    axis.plot(
                        [sign * end for end in place.interval], [row, row], color=mark, linewidth=2, alpha=0.55, solid_capstyle="round"
                    )
                axis.plot(
                    sign * place.value, row, "o", markersize=6, color=mark, markerfacecolor=mark if first else "none", markeredgewidth=1.4
                )
            if name == CONSENSUS:
                axis.invert_xaxis()  # as everywhere: better to the right
            axis.set_title({CONSENSUS: "mean rank", "parameters": "parameters (M)"}.get(name, LABELS.get(name, name)), fontsize=9.5)
            axis.grid(axis="x", color=ink, alpha=0.15)
            axis.set_axisbelow(True)
        for axis in axes[:, 0]:
            axis.set_yticks(range(len(ordered)), ordered)
            axis.set_ylim(len(ordered) - 0.5, -0.5)

    return both(draw, _WIDTH, lines * (0.75 + 0.3 * len(ordered)))


def cost_picture(choice: Choice) -> dict[str, str]:
    """Draw the combined mean rank over the milliseconds of an image, the area of a dot by parameters."""
    facts = {one.name: one for one in choice.encoders}

    def draw(figure: Any, ink: str, mark: str) -> None:
        axis = figure.subplots()
        most = max(one.cost.parameters for one in facts.values())
        times = [one.cost.milliseconds[16] for one in facts.values()]
        middle = (min(times) + max(times)) / 2
        for number, (name, place) in enumerate(sorted(choice.combined.items(), key=lambda item: facts[item[0]].cost.milliseconds[16])):
            cost = facts[name].cost
            x, y = cost.milliseconds[16], -place.value
            if place.interval is not None:
                axis.plot([x, x], [-end for end in place.interval], color=mark, linewidth=2, alpha=0.4)
            axis.scatter(x, y, s=30 + 220 * cost.parameters / most, color=mark, alpha=0.8, edgecolor=ink, linewidth=0.6)
            left, above = x > middle, number % 2 == 0  # names stay inside, and neighbours' apart
            axis.annotate(
                name,
                (x, y),
                xytext=(-10 if left else 10, 7 if above else -13),
                textcoords="offset points",
                ha="right" if left else "left",
                color=ink,
                fontsize=8.5,
            )
        axis.invert_yaxis()
        axis.margins(x=0.15, y=0.2)
        axis.set_xlabel("milliseconds an image, batch 16")
        axis.set_ylabel("mean rank over the tasks (1 is best)")
        axis.grid(color=ink, alpha=0.12)

    return both(draw, 7.2, 4.0)


def truth_picture(studies: list[Study], kind: str) -> dict[str, str] | None:
    """Draw Kendall's tau of each score in each study of a kind, with intervals; None without studies."""
    some = [study for study in studies if study.kind == kind]
    if not some:
        return None
    names = sorted({n for s in some for n in s.scores}, key=lambda n: sum(s.scores[n].tau for s in some if n in s.scores) / len(some))

    def draw(figure: Any, ink: str, mark: str) -> None:
        axis = figure.subplots()
        axis.axvline(0, color=ink, linewidth=0.8, alpha=0.6)
        for row, name in enumerate(names):
            held = [study.scores[name] for study in some if name in study.scores]
            for number, one in enumerate(held):
                y = row + 0.5 * ((number + 0.5) / len(held) - 0.5)
                if one.tau_interval is not None:
                    axis.plot(one.tau_interval, [y, y], color=mark, alpha=0.45, linewidth=1.6)
                axis.plot(one.tau, y, "o", color=mark, markersize=4.5)
        axis.set_yticks(range(len(names)), [LABELS.get(name, name) for name in names])
        axis.set_xlim(-1.05, 1.05)
        axis.set_xlabel("Kendall's tau with the fine-tuned quality, a dot a study (1: the same order, 0: none, -1: the reverse)")

    return both(draw, 7.2, 1.0 + 0.32 * len(names))
