"""Checking a model card without the network: metadata, sections, snippets, and that its numbers and checksums are the model's."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from umsrep.errors import InputError, nearest
from umsrep.zoo.card import RESEARCH_ONLY, SECTIONS, metadata_of
from umsrep.zoo.card_numbers import CHECKSUM, Problem, index_fault, line_of, lint_numbers, lint_results, prose
from umsrep.zoo.card_sections import is_repo
from umsrep.zoo.input_contract import InputContract
from umsrep.zoo.results import Results

# The Hub's identifiers: huggingface/hub-docs @ 008d54d, docs/hub/repositories-licenses.md; a newer one is 'other' with license_name
# fmt: off
LICENCES = frozenset((
    "apache-2.0", "mit", "openrail", "bigscience-openrail-m", "creativeml-openrail-m", "bigscience-bloom-rail-1.0", "bigcode-openrail-m",
    "afl-3.0", "artistic-2.0", "bsl-1.0", "bsd", "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear", "c-uda", "cc", "cc0-1.0",
    "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0",
    "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cdla-sharing-1.0",
    "cdla-permissive-1.0", "cdla-permissive-2.0", "wtfpl", "ecl-2.0", "epl-1.0", "epl-2.0", "etalab-2.0", "eupl-1.1", "agpl-3.0", "gfdl",
    "gpl", "gpl-2.0", "gpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "isc", "lppl-1.3c", "ms-pl", "mpl-2.0", "odc-by", "odbl", "openrail++",
    "osl-3.0", "postgresql", "ofl-1.1", "ncsa", "unlicense", "zlib", "pddl", "lgpl-lr", "deepfloyd-if-license", "llama2", "gemma",
    "unknown", "other",
))
METADATA = (
    "license", "license_name", "license_link", "library_name", "pipeline_tag", "tags", "datasets", "base_model", "model-index", "umsrep",
)
# fmt: on
"""Keys of the metadata in their order."""
REQUIRED = ("license", "library_name", "pipeline_tag", "tags", "umsrep")
_PLACEHOLDER = re.compile(
    r"\b(?:TODO|TBD|FIXME|XXX|FOLDER|ORG/REPO)\b|(?i:\[more information needed\]|\byour[-_](?:name|org|repo|model)\b)"
    r"|\{\{|\}\}|<[a-z][\w -]*>"
)
_SNIPPET_NAMES = re.compile(
    r"""from_pretrained\(\s*["']([^"']+)["']|resolve\(\s*["']([^"']+)["']|["'](?:tu-)?(?:local-dir|hf-hub):([^"'{}@]+)"""
)
# a path from the root of a disk, or from somebody's home
_PRIVATE = re.compile(r"""(?:^|(?<=[\s"'`(=:|]))(?:~?/[\w.~@+-]+/[\w.~@+/-]+|[A-Za-z]:\\\w[\w\\.-]*|file://\S+)""")


def lint_card(
    text: str, *, config: Mapping[str, Any] | None = None, results: Results | None = None, location: str | None = None
) -> list[Problem]:
    """Find what is wrong with a card.

    Args:
        text: The card.
        config: config.json beside it: contract and checksums must agree.
        results: What it was made from: metadata and every table must agree.
        location: What the snippets must load: a preset, a folder's name or org/repo (then no path of a disk may stand on it either).

    Returns:
        All problems in the order of their lines; none if the card is well.
    """
    problems = [*_lint_metadata(text), *_lint_sections(text), *_lint_words(text), *_lint_snippets(text, location), *lint_numbers(text)]
    if location is not None and is_repo(location):
        problems += _lint_places(text)
    if config is not None:
        problems += _lint_config(text, config)
        if results is not None:
            problems += lint_results(text, config, results)
    return sorted(problems)


# ---- metadata ------------------------------------------------------------------------------------------------------
def _lint_metadata(text: str) -> Iterator[Problem]:
    parts = re.match(r"\A---\n(.*?)\n---\n", text, flags=re.DOTALL)
    if parts is None:
        yield Problem(1, "no YAML metadata between --- lines at the top")
        return
    try:
        root = yaml.compose(parts.group(1), Loader=yaml.SafeLoader)
        metadata = yaml.safe_load(parts.group(1))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        yield Problem(mark.line + 2 if mark else 2, f"metadata: not valid YAML ({str(error).splitlines()[0]})")
        return
    if not isinstance(metadata, dict) or not isinstance(root, yaml.MappingNode):
        yield Problem(2, "metadata: must be keys with values")
        return
    lines: dict[str, int] = {}
    for key, _ in root.value:
        if key.value in lines:
            yield Problem(key.start_mark.line + 2, f"metadata: '{key.value}' stands twice")
        lines.setdefault(key.value, key.start_mark.line + 2)
    known = [key for key in lines if key in METADATA]
    for before, after in itertools.pairwise(known):
        if METADATA.index(after) < METADATA.index(before):
            yield Problem(lines[after], f"metadata: '{after}' must stand before '{before}'")
    for key in REQUIRED:
        if not metadata.get(key):
            yield Problem(2, f"metadata: no {key}")
    yield from _lint_values(metadata, lines)


def _lint_values(metadata: Mapping[str, Any], lines: Mapping[str, int]) -> Iterator[Problem]:
    licence, tags = metadata.get("license"), metadata.get("tags")
    if licence and licence not in LICENCES:
        yield Problem(lines["license"], f"metadata: license '{licence}' is not in the Hub's list{nearest(str(licence).lower(), LICENCES)}")
    if licence == "other" and not metadata.get("license_name"):
        yield Problem(lines["license"], "metadata: license 'other' needs license_name (and license_link)")
    if tags and (not isinstance(tags, list) or "umsrep" not in tags):
        yield Problem(lines["tags"], "metadata: tags must hold 'umsrep'")
    if metadata.get("library_name") not in (None, "timm"):
        yield Problem(lines["library_name"], "metadata: library_name must be timm, which opens the folder")
    index = metadata.get("model-index")
    if index is not None:
        fault = index_fault(index)
        if fault:
            yield Problem(lines["model-index"], f"metadata: model-index is not in the Hub's form ({fault})")


# ---- text ----------------------------------------------------------------------------------------------------------
def _lint_sections(text: str) -> Iterator[Problem]:
    found = [(number, line[3:]) for number, line in prose(text) if line.startswith("## ")]
    titles = [title for _, title in found]
    for title in SECTIONS:
        if title not in titles:
            yield Problem(len(text.splitlines()) or 1, f"no section '## {title}'")
    known = [(number, title) for number, title in found if title in SECTIONS]
    for (_, before), (number, after) in itertools.pairwise(known):
        if SECTIONS.index(after) <= SECTIONS.index(before):
            yield Problem(
                number, f"section '{after}' must stand before '{before}'" if after != before else f"section '{after}' stands twice"
            )
    lines = text.splitlines()
    for (number, title), (end, _) in itertools.pairwise([*found, (len(lines) + 1, "")]):
        if title in SECTIONS and not any(line.strip() for line in lines[number : end - 1]):
            yield Problem(number, f"section '{title}' is empty")


def _lint_words(text: str) -> Iterator[Problem]:
    if RESEARCH_ONLY not in text:
        yield Problem(1, f"does not say '{RESEARCH_ONLY}'")
    for number, line in enumerate(text.splitlines(), 1):
        if match := _PLACEHOLDER.search(line):
            yield Problem(number, f"'{match.group()}' was not filled in")


def _lint_places(text: str) -> Iterator[Problem]:
    """Find what nobody else has: paths on the author's own disk."""
    for number, line in enumerate(text.splitlines(), 1):
        if match := _PRIVATE.search(line):
            yield Problem(number, f"'{match.group()}' is a place on one disk, not for a published card; write the name alone")


def _lint_snippets(text: str, location: str | None) -> Iterator[Problem]:
    names: dict[str, int] = {}
    blocks = list(re.finditer(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE))
    for block in blocks:
        first = text[: block.start(1)].count("\n") + 1
        try:
            ast.parse(block.group(1))
        except SyntaxError as error:
            yield Problem(first + (error.lineno or 1) - 1, f"the snippet is no Python: {error.msg}")
        for match in _SNIPPET_NAMES.finditer(block.group(1)):
            name = next(filter(None, match.groups()))
            names.setdefault(name, first + block.group(1)[: match.start()].count("\n"))
    if not names:
        yield Problem(len(text.splitlines()) or 1, "no snippet loads the model")
    wanted = location or next(iter(names), None)
    for name, number in names.items():
        # of a folder only the end of the path it was saved to is known here, and it may have come from the Hub
        near = location is not None and "/" not in location and (Path(name).name == location or is_repo(name))
        if name != wanted and not near:
            yield Problem(number, f"the snippet loads '{name}', not '{wanted}'")


# ---- config.json -------------------------------------------------------------------------------------------------------
def _lint_config(text: str, config: Mapping[str, Any]) -> Iterator[Problem]:
    """Compare contract, architecture and checksums with config.json."""
    block, own = config["umsrep"], metadata_of(text).get("umsrep")
    if isinstance(own, Mapping):
        line = line_of(text, "umsrep:")
        if own.get("architecture") != config["architecture"]:
            yield Problem(line, f"metadata: architecture is {own.get('architecture')!r}, but {config['architecture']!r} in config.json")
        contract = InputContract.from_dict(block["contract"])
        try:
            same = InputContract.from_dict(own.get("contract") or {}) == contract
        except (InputError, TypeError, AttributeError):
            same = False
        if not same:
            yield Problem(line, "metadata: the contract is not that of config.json")
        for rule in contract.describe():
            name, _, what = rule.partition(": ")
            if f"| {name} | {what} |" not in text:
                yield Problem(line_of(text, f"## {SECTIONS[1]}"), f"{name} must read '{what}', as config.json says")
    stated = {}
    for number, line_text in enumerate(text.splitlines(), 1):
        if match := CHECKSUM.search(line_text):
            stated[match.group(2)] = (match.group(1), number)
    for file, checksum in block["sha256"].items():
        if file not in stated:
            yield Problem(line_of(text, f"## {SECTIONS[9]}"), f"no checksum of {file}")
        elif stated[file][0] != checksum:
            yield Problem(stated[file][1], f"sha256 of {file} is {stated[file][0][:12]}..., but {checksum[:12]}... in config.json")
    for file in stated.keys() - block["sha256"].keys():
        yield Problem(stated[file][1], f"checksum of {file}, which config.json does not know")
