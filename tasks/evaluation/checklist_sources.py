"""Where the answers to checklist items come from. Nothing is guessed: an answer without a source is none."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Answer:
    """What umsrep knows of an item, and what of it only the authors know (empty where nothing is missing)."""

    text: str
    open: str = ""


@dataclasses.dataclass(frozen=True)
class Sources:
    """Where answers come from: the review, the model's card and its metadata, configuration and environment of the run (None without)."""

    review: Mapping[str, Any]
    card: str
    metadata: Mapping[str, Any]
    config: Mapping[Any, Any] | None
    environment: Mapping[str, Any] | None

    @property
    def tasks(self) -> Mapping[str, Any]:
        """Head's name to its part of the review."""
        found: Mapping[str, Any] = self.review["tasks"]
        return found

    def section(self, heading: str) -> str:
        """Return the text of a section of the card in one line, its tables as ``column: cell``; empty where there is none."""
        match = re.search(rf"^##+ {re.escape(heading)}\n(.*?)(?=^##|\Z)", self.card, flags=re.MULTILINE | re.DOTALL)
        return _flat(match.group(1)) if match else ""


Fill = Callable[[Sources], Answer | None]


def _flat(markdown: str) -> str:
    parts: list[str] = []
    header: list[str] = []
    for line in markdown.replace("`", "").splitlines():
        if not line.startswith("|"):
            header = []
            parts += [line.strip().removeprefix("- ")] if line.strip() else []
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not header:
            header = cells
        elif set(line) - set("|-: "):
            parts.append(", ".join(f"{name}: {cell}" for name, cell in zip(header, cells, strict=False) if cell) + ".")
    return " ".join(parts)
