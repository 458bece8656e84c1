"""Checklist items about the evaluation, its results and what can be shared: what a run knows of them."""

from __future__ import annotations

from umsrep.tasks.evaluation import page_text as text
from umsrep.tasks.evaluation.checklist_model import availability_model
from umsrep.tasks.evaluation.checklist_sources import Answer, Fill, Sources
from umsrep.tasks.evaluation.page_facts import limits, methods, verdict


def _measures(s: Sources) -> Answer:
    parts = [f"{name}: {', '.join(text.label(key) for key in task['metrics'])}" for name, task in s.tasks.items()]
    plots = (
        "Plots: ROC, precision over recall, reliability, decision curve, distributions of scores, forest plots of subgroups, as they apply."
    )
    return Answer("; ".join(parts) + f". {plots}", "why these")


def _uncertainty(s: Sources) -> Answer:
    return Answer(" ".join(methods(s.review)[:-1]))


def _clusters(s: Sources) -> Answer | None:
    lines = []
    for name, task in s.tasks.items():
        table = task.get("sites")
        if not table:
            continue
        spread = table.get("spread", {}).get(task["main"])
        values = ", ".join(
            f"{text.group_name(g['value'])} {text.estimate(g['metrics'].get(task['main']), text.digits(task['main']))}"
            for g in table["groups"]
        )
        more = f"; largest minus smallest {text.number(spread['value'])}" if spread and spread["value"] is not None else ""
        lines.append(f"{name}, {text.label(task['main'])} by site: {values}{more}")
    return Answer("; ".join(lines) + ".") if lines else None


def _fairness(s: Sources) -> Answer | None:
    groups = s.review["settings"]["groups"]
    if not groups:
        return None
    return Answer(
        f"Performance, gaps and intersections by {', '.join(groups)}, with numbers of rows; umsrep does nothing for fairness in training.",
        "why these groups; the sociodemographic groups that no column holds",
    )


def _recalibration(s: Sources) -> Answer:
    fitted = {name: task["temperature"] for name, task in s.tasks.items() if (task.get("temperature") or {}).get("value") is not None}
    if not fitted:
        return Answer("None: the model was evaluated as it is.")
    parts = [f"{name}: temperature {text.number(t['value'])} fitted on split {t['split']} ({t['n']:,} rows)" for name, t in fitted.items()]
    return Answer("; ".join(parts) + ". Reported beside the unchanged model; the folder of the model was not changed.")


def _recalibrated(s: Sources) -> Answer:
    parts = []
    for name, task in s.tasks.items():
        found = task.get("calibration")
        if found and found.get("after"):
            before, after = (text.estimate(found[side].get("ece")) for side in ("before", "after"))
            parts.append(f"{name}: {text.label('ece')} {before} before, {after} after temperature scaling")
    return Answer("; ".join(parts) + ".") if parts else Answer("Nothing was updated.")


def _performance(s: Sources) -> Answer:
    groups = s.review["settings"]["groups"]
    line = verdict(s.review) + (f" Subgroups by {', '.join(groups)} are in the report." if groups else "")
    return Answer(line, "" if groups else "performance in subgroups (--groups)")


def _accuracy(s: Sources) -> Answer:
    keys = ("auroc", "sensitivity", "specificity", "balanced_accuracy", "ppv", "npv")
    parts = []
    for name, task in s.tasks.items():
        if task["kind"] == "classification":
            known = [f"{text.label(k)} {text.estimate(task['metrics'][k])}" for k in keys if k in task["metrics"]]
            parts.append(f"{name}: {', '.join(known)}")
    return Answer("; ".join(parts) + ".") if parts else Answer("Does not apply: no head classifies.")


def _robustness(s: Sources) -> Answer | None:
    shifts = s.review.get("shifts")
    if not shifts:
        return None
    return Answer(
        "Metrics under shifts of the images, by kind and severity: see the report, section Under shift.", "which of them occur in practice"
    )


def _explanations(s: Sources) -> Answer:
    return Answer("umsrep makes none.", "explanations made elsewhere")


def _failures(s: Sources) -> Answer | None:
    gallery = s.review.get("gallery")
    if not gallery:
        return None
    parts = [
        f"{name}: {len(one['worst'])} worst rows as pictures, {len(one['random'])} at random beside them" for name, one in gallery.items()
    ]
    return Answer("; ".join(parts) + ".", "why the model failed there")


def _limitations(s: Sources) -> Answer:
    return Answer(" ".join(limits(s.review)), "what they mean for the conclusions")


def _poor_input(s: Sources) -> Answer:
    return Answer(
        "An image that breaks the input contract (channels, unit, range, finite values) is refused with the rule that it breaks; "
        "quality beyond that is not judged by the contract.",
        "what users are to do with images of poor quality",
    )


def _data_availability(s: Sources) -> Answer:
    data = s.review["data"]
    return Answer(f"Table sha256 {data['fingerprint']} ({data['path']}).", "where the data can be had, and on which terms")


def _code(s: Sources) -> Answer:
    commit = (s.environment or {}).get("git_commit")
    return Answer(
        f"umsrep {s.review['umsrep']}, Apache-2.0" + (f"; trained at commit {commit}" if commit else "") + ".",
        "the address of your own code",
    )


def _availability(s: Sources) -> Answer:
    return Answer(f"{_code(s).text} {availability_model(s).text} {_data_availability(s).text}", "addresses and conditions of access")


EVALUATION: dict[str, dict[str, Fill]] = {
    "TRIPOD+AI": {
        "12d": _clusters,
        "12e": _measures,
        "12f": _recalibration,
        "14": _fairness,
        "18e": _data_availability,
        "18f": _code,
        "23a": _performance,
        "23b": _clusters,
        "24": _recalibrated,
        "26": _limitations,
        "27a": _poor_input,
    },
    "CLAIM 2024": {
        "28": _measures,
        "29": _uncertainty,
        "30": _robustness,
        "31": _explanations,
        "37": _performance,
        "38": _accuracy,
        "39": _failures,
        "40": _limitations,
        "43": _availability,
    },
}
"""The same for items about how the model was evaluated and what came out."""
