"""Checklist items about the data: what a run knows of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from umsrep.tasks.evaluation import page_text as text
from umsrep.tasks.evaluation.checklist_sources import Answer, Fill, Sources
from umsrep.tasks.evaluation.page_facts import verdict
from umsrep.zoo.input_contract import InputContract


def _evaluated_on(s: Sources) -> str:
    data = s.review["data"]
    return (
        f"Evaluated on {data['path']}, split {data['split']}: {data['n']:,} rows of {data['patients']:,} patients "
        f"(table sha256 {data['fingerprint'][:12]}...)."
    )


def _trained_on(s: Sources) -> str:
    if s.config is not None:
        sets = "; ".join(f"{one['path']} (column {one.get('split_column') or 'split'})" for one in s.config["data"])
        return f"Trained on {sets}."
    known = s.section("Pretraining data")
    return f"Training, as the model's card says: {known}" if known else ""


def _trained_on_short(s: Sources) -> str:
    """Name the training sets only; the first item about them says the rest."""
    sets = s.metadata.get("datasets")
    if s.config is None and isinstance(sets, list) and sets:
        return f"Trained on {', '.join(map(str, sets))}, as the model's card says."
    return _trained_on(s)


def _data_sources(s: Sources) -> Answer:
    trained = _trained_on(s)
    missing = "how and why these data were collected, whom they represent" + ("" if trained else ", the training data")
    return Answer(f"{_evaluated_on(s)} {trained}".strip(), missing)


def _centres(s: Sources) -> Answer | None:
    sites = s.review["data"]["sites"]
    if not sites:
        return None
    named = ", ".join(f"{text.group_name(site)} ({n:,} rows)" for site, n in sites.items())
    return Answer(f"Evaluation data by column site: {named}.", "the setting and the place of the centres")


def _preprocessing(s: Sources) -> Answer:
    rules = "; ".join(InputContract.from_dict(s.review["model"]["contract"]).describe())
    return Answer(f"Every image passes the model's input contract: {rules}.", "what was done to the images before, and checks of quality")


def _scaling(s: Sources) -> Answer:
    return Answer("Predictors are pixels; " + "; ".join(InputContract.from_dict(s.review["model"]["contract"]).describe()) + ".")


def _outcome(s: Sources) -> Answer:
    parts = []
    for name, task in s.tasks.items():
        if task["kind"] == "classification":
            column = text.group_name(task["target"].get("column") or "label")
            renamed = ", ".join(f"{a} as {b}" for a, b in (task["target"].get("map") or {}).items())
            parts.append(f"{name}: column {column}, classes {', '.join(task['classes'])}" + (f" ({renamed})" if renamed else ""))
        elif task["kind"] == "segmentation":
            parts.append(f"{name}: masks of {', '.join(task['classes'])}")
        else:
            settings = s.review["settings"]
            parts.append(f"{name}: the image before {settings['noise']} noise of level {settings['level']:g} of 255 was added to it")
    return Answer("; ".join(parts) + ".", "how, when and by whom labels and masks were made")


def _predictors(s: Sources) -> Answer:
    modality = s.review["model"].get("modality")
    kind = f" of modality {modality}" if modality else ""
    return Answer(f"The only predictor is the image{kind}; no clinical variable enters.", "how the images were acquired")


def _sample_size(s: Sources) -> Answer:
    parts = [f"{name}: {task['n']:,} rows, {task['patients']:,} patients{_events(task)}" for name, task in s.tasks.items()]
    return Answer(
        "All annotated rows of the split were used. " + "; ".join(parts) + ". The widths of the intervals show what this size can tell.",
        "a calculation of the size before the study",
    )


def _events(task: Mapping[str, Any]) -> str:
    counts: dict[str, int] = {}
    for record in task["records"] if task["kind"] == "classification" else ():
        truth = record["truth"]
        for name in [k for k, v in truth.items() if v] if isinstance(truth, Mapping) else [truth]:
            counts[name] = counts.get(name, 0) + 1
    ordered = [name for name in task["classes"] if name in counts]
    return f" ({', '.join(f'{name} {counts[name]:,}' for name in ordered)})" if counts else ""


def _missing_data(s: Sources) -> Answer:
    data = s.review["data"]
    parts = [f"{name}: {data['n'] - task['n']:,} of {data['n']:,} rows are not annotated and left out" for name, task in s.tasks.items()]
    columns: dict[str, int] = {}
    for task in s.tasks.values():
        for table in task["subgroups"]:
            columns[text.group_name(table["column"])] = table["missing"]
    parts += [f"column {name}: {n:,} rows without a value, shown as a group" for name, n in columns.items()]
    parts.append(f"{data['rows_without_patient']:,} rows without a patient, each counted as one of its own")
    return Answer("; ".join(parts) + ". Nothing was imputed.", "why these are missing")


def _partitions(s: Sources) -> Answer:
    data = s.review["data"]
    line = f"Rows were assigned by column {data['split_column']} of the data's table, which umsrep read as it is."
    trained = _trained_on_short(s)
    if trained:
        line += f" {trained}"
    return Answer(line, "how that column came about" + ("" if trained else "; the training data"))


def _disjoint(s: Sources) -> Answer:
    data = s.review["data"]
    unknown = data["rows_without_patient"]
    shared = (s.review.get("calibration_data") or {}).get("shared_patients")
    line = "By patient within a data set: training on a table that has a patient in two splits is refused."
    if shared is not None:
        line += f" {shared:,} patients of the evaluated rows are also in the calibration rows."
    rest = f"whether the {unknown:,} rows without patient_id are of patients in other splits" if unknown else ""
    return Answer(line, rest or "whether patients of the training sets are in this one, where it is another set")


def _train_against_test(s: Sources) -> Answer | None:
    trained = _trained_on_short(s)
    if not trained:
        return None
    same = _same_table(s)
    line = (
        " Its table is one of those trained on (same sha256)."
        if same
        else " Its table is none of those trained on."
        if same is False
        else ""
    )
    return Answer(f"{trained} {_evaluated_on(s)}{line}", "differences of setting, eligibility, outcome and acquisition")


def _same_table(s: Sources) -> bool | None:
    known = (s.environment or {}).get("data")
    return None if not isinstance(known, Mapping) else s.review["data"]["fingerprint"] in known.values()


def _internal(s: Sources) -> Answer | None:
    same = _same_table(s)
    if same:
        return Answer(f"Split {s.review['data']['split']} of a table that the model was trained on. {verdict(s.review)}")
    return None


def _external(s: Sources) -> Answer | None:
    if _same_table(s) is False:
        return Answer(f"The table is none of those trained on. {verdict(s.review)}", "whether patients or sites are the same nevertheless")
    return None


def _selection(s: Sources) -> Answer:
    data = s.review["data"]
    return Answer(
        f"All rows of split {data['split']}; whole images, brought to the model's size.", "whether images were selected or cut before"
    )


def _flow(s: Sources) -> Answer:
    data = s.review["data"]
    parts = [f"{name} {task['n']:,} annotated{_events(task)}" for name, task in s.tasks.items()]
    return Answer(f"{data['n']:,} rows of {data['patients']:,} patients in the split; {'; '.join(parts)}.", "the flow before the data set")


def _characteristics(s: Sources) -> Answer | None:
    lines = []
    for name, task in s.tasks.items():
        for table in [*task["subgroups"], *([task["sites"]] if task.get("sites") else [])]:
            groups = ", ".join(f"{text.group_name(g['value'])} {g['n']:,}" for g in table["groups"])
            lines.append(f"{text.group_name(table['column'])} ({name}): {groups}")
    if not lines:
        return None
    return Answer("; ".join(lines) + ".", "dates, further demographics and clinical features, and those of the training data")


def _analysed(s: Sources) -> Answer:
    answer = _sample_size(s)
    calibration = s.review.get("calibration_data")
    more = f" Calibration: {calibration['n']:,} rows of {calibration['patients']:,} patients." if calibration else ""
    return Answer(answer.text.partition(" The widths")[0] + more, "numbers of the training rows" if s.config is None else "")


DATA: dict[str, dict[str, Fill]] = {
    "TRIPOD+AI": {
        "5a": _data_sources,
        "6a": _centres,
        "7": _preprocessing,
        "8a": _outcome,
        "9a": _predictors,
        "9b": _predictors,
        "10": _sample_size,
        "11": _missing_data,
        "12a": _partitions,
        "12b": _scaling,
        "16": _train_against_test,
        "20a": _flow,
        "20b": _characteristics,
        "20c": _train_against_test,
        "21": _analysed,
    },
    "CLAIM 2024": {
        "7": _data_sources,
        "9": _preprocessing,
        "10": _selection,
        "12": _missing_data,
        "14": _outcome,
        "19": _partitions,
        "20": _disjoint,
        "21": _sample_size,
        "32": _internal,
        "33": _external,
        "35": _flow,
        "36": _characteristics,
    },
}
"""Guideline's name to the number of an item to what answers it, for items about data."""
