"""Sizes, stored units, intensities and mask areas, summed up over the rows of a set."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import Any

import numpy as np

from umsrep.tasks.data.inspect.columns import Columns, split_order
from umsrep.tasks.data.inspect.scan import IGNORE, Facts

_MOST_SIZES = 12


def pictures(facts: Sequence[Facts]) -> dict[str, Any]:
    """Sum up what the pictures are.

    Returns:
        ``read`` and ``unreadable`` rows; ``sizes`` ("width x height" to rows, the 12 commonest), ``different_sizes`` (how many there
        are), ``width`` and ``height`` (quartiles: smallest, 25 %, middle, 75 %, largest); ``units``, ``colours``, ``inverted`` (rows);
        ``range`` (unit to smallest and largest stored value); ``constant`` (rows); ``spacing_mm`` and ``column_spacing_mm`` (quartiles of
        the distance of rows and of columns, None where no picture has one), ``with_spacing`` and ``anisotropic`` (rows; of the latter the
        two distances differ).
    """
    read = [one for one in facts if one.size is not None]
    sizes = collections.Counter(f"{one.size[0]}x{one.size[1]}" for one in read if one.size)
    units = collections.Counter(one.unit for one in read)
    spacings = [one.spacing for one in read if one.spacing is not None]
    return {
        "read": len(read),
        "unreadable": len(facts) - len(read),
        "sizes": dict(sizes.most_common(_MOST_SIZES)),
        "different_sizes": len(sizes),
        "width": quartiles([one.size[0] for one in read if one.size]),
        "height": quartiles([one.size[1] for one in read if one.size]),
        "units": dict(units.most_common()),
        "range": {u: [min(one.low for one in read if one.unit == u), max(one.high for one in read if one.unit == u)] for u in units},
        "colours": dict(collections.Counter(one.colour for one in read).most_common()),
        "inverted": sum(one.inverted for one in read),
        "constant": sum(one.low == one.high for one in read),
        "with_spacing": len(spacings),
        "anisotropic": sum(one.anisotropic for one in read),
        "spacing_mm": quartiles([row for row, _ in spacings]),
        "column_spacing_mm": quartiles([column for _, column in spacings]),
    }


def quartiles(values: Sequence[float]) -> list[float] | None:
    """Return smallest, 25 %, middle, 75 % and largest; None of nothing."""
    return [round(float(v), 6) for v in np.percentile(values, [0, 25, 50, 75, 100])] if len(values) else None


def histograms(columns: Columns, facts: Sequence[Facts]) -> list[dict[str, Any]]:
    """Sum up the intensities of each split, site and unit.

    Returns:
        For each: ``split``, ``site``, ``unit``, ``images``, ``counts`` (pixels; a bin a grey level for 8-bit, RGB by its rounded luma,
        else 64 bins of the declared range), ``mean`` (middle over the images of the mean grey level, as a fraction of the range). Rows
        whose file declares no range are in none.
    """
    sums: dict[tuple[str, str, str], np.ndarray] = {}
    means: dict[tuple[str, str, str], list[float]] = collections.defaultdict(list)
    for one, split, site in zip(facts, columns.splits, columns.sites, strict=True):
        if one.histogram is not None and one.mean is not None:
            key = (split, site, one.unit)
            sums[key] = sums[key] + one.histogram if key in sums else one.histogram
            means[key].append(one.mean)
    return [
        {
            "split": split,
            "site": site,
            "unit": unit,
            "images": len(means[split, site, unit]),
            "counts": counts.tolist(),
            "mean": round(float(np.median(means[split, site, unit])), 4),
        }
        for (split, site, unit), counts in sorted(sums.items(), key=lambda item: (split_order(item[0][0]), item[0]))
    ]


def mask_tasks(columns: Columns, facts: Sequence[Facts]) -> dict[str, Any]:
    """Say how large each class of each mask column is.

    Returns:
        Column to ``rows`` (masks that were read), ``values`` (value to masks that hold it), ``empty`` (masks with class 0 and ignore
        only), ``ignored`` (fraction of all pixels that are 255), ``areas`` (split to value to ``masks`` that hold it and ``quartiles`` of
        the fraction of the image it takes in these), ``prevalence`` (site to value to fraction of the masks there that hold it).
    """
    return {column: _mask_task(columns, column, facts) for column in columns.masks}


def _mask_task(columns: Columns, column: str, facts: Sequence[Facts]) -> dict[str, Any]:
    areas: dict[str, dict[int, list[float]]] = collections.defaultdict(lambda: collections.defaultdict(list))
    holding: dict[str, collections.Counter[int]] = collections.defaultdict(collections.Counter)
    masks: collections.Counter[str] = collections.Counter()
    values: collections.Counter[int] = collections.Counter()
    empty = ignored = total = 0
    for one, split, site in zip(facts, columns.splits, columns.sites, strict=True):
        if column not in one.masks:
            continue
        pixels = one.masks[column].pixels
        size = sum(pixels.values())
        masks[site] += 1
        total += size
        ignored += pixels.get(IGNORE, 0)
        empty += not any(0 < v != IGNORE for v in pixels)
        values.update(pixels.keys())
        holding[site].update(v for v in pixels if 0 < v != IGNORE)
        for value, number in pixels.items():
            if 0 < value != IGNORE:
                areas[split][value].append(number / size)
    return {
        "kind": "segmentation",
        "rows": masks.total(),
        "values": {str(v): n for v, n in sorted(values.items())},
        "empty": empty,
        "ignored": ignored / total if total else 0.0,
        "areas": {
            split: {str(v): {"masks": len(a), "quartiles": quartiles(a)} for v, a in sorted(by.items())}
            for split, by in sorted(areas.items(), key=lambda item: (split_order(item[0]), item[0]))
        },
        "prevalence": {site: {str(v): n / masks[site] for v, n in sorted(c.items())} for site, c in sorted(holding.items())},
    }
