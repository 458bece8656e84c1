"""The sections of a model card: tables of measurements, pyramid, data, cost, and the snippets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from umsrep.zoo.presets import PRESETS
from umsrep.zoo.results import GuardResults, Measurement, Results, metric

NOT_MEASURED = "Not measured."
THIS_MODEL = "this model"
UNDEFINED = "undefined"
VALUE = "value (95 % interval)"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def measurement_tables(rows: Iterable[Measurement]) -> str:
    """Return a table for each head and data set under its `caption`; narrow enough for a terminal, without columns that would be empty."""
    groups: dict[str, list[Measurement]] = {}
    for m in rows:
        groups.setdefault(caption(m.head, m.data, m.split), []).append(m)
    return "\n\n".join(_measurement_table(title, group) for title, group in groups.items())


def caption(head: str, data: str, split: str | None) -> str:
    """Return what stands above a table, before the number of images."""
    return f"**{head}** on {', '.join(filter(None, (data, split)))}"


def _measurement_table(title: str, rows: Sequence[Measurement]) -> str:
    common, kept = measurement_columns(rows)
    return f"{title}{common and f': {common}'}\n\n{table(list(kept), zip(*kept.values(), strict=True))}"


def measurement_columns(rows: Sequence[Measurement]) -> tuple[str, dict[str, list[str]]]:
    """Return on what all rows were measured, empty where that differs, and the columns that are not empty, by their headings."""
    counts = [count_text(m) for m in rows]
    common = counts[0] if len(set(counts)) == 1 else ""
    columns = {
        "metric": [metric(m.metric).label for m in rows],
        "labels": ["" if m.labels is None else f"{100 * m.labels:g} %" for m in rows],
        "mode": [m.mode or "" for m in rows],
        "method": [m.method or THIS_MODEL for m in rows] if any(m.method for m in rows) else [],
        VALUE: [shown(m.metric, m.value, m.interval) for m in rows],
        "sd": ["" if m.sd is None else shown(m.metric, m.sd) for m in rows],
        "seeds": ["" if m.seeds is None else str(m.seeds) for m in rows],
        "this model less that": ["" if m.difference is None else shown(m.metric, m.difference, m.difference_interval) for m in rows],
        "measured on": [] if common else counts,
        "note": [m.note or "" for m in rows],
    }
    return common, {name: cells for name, cells in columns.items() if any(cells)}


def shown(name: str, value: float | None, interval: tuple[float, float] | None = None) -> str:
    """Write a metric's value with the digits it has in tables."""
    if value is None:
        return UNDEFINED
    digits = metric(name).digits
    text = f"{value:.{digits}f}"
    return f"{text} ({interval[0]:.{digits}f} to {interval[1]:.{digits}f})" if interval else text


def count_text(m: Measurement) -> str:
    """Say on how many images and patients a number was measured; empty where that is not known."""
    parts = [(m.images, "image"), (m.patients, "patient")]
    return " of ".join(f"{n:,} {word}{'' if n == 1 else 's'}" for n, word in parts if n is not None)


def features_text(features: Mapping[str, Any]) -> str:
    """Say channels, strides, embedding size and fitting decoders."""
    if not features:
        return "Strides and channels were not recorded; `Encoder.strides` and `Encoder.channels` tell them."
    pyramid = table(
        ("feature map", *(str(i) for i in range(len(features["strides"])))),
        [("stride", *map(str, features["strides"])), ("channels", *map(str, features["channels"]))],
    )
    decoders = ", ".join(f"`{d}`" for d in features.get("decoders", ()))
    fitting = f"\n\nDecoders that fit: {decoders}." if decoders else ""
    return f"{pyramid}\n\nEmbedding: {features['embedding_dim']} numbers an image.{fitting}"


def heads_text(heads: Mapping[str, Mapping[str, Any]]) -> str:
    """Say the heads of config.json."""
    if not heads:
        return "No heads: an encoder only."
    rows = [(n, h["kind"], ", ".join(f"{k} = {_argument(v)}" for k, v in h["args"].items())) for n, h in heads.items()]
    return table(("head", "kind", "arguments"), rows)


def _argument(value: Any) -> str:
    return ", ".join(map(_argument, value)) if isinstance(value, list) else f"{value:.4g}" if isinstance(value, float) else str(value)


def data_text(results: Results) -> str:
    """Say what the weights started from, and what they were trained on."""
    rows = [
        (
            d.name,
            "unknown" if d.images is None else f"{d.images:,}",
            "unknown" if d.patients is None else f"{d.patients:,}",
            d.sites or "unknown",
            d.license or "unknown",
            d.split or "unknown",
        )
        for d in results.data
    ]
    parts = [table(("data", "training images", "patients", "sites", "licence", "split"), rows)] if rows else []
    parts += ["\n".join(f"- {d.name}: {' '.join(filter(None, (d.note, d.source)))}" for d in results.data if d.note or d.source)]
    parts += [f"Weights started from `{results.base_model}`." if results.base_model else "", results.training or ""]
    return "\n\n".join(filter(None, parts)) or "Not recorded."


