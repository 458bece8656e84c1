"""Model cards: build one from a model's configuration and measured results, read and lint one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import yaml

from umsrep.errors import InputError, nearest
from umsrep.zoo.presets import PRESETS

RESEARCH_ONLY = "For research only. Not a medical device; never for diagnosis, treatment or any other clinical use."
REQUIRED_SECTIONS = ("Input", "Architecture", "Results", "Use", "Limits", "Checksums")

_TEMPLATE = jinja2.Environment(
    trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined
).from_string(
    """---
{{ metadata }}---
# {{ name }}

{{ summary }} **{{ research_only }}**

## Input
| rule | value |
|---|---|
{% for key, value in contract.items() %}
| {{ key }} | {{ value }} |
{% endfor %}

## Architecture
`{{ architecture }}` (timm){% if modality %}, modality `{{ modality }}`{% endif %}.
{% if heads %}
| head | kind | arguments |
|---|---|---|
{% for head, entry in heads.items() %}
| {{ head }} | {{ entry.kind }} | {{ entry.args }} |
{% endfor %}
{% else %}
No heads: an encoder only.
{% endif %}

## Results
{% if results %}
{% for title, table in results.items() %}
{{ title }}:

| metric | value |
|---|---|
{% for metric, value in table.items() %}
| {{ metric }} | {{ "%.4g" | format(value) if value is number else value }} |
{% endfor %}

{% endfor %}
{% else %}
Nothing was measured for this folder.
{% endif %}
{% if training %}
{{ training }}

{% endif %}
## Use
```python
import umsrep
encoder = umsrep.Encoder.from_pretrained("{{ location }}")
features = encoder(encoder.contract.load("image.png")[None])  # pyramid, finest first
{% if heads %}
model = umsrep.MultiTaskModel.from_pretrained("{{ location }}")
print(model.predict(["image.png"])[0])
{% endif %}
```
Also, with the path of this folder: `timm.create_model("local-dir:FOLDER", pretrained=True, features_only=True, in_chans={{ channels }})`.

## Limits
{{ limits }}

## Checksums
| file | sha256 |
|---|---|
{% for file, checksum in sha256.items() %}
| {{ file }} | `{{ checksum }}` |
{% endfor %}
"""
)


def build_card(
    name: str,
    config: Mapping[str, Any],
    *,
    results: Mapping[str, Mapping[str, Any]] | None = None,
    summary: str = "",
    training: str = "",
    limits: str = "",
    license: str | None = None,
    location: str | None = None,
) -> str:
    """Build the text of a card; the same input gives the same bytes.

    Args:
        name: Heading.
        config: Content of config.json, with checksums.
        results: Title of each table to its metric values.
        summary: One or two sentences for whom this is.
        training: How and on what it was trained.
        limits: What it was not tested on, or cannot do.
        license: Licence of the weights, for the Hub's filters.
        location: What `from_pretrained` is shown with; default the name.

    Returns:
        Markdown with YAML metadata.
    """
    block = config["umsrep"]
    tags = [
        "umsrep",
        "medical-imaging",
        *([block["modality"]] if block.get("modality") else []),
        *sorted({h["kind"] for h in block["heads"].values()}),
    ]
    metadata: dict[str, Any] = {"library_name": "timm", "tags": tags}
    if license:
        metadata["license"] = license
    return _TEMPLATE.render(
        metadata=yaml.safe_dump(metadata, sort_keys=True),
        name=name,
        summary=summary or "Made with umsrep.",
        research_only=RESEARCH_ONLY,
        contract=block["contract"],
        channels=block["contract"]["channels"],
        architecture=config["architecture"],
        modality=block.get("modality"),
        heads={n: {"kind": h["kind"], "args": _arguments(h["args"])} for n, h in block["heads"].items()},
        results=results or {},
        training=training,
        location=location or name,
        limits=limits or "Not tested under distribution shift. Check it on data of your own site before you rely on any number.",
        sha256=block["sha256"],
    )


def _arguments(args: Mapping[str, Any]) -> str:
    return ", ".join(f"{k}={v}" for k, v in args.items())


def read_card(name: str) -> str:
    """Return the card of a preset or of a model folder.

    Raises:
        InputError: if there is none.
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


def lint_card(text: str) -> Sequence[str]:
    """Return what is wrong with a card, one line each; nothing if it is well."""
    problems = []
    parts = re.match(r"\A---\n(.*?)\n---\n", text, flags=re.DOTALL)
    if parts is None:
        problems.append("no YAML metadata between --- lines at the top")
    else:
        try:
            metadata = yaml.safe_load(parts.group(1))
            tags = metadata.get("tags") if isinstance(metadata, dict) else None
            if not isinstance(tags, list) or "umsrep" not in tags:
                problems.append("metadata: tags must hold 'umsrep'")
            elif not metadata.get("license"):
                problems.append("metadata: no license")
        except yaml.YAMLError as error:
            problems.append(f"metadata: not valid YAML ({str(error).splitlines()[0]})")
    found = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
    problems += [f"no section '## {name}'" for name in REQUIRED_SECTIONS if name not in found]
    if "research only" not in text.lower():
        problems.append("does not say that it is for research only")
    return problems
