"""What the pictures and masks of a data set say: damage, units, sizes, colour, brightness, mask values, contrast."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import Literal

import numpy as np

from umsrep.tasks.data.inspect.columns import Columns
from umsrep.tasks.data.inspect.findings import Finding
from umsrep.tasks.data.inspect.scan import IGNORE, Facts
from umsrep.tasks.data.manifest import SPLITS, Manifest

_SIDE_RATIO = 4
"""A longest side that many times the set's middle, or that fraction of it, is odd."""
_BRIGHTNESS = 0.2
"""Difference of two splits' middle grey levels, as a fraction of the range, that is worth a note."""
_MOSTLY = 0.8
_FLAT = 0.05
"""Fraction of the declared range, filled by less than which pictures come out flat."""


def picture_findings(manifest: Manifest, columns: Columns, facts: Sequence[Facts]) -> list[Finding]:
    """Check what the pictures and masks say."""
    found = [Finding(True, kind, text) for one in facts for kind, text in one.faults]
    found += _units(manifest, facts)
    found += _ranges(manifest, facts)
    found += _spacings(manifest, facts)
    found += _sizes(manifest, facts)
    found += [
        Finding(False, "constant image", f"{manifest.where(row)}: all pixels are {one.low:g}")
        for row, one in enumerate(facts)
        if one.size is not None and one.low == one.high
    ]
    found += _colours(manifest, facts)
    found += _brightness(columns, facts)
    for column in columns.masks:
        found += _mask_values(manifest, column, facts)
        found += _contrast(columns, column, facts)
    return found


def _units(manifest: Manifest, facts: Sequence[Facts]) -> list[Finding]:
    found = []
    undeclared = [row for row, one in enumerate(facts) if one.unit.startswith("undeclared")]
    if undeclared:
        highest = max(facts[row].high for row in undeclared)
        lowest = min(facts[row].low for row in undeclared)
        remedy = f"encoder.unit: {likely_unit(lowest, highest)}" + ("" if lowest >= 0 and highest <= 65535 else " with a window")
        kind = facts[undeclared[0]].unit.removeprefix("undeclared ")
        text = f"{kind} pixels do not declare their depth (values {lowest:g} to {highest:g}); name it in the contract, probably {remedy}"
        found.append(Finding(True, "undeclared depth", f"{manifest.where(undeclared[0])}{_others(undeclared)}: {text}"))
    units = collections.Counter(one.unit for one in facts if one.size is not None)
    if len(units) > 1:
        mix = ", ".join(f"{unit} {number}" for unit, number in units.most_common())
        text = f"{manifest.table}: stored units differ: {mix}; unit: auto scales each by its own range"
        found.append(Finding(False, "several units", text))
    return found


def _ranges(manifest: Manifest, facts: Sequence[Facts]) -> list[Finding]:
    """Say where `unit: auto` makes flat pictures, and where only some files bring the window that prevents it."""
    found = []
    remedy = "set encoder.window: [low, high] in stored units, or encoder.percentiles: [1, 99]"
    filled = {row: one.fill for row, one in enumerate(facts) if one.fill is not None}
    flat = [row for row, fill in filled.items() if fill < _FLAT and facts[row].low < facts[row].high]
    if flat and len(flat) > len(filled) / 2:
        middle = float(np.median([filled[row] for row in flat]))
        text = f"the pixels fill {middle:.1%} of what {facts[flat[0]].unit} may be, so that unit: auto makes them nearly flat; {remedy}"
        found.append(Finding(False, "flat under unit: auto", f"{manifest.where(flat[0])}{_others(flat)}: {text}"))
    without = [row for row, one in enumerate(facts) if one.voi is False]
    windowed = sum(one.voi is True for one in facts)
    if without and windowed:
        text = (
            f"no window or VOI LUT of its own, which {windowed} of {windowed + len(without)} grey DICOM files have and which is applied: "
            f"equal tissue looks different; {remedy}, for all alike"
        )
        found.append(Finding(True, "window in part of the files", f"{manifest.where(without[0])}{_others(without)}: {text}"))
    return found


def _spacings(manifest: Manifest, facts: Sequence[Facts]) -> list[Finding]:
    uneven = [row for row, one in enumerate(facts) if one.anisotropic]
    if not uneven:
        return []
    spacing = facts[uneven[0]].spacing
    assert spacing is not None
    text = f"rows are {spacing[0]:g} mm apart and columns {spacing[1]:g} mm: shapes are stretched, and lengths differ by direction"
    return [Finding(False, "anisotropic pixels", f"{manifest.where(uneven[0])}{_others(uneven)}: {text}")]


def likely_unit(lowest: float, highest: float) -> Literal["12-bit", "16-bit", "HU"]:
    """Guess what integers of undeclared depth are from their extremes; negative ones are CT."""
    if lowest < 0 or highest > 65535:
        return "HU"
    return "12-bit" if highest <= 4095 else "16-bit"