def guard_text(guard: GuardResults | None) -> str:
    """Say what the out-of-distribution guard flags."""
    if guard is None:
        return NOT_MEASURED
    rows = [
        (r.data, r.kind, f"{r.flagged} of {r.images}", f"{r.flagged / r.images:.3f} ({r.interval[0]:.3f} to {r.interval[1]:.3f})")
        for r in guard.rates
    ]
    found = table(("images", "kind", "flagged", "fraction (95 % interval)"), rows) if rows else NOT_MEASURED
    return (
        f"`predict` flags images unlike the training images and never leaves one out. Score: {guard.score}; flagged above "
        f"{guard.threshold:.4g}, which at most {100 * guard.false_alarms:g} % of images like the {guard.calibrated} held-out ones of "
        f"{guard.data} exceed on average. Flagged:\n\n{found}"
    )


def cost_text(results: Results) -> str:
    """Say parameters, multiply-accumulates and measured times."""
    cost = results.cost
    if cost is None:
        return NOT_MEASURED
    named = [("encoder, pyramid and embedding", cost.encoder), *([("encoder and all heads", cost.model)] if cost.model else [])]
    found = table(("part", "parameters", "multiply-accumulates"), [(n, f"{p.parameters:,}", f"{p.macs:,}") for n, p in named])
    size = " x ".join(map(str, cost.size))
    parts = [found, f"Of one image of {size} (channels x height x width); convolutions, matrix products and attention are counted."]
    if cost.timings:
        parts.append(table(("time", "ms", "hardware"), [(t.what, f"{t.milliseconds:.4g}", t.hardware) for t in cost.timings]))
    else:
        parts.append("Time on named hardware: not measured.")
    return "\n\n".join(parts)


def use_section(block: Mapping[str, Any], location: str, revision: str | None) -> str:
    """Return the section with the three `snippets`; arguments as theirs."""
    ours, timm, smp = snippets(block, location, revision).values()
    parts = [_python(ours), "With timm alone; the feature maps are bitwise the same:", _python(timm)]
    if smp is None:
        parts.append("segmentation-models-pytorch takes no plain vision transformer as an encoder.")
    else:
        parts += ["As the encoder of a model of segmentation-models-pytorch:", _python(smp)]
    return "\n\n".join(parts)


def snippets(block: Mapping[str, Any], location: str, revision: str | None = None) -> dict[str, str | None]:
    """Return the Python that loads a model, by library; None where that library cannot.

    Args:
        block: The ``umsrep`` block of the card's metadata.
        location: Preset, folder or org/repo.
        revision: Tag or commit, for org/repo.
    """
    channels = block["contract"]["channels"]
    pin = f', revision="{revision}"' if revision else ""
    ours = [
        "import umsrep",
        "",
        f'encoder = umsrep.Encoder.from_pretrained("{location}"{pin})',
        'x = encoder.contract.load("image.png")[None]',
        "features, embedding = encoder(x), encoder.embed(x)  # the pyramid, finest first",
    ]
    if block.get("heads"):
        ours += [f'model = umsrep.MultiTaskModel.from_pretrained("{location}"{pin})', 'print(model.predict(["image.png"])[0])']
    setup, place = [], f'"local-dir:{location}"'
    if location in PRESETS:
        setup, place = ["from umsrep.zoo import hub", "", f'folder = hub.resolve("{location}")'], 'f"local-dir:{folder}"'
    elif is_repo(location):
        place = f'"hf-hub:{location}{f"@{revision}" if revision else ""}"'
    registers = ["import umsrep.zoo  # registers the cbr family"] if str(block["architecture"]).startswith("cbr_") else []
    timm = [
        "import timm",
        *registers,
        *setup,
        *([] if setup else [""]),
        f"model = timm.create_model({place}, pretrained=True, features_only=True, in_chans={channels})",
    ]
    quote = place.index('"') + 1
    unet = f"model = smp.Unet({place[:quote]}tu-{place[quote:]}, encoder_weights=True, in_channels={channels})"
    smp = ["import segmentation_models_pytorch as smp", *registers, *setup, *([] if setup else [""]), unet]
    strides = block.get("strides") or ()
    plain = len(set(strides)) == 1 and len(strides) > 1
    return {
        "umsrep": "\n".join(ours),
        "timm": "\n".join(timm),
        "segmentation-models-pytorch": None if plain else "\n".join(smp),
    }


def _python(code: str | None) -> str:
    return f"```python\n{code}\n```"


def is_repo(name: str) -> bool:
    """Say whether a name has the form of org/repo on the Hub; a folder of that form is written ``./a/b``."""
    return re.fullmatch(r"\w[\w.-]*/[\w.-]+", name) is not None
