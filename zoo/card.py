"""Model cards: ten sections and the Hub's metadata, built from config.json and one results file; reading them back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import yaml

from umsrep.errors import InputError, nearest
from umsrep.zoo.card_sections import (
    NOT_MEASURED,
    cost_text,
    data_text,
    features_text,
    guard_text,
    heads_text,
    measurement_tables,
    table,
    use_section,
)
from umsrep.zoo.input_contract import InputContract
from umsrep.zoo.presets import PRESETS
from umsrep.zoo.results import Measurement, Results, load_results, metric

RESEARCH_ONLY = "For research only. Not a medical device; never for diagnosis, treatment or any other clinical use."
SECTIONS = (
    "Verdict",
    "Input",
    "Architecture",
    "Pretraining data",
    "Results and transfer",
    "Interference",
    "Cost",
    "Shift, calibration, subgroups and limits",
    "Use",
    "Checksums, reproduction and citation",
)
NO_VERDICT = "Nobody has written yet for whom this model is and for whom not."
NO_LIMITS = "- Nothing was tested: check it on data of your own site before you rely on any number."
_PIPELINES = {"denoising": "image-to-image", "segmentation": "image-segmentation", "classification": "image-classification"}

_TEMPLATE = jinja2.Environment(
    trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined
).from_string(
    """---
{{ metadata }}---
# {{ name }}

## {{ sections[0] }}
{{ verdict }}

**{{ research_only }}**

## {{ sections[1] }}
{{ contract }}

`umsrep.Encoder.from_pretrained(...).contract.load(file)` does all of this and refuses what breaks it.

## {{ sections[2] }}
`{{ architecture }}` (timm{{ modality }}), {{ channels }} input channel{{ "" if channels == 1 else "s" }}.

{{ features }}

{{ heads }}

## {{ sections[3] }}
{{ data }}

## {{ sections[4] }}
### On held-out data
{{ results }}

### Transfer to other tasks, against ImageNet and scratch
{{ transfer }}

## {{ sections[5] }}
All tasks in one training against one training a task, of this architecture and, in all, of the same budget.
Small trainings, not this model itself; no intervals, the spread is over seeds:

{{ interference }}

## {{ sections[6] }}
{{ cost }}

## {{ sections[7] }}
### Shift
{{ shift }}

### Calibration
{{ calibration }}

### Subgroups
{{ subgroups }}

### Out-of-distribution guard
{{ guard }}

### Limits
{{ limits }}

## {{ sections[8] }}
{{ use }}

## {{ sections[9] }}
In the form of `sha256sum --check`; the same stand in config.json and are checked at every load:

```text
{{ checksums }}
```

{{ reproduce }}

{{ citation }}
"""
)


def build_card(
    name: str, config: Mapping[str, Any], results: Results | None = None, *, location: str | None = None, revision: str | None = None
) -> str:
    """Build the text of a card; the same input gives the same bytes.

    Args:
        name: Heading, and the model's name on the Hub.
        config: Content of config.json, with checksums.
        results: What was measured; None for nothing.
        location: What the snippets load: a preset, a folder or org/repo. Default is the one in ``results``, else the name.
        revision: Tag or commit that the snippets pin, on the Hub.

    Returns:
        Markdown with YAML metadata.
    """
    found = results or Results()
    block = config["umsrep"]
    features = _features(block, found)
    metadata = _metadata(name, config, found, features)
    groups = {group: [m for m in found.measurements if m.group == group] for group in ("transfer", "interference", "calibration")}
    groups |= {group: [m for m in found.measurements if m.group == group] for group in ("results", "shift", "subgroups")}
    tables = {group: measurement_tables(rows) if rows else NOT_MEASURED for group, rows in groups.items()}
    if groups["results"] and found.conditions:
        tables["results"] = f"{found.conditions}\n\n{tables['results']}"
    return _TEMPLATE.render(
        metadata=yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True, width=100),
        name=name,
        sections=SECTIONS,
        verdict=found.verdict or NO_VERDICT,
        research_only=RESEARCH_ONLY,
        contract=table(("rule", "what"), [line.split(": ", 1) for line in InputContract.from_dict(block["contract"]).describe()]),
        architecture=config["architecture"],
        modality=f", modality `{block['modality']}`" if block.get("modality") else "",
        channels=block["contract"]["channels"],
        features=features_text(features),
        heads=heads_text(block["heads"]),
        data=data_text(found),
        cost=cost_text(found),
        guard=guard_text(found.guard),
        limits="\n".join(f"- {line}" for line in found.limits) or NO_LIMITS,
        use=use_section(metadata["umsrep"], location or found.location or name, revision),
        checksums="\n".join(f"{checksum}  {file}" for file, checksum in block["sha256"].items()),
        reproduce="Made by:\n\n```bash\n" + "\n".join(found.reproduce) + "\n```"
        if found.reproduce
        else "How it was made was not recorded.",
        citation=f"Cite:\n\n```text\n{found.citation}\n```" if found.citation else "Cite umsrep and the data it was trained on.",
        **tables,
    )


def relocate(card: str, location: str, revision: str | None = None) -> str:
    """Return a card whose snippets load ``location``: what `build_card` gives with these arguments.

    Raises:
        InputError: if it has no metadata or no section on use.
    """
    block = metadata_of(card).get("umsrep")
    start, end = (re.search(rf"^## {re.escape(SECTIONS[i])}\n", card, flags=re.MULTILINE) for i in (8, 9))
    if not isinstance(block, Mapping) or start is None or end is None:
        raise InputError("the card has no 'umsrep' metadata or no section on use: build it again with `umsrep card NAME --build RESULTS`")
    return f"{card[: start.end()]}{use_section(block, location, revision)}\n\n{card[end.start() :]}"


def relicense(card: str, license: str) -> str:
    """Return a card whose metadata names this licence of the weights."""
    start = re.match(r"\A---\n.*?\n---\n", card, flags=re.DOTALL)
    head = card[: start.end()] if start else ""
    changed, found = re.subn(r"^license:.*$", f"license: {license}", head, count=1, flags=re.MULTILINE)
    return (changed if found else head.replace("---\n", f"---\nlicense: {license}\n", 1)) + card[len(head) :]


def rechecksum(card: str, sums: Mapping[str, str]) -> str:
    """Return a card whose list of checksums is this one (file to sha256); a card without such a list stays as it is."""
    lines = "\n".join(f"{checksum}  {file}" for file, checksum in sums.items())
    return re.sub(r"^```text\n(?:[0-9a-f]{64}  \S+\n)+```$", lambda _: f"```text\n{lines}\n```", card, count=1, flags=re.MULTILINE)


# ---- metadata ------------------------------------------------------------------------------------------------------
def _metadata(name: str, config: Mapping[str, Any], results: Results, features: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the Hub reads, in its order, and our own block for `umsrep list`."""
    block = config["umsrep"]
    kinds = {head: entry["kind"] for head, entry in block["heads"].items()}
    modality = block.get("modality")
    tags = ["umsrep", "medical-imaging", *([modality, f"modality:{modality}"] if modality else []), *sorted(set(kinds.values()))]
    contract = InputContract.from_dict(block["contract"])
    cost = results.cost
    own: dict[str, Any] = {
        "schema_version": 1,
        "architecture": config["architecture"],
        "modality": modality,
        "heads": kinds,
        **features,
        "contract": contract.to_dict(),
    }
    if cost is not None:
        whole = cost.model or cost.encoder
        own |= {"parameters": whole.parameters, "macs": whole.macs, "macs_size": list(cost.size)}
    metadata: dict[str, Any] = {
        "license": results.license,
        "library_name": "timm",
        "pipeline_tag": _PIPELINES[next(iter(kinds.values()))] if len(set(kinds.values())) == 1 else "image-feature-extraction",
        "tags": tags,
    }
    if results.data:
        metadata["datasets"] = [d.name for d in results.data]
    if results.base_model:
        metadata["base_model"] = results.base_model
    if index := _model_index(name, kinds, results.measurements):
        metadata["model-index"] = index
    return metadata | {"umsrep": own}


