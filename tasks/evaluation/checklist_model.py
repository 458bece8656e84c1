"""Checklist items about the model and its training: what a run knows of them."""

from __future__ import annotations

from typing import Any

from umsrep.tasks.evaluation import page_text as text
from umsrep.tasks.evaluation.checklist_sources import Answer, Fill, Sources


def _model_kind(s: Sources) -> Answer:
    model = s.review["model"]
    heads = ", ".join(f"{name} ({head['kind']})" for name, head in model["heads"].items())
    line = f"Deep learning: one shared encoder, {model['arch']}, with the heads {heads}; evaluated on {s.review['data']['path']}."
    return Answer(line, "the target population; the title itself")


def _specification(s: Sources) -> Answer:
    model = s.review["model"]
    heads = "; ".join(
        f"{name}: {head['kind']}, " + ", ".join(f"{k} {_argument(v)}" for k, v in head["args"].items())
        if head["args"]
        else f"{name}: {head['kind']}"
        for name, head in model["heads"].items()
    )
    weights = ", ".join(f"{file} {digest[:12]}..." for file, digest in (model.get("sha256") or {}).items())
    size = f", {model['parameters']:,} parameters" if model.get("parameters") else ""
    files = f" Weights by sha256: {weights}." if weights else ""
    return Answer(
        f"{model['arch']}{size}; {heads}. The model folder (config.json, safetensors) is the whole model: umsrep and timm open it.{files}",
        "" if weights else "the checksums of the weights",
    )


def _argument(value: Any) -> str:
    return ", ".join(map(_argument, value)) if isinstance(value, list) else f"{value:.4g}" if isinstance(value, float) else str(value)


def availability_model(s: Sources) -> Answer:
    """Say what the model is and under which licence."""
    answer = _specification(s)
    licence = s.metadata.get("license")
    if licence in (None, "unknown"):
        return Answer(answer.text, "where the weights can be had, and under which licence")
    return Answer(f"{answer.text} Licence of the weights: {licence}.", "where the weights can be had")


def _training(s: Sources) -> Answer | None:
    if s.config is None:
        known = s.section("Pretraining data")
        return Answer(f"As the model's card says: {known}", "settings that the card does not name") if known else None
    c = s.config
    optimiser = ", ".join(f"{k} {v}" for k, v in c["optimiser"].items())
    augment = ", ".join(f"{k} {v}" for k, v in c["augment"].items() if v)
    return Answer(
        f"Heads trained jointly, strategy {c['strategy']}, {c['epochs']} epochs, batches of {c['batch_size']}; AdamW with {optimiser}; "
        f"weights averaged with decay {c['ema']}; augmentation {augment or 'none'}; precision {c['precision']}; seed {c['seed']}. "
        "All settings are in config.yaml."
    )


def _building(s: Sources) -> Answer | None:
    trained, selected = _training(s), _chosen(s)
    if trained is None:
        return None
    kind = s.review["model"]["arch"]
    line = f"{kind}. Training: see the card or item 25 of CLAIM." + (f" {selected.text}" if selected else "")
    return Answer(line, "why this kind of model; tuning of settings by hand, and on which data")


def _chosen(s: Sources) -> Answer | None:
    if s.config is None:
        return None
    stopping = s.config["early_stopping"]
    what = "mean over heads of AUROC, Dice and PSNR gain / 20 dB" if stopping["metric"] == "mean" else stopping["metric"]
    return Answer(f"The epoch with the best {what} on the validation split.")


def _start(s: Sources) -> Answer | None:
    if s.config is None:
        base = s.metadata.get("base_model")
        return Answer(f"Weights started from {base}, as the model's card says.") if base else None
    encoder = s.config["encoder"]
    if encoder.get("name"):
        return Answer(f"The encoder started from {encoder['name']}; new heads from random weights (seed {s.config['seed']}).")
    if encoder.get("weights"):
        return Answer(f"The encoder started from the file {encoder['weights']}; heads from random weights.", "where that file comes from")
    return Answer(f"Random weights, seed {s.config['seed']}.")


def _ensembles(s: Sources) -> Answer:
    averaged = f" Its weights are a moving average over training (decay {s.config['ema']})." if s.config and s.config["ema"] else ""
    return Answer(f"None: one model.{averaged}")


def _software(s: Sources) -> Answer:
    versions = ", ".join(f"{k} {v}" for k, v in s.review["versions"].items() if v)
    line = f"Evaluation: umsrep {s.review['umsrep']}, {versions}."
    if s.environment:
        e = s.environment
        then = ", ".join(f"{k} {v}" for k, v in (e.get("versions") or {}).items() if v)
        line += f" Training: {then}, Python {e.get('python')}, on {e.get('device')}, {e.get('world_size')} process(es)."
    return Answer(line, "" if s.environment else "the versions that the model was trained with")


def _imbalance(s: Sources) -> Answer | None:
    if s.config is None:
        return None
    weighted = {name: task.get("class_weights") for name, task in s.config["tasks"].items() if task.get("class_weights")}
    line = "Class weights: " + (", ".join(f"{name} {value}" for name, value in weighted.items()) if weighted else "none") + "."
    sampling = s.config["sampling"]
    line += f" Sampling: exponent {sampling} on the number of rows of each kind of annotation" + (" (all alike)." if sampling == 1 else ".")
    return Answer(line)


def _output(s: Sources) -> Answer:
    parts = []
    for name, task in s.tasks.items():
        if task["kind"] == "classification":
            where = task.get("threshold")
            at = text.number(where) if isinstance(where, float) else ", ".join(f"{k} {text.number(v)}" for k, v in (where or {}).items())
            parts.append(f"{name}: a probability a class; " + (f"threshold {at}" if at else "the most probable class"))
        else:
            parts.append(f"{name}: " + ("a class a pixel" if task["kind"] == "segmentation" else "the denoised image"))
    rest = "how the thresholds were found"
    if s.config is not None:
        return Answer("; ".join(parts) + ". Thresholds maximise balanced accuracy on the run's validation rows.")
    return Answer("; ".join(parts) + ".", rest if any(t.get("threshold") is not None for t in s.tasks.values()) else "")


def _predictions(s: Sources) -> Answer:
    data = s.review["data"]
    return Answer(
        f"umsrep evaluate MODEL {data['path']} --split {data['split']} --review DIR: one forward a row, at the model's input size."
    )


MODEL: dict[str, dict[str, Fill]] = {
    "TRIPOD+AI": {
        "1": _model_kind,
        "12c": _building,
        "12g": _predictions,
        "13": _imbalance,
        "15": _output,
        "22": availability_model,
    },
    "CLAIM 2024": {
        "1": _model_kind,
        "22": _specification,
        "23": _software,
        "24": _start,
        "25": _training,
        "26": _chosen,
        "27": _ensembles,
    },
}
"""The same for items about the model and its training."""