def _others(rows: Sequence[int]) -> str:
    return f" and {len(rows) - 1} more rows" if len(rows) > 1 else ""


def _sizes(manifest: Manifest, facts: Sequence[Facts]) -> list[Finding]:
    sides = {row: max(one.size) for row, one in enumerate(facts) if one.size is not None}
    if not sides:
        return []
    middle = float(np.median(list(sides.values())))
    odd = [row for row, side in sides.items() if side * _SIDE_RATIO <= middle or side >= _SIDE_RATIO * middle]
    return [
        Finding(False, "odd size", f"{manifest.where(row)}: longest side {sides[row]} pixels, of the middle image {middle:g}")
        for row in odd
    ]


def _colours(manifest: Manifest, facts: Sequence[Facts]) -> list[Finding]:
    coloured = [row for row, one in enumerate(facts) if one.size is not None and not one.colour.startswith("grey")]
    read = sum(one.size is not None for one in facts)
    if not coloured or len(coloured) == read:
        return []
    text = f"in colour, the other {read - len(coloured)} are grey: photos, screenshots, another modality?"
    return [Finding(False, "mixed colour", f"{manifest.where(coloured[0])}{_others(coloured)}: {text}")]


def _brightness(columns: Columns, facts: Sequence[Facts]) -> list[Finding]:
    middle: dict[str, float] = {}
    for split in SPLITS:
        means = [one.mean for one, s in zip(facts, columns.splits, strict=True) if s == split and one.mean is not None]
        if means:
            middle[split] = float(np.median(means))
    if "train" not in middle:
        return []
    return [
        Finding(False, "brightness differs", f"middle grey level {level:.2f} of the range in {split}, {middle['train']:.2f} in train")
        for split, level in middle.items()
        if abs(level - middle["train"]) > _BRIGHTNESS
    ]


def _mask_values(manifest: Manifest, column: str, facts: Sequence[Facts]) -> list[Finding]:
    first: dict[int, int] = {}
    for row, one in enumerate(facts):
        if column in one.masks:
            for value in one.masks[column].pixels:
                first.setdefault(value, row)
    values = sorted(v for v in first if v != IGNORE)
    if not first:
        return []
    shown = ", ".join(map(str, values[:8])) + (f" ... ({len(values)} values)" if len(values) > 8 else "")
    found = []
    grey = [row for row, one in enumerate(facts) if column in one.masks and one.masks[column].grey]
    if grey:
        number = len(facts[grey[0]].masks[column].pixels)
        text = f"{column} holds {number} values, like a grey picture; a mask holds class indices 0, 1, ... and 255 for ignore"
        found.append(Finding(True, "mask values", f"{manifest.where(grey[0])}{_others(grey)}: {text}"))
    elif IGNORE in first and max(values, default=0) == 0:
        text = f"{manifest.where(first[IGNORE])}: {column} holds only 0 and 255, and 255 means ignore; save class indices 0, 1, ..."
        found.append(Finding(True, "mask values", text))
    elif values and (values[0] < 0 or values[-1] > IGNORE or values[-1] >= 2 * len(values)):
        text = f"{manifest.where(first[values[-1]])}: {column} holds {shown}; masks hold class indices 0, 1, ... and 255 for ignore"
        found.append(Finding(True, "mask values", text))
    elif values and len(values) <= values[-1]:
        gaps = sorted(set(range(values[-1])) - set(values))
        found.append(Finding(False, "mask values", f"{manifest.table}: {column} holds {shown}, but never {', '.join(map(str, gaps[:8]))}"))
    empty = sum(not any(0 < v != IGNORE for v in one.masks[column].pixels) for one in facts if column in one.masks)
    if empty:
        total = sum(column in one.masks for one in facts)
        found.append(Finding(False, "empty masks", f"{manifest.table}: {column}: {empty} of {total} masks hold no class but 0"))
    return found


def _contrast(columns: Columns, column: str, facts: Sequence[Facts]) -> list[Finding]:
    """Say where a class is brighter than the rest of its pictures in training and darker in another split, or the other way round."""
    brighter: dict[tuple[int, str], list[bool]] = collections.defaultdict(list)
    for one, split in zip(facts, columns.splits, strict=True):
        for value, difference in one.masks[column].contrast.items() if column in one.masks else ():
            brighter[value, split].append(difference > 0)
    found = []
    for (value, split), signs in sorted(brighter.items()):
        train = brighter.get((value, "train"))
        if split == "train" or not train or split not in SPLITS:
            continue
        here, there = float(np.mean(signs)), float(np.mean(train))
        if (here >= _MOSTLY and there <= 1 - _MOSTLY) or (there >= _MOSTLY and here <= 1 - _MOSTLY):
            text = f"{column}: class {value} is brighter than the rest of its image in {there:.0%} of train but {here:.0%} of {split}"
            found.append(Finding(False, "contrast inverted", text))
    return found