def _model_index(name: str, kinds: Mapping[str, str], measurements: Iterable[Measurement]) -> list[dict[str, Any]]:
    """Return this model's own numbers in the Hub's form of evaluation results."""
    groups: dict[tuple[str, str, str | None], dict[str, Any]] = {}
    heads: dict[tuple[str, str, str | None], str] = {}
    for m in measurements:
        if m.method is not None or m.value is None or m.group in ("transfer", "interference"):
            continue
        kind = kinds.get(m.head, "")
        task = _PIPELINES.get(kind, "other")
        # the Hub's client joins results of one task type, data set, configuration and split: a second head there needs one of its own
        config = {"config": m.head} if heads.setdefault((task, m.data, m.split), m.head) != m.head else {}
        dataset = {"name": m.data, "type": m.data, **config, **({"split": m.split} if m.split else {})}
        entry = {"task": {"type": task, "name": m.head}, "dataset": dataset, "metrics": []}
        known = metric(m.metric)
        row: dict[str, Any] = {"type": known.hub, "value": m.value, "name": known.label}
        # a note tells rows of one metric apart: the subgroup, the shift, before or after scaling
        told = ({"interval": list(m.interval)} if m.interval else {}) | ({"note": m.note} if m.note else {})
        if told:
            row["args"] = told
        groups.setdefault((m.head, m.data, m.split), entry)["metrics"].append(row)
    return [{"name": name, "results": list(groups.values())}] if groups else []


def _features(block: Mapping[str, Any], results: Results) -> dict[str, Any]:
    """Return channels, strides, embedding size and decoders, as far as results or configuration tell."""
    if results.features is not None:
        f = results.features
        found: dict[str, Any] = {"channels": list(f.channels), "strides": list(f.strides), "embedding_dim": f.embedding_dim}
        return found | ({"decoders": list(f.decoders)} if f.decoders else {})
    known = block.get("features")
    return {k: known[k] for k in ("channels", "strides", "embedding_dim") if k in known} if isinstance(known, Mapping) else {}


def metadata_of(card: str) -> dict[str, Any]:
    """Return the YAML metadata of a card; nothing if it has none that can be read."""
    parts = re.match(r"\A---\n(.*?)\n---\n", card, flags=re.DOTALL)
    try:
        found = yaml.safe_load(parts.group(1)) if parts else {}
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


# ---- reading -------------------------------------------------------------------------------------------------------
def read_card(name: str) -> str:
    """Return the card of a preset, of a model folder, or in a file.

    Raises:
        InputError: if there is none, or it is no text.
    """
    if name in PRESETS:
        return resources.files("umsrep.model_cards").joinpath(f"{name}.md").read_text(encoding="utf-8")
    path = Path(name)
    path = path / "README.md" if path.is_dir() else path
    if not path.is_file():
        raise InputError(f"'{name}' is neither a preset nor a folder with a README.md{nearest(name, PRESETS)}")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text") from error


def read_results(preset: str) -> Results:
    """Return the results file of a preset."""
    with resources.as_file(resources.files("umsrep.model_cards").joinpath(f"{preset}.json")) as path:
        return load_results(path)
