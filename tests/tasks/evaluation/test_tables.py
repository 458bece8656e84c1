"""Subgroups: bins, small groups, gaps to the rest, intersections."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from umsrep.errors import InputError
from umsrep.tasks.classification import Classification
from umsrep.tasks.data.manifest import Manifest
from umsrep.tasks.evaluation.resample import Draws
from umsrep.tasks.evaluation.tables import read_grouping, table


def manifest(**columns: list[str]) -> Manifest:
    n = len(next(iter(columns.values())))
    return Manifest(Path("."), Path("metadata.csv"), {"file_name": [f"{i}.png" for i in range(n)], **columns}, list(range(2, n + 2)))


def test_bins_hold_their_lower_edge() -> None:
    found = read_grouping(manifest(age=["39", "40", "59.5", "60", ""]), range(5), "age", [40, 60])
    assert found.values == ["<40", "40-60", "40-60", ">=60", None]
    assert found.order == ["<40", "40-60", ">=60", None]
    assert read_grouping(manifest(sex=["M", "", "F"]), range(3), "sex").order == ["F", "M", None]


def test_what_is_no_group() -> None:
    ages = manifest(age=[str(i) for i in range(31)], sex=["M"] * 30 + ["old"])
    with pytest.raises(InputError, match=r"31 different values.*--groups age:40:60"):
        read_grouping(ages, range(31), "age")
    with pytest.raises(InputError, match=r"row 32 \(30.png\): sex 'old' is no number|row 2 \(0.png\): sex 'M' is no number"):
        read_grouping(ages, range(31), "sex", [1])
    with pytest.raises(InputError, match="ascending"):
        read_grouping(ages, range(31), "age", [60, 40])
    with pytest.raises(InputError, match="no column 'agge'; did you mean 'age'"):
        read_grouping(ages, range(31), "agge")


def rows(n: int = 120) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """A classifier that is right in group a and guesses in group b."""
    generator = np.random.default_rng(0)
    target = generator.integers(2, size=n)
    in_b = np.arange(n) >= n // 2
    signal = np.where(in_b, 0.0, 4.0) * (target - 0.5) + generator.normal(size=n)
    p = 1 / (1 + np.exp(-signal))
    return {"probabilities": np.stack([1 - p, p], axis=1), "target": target, "index": np.arange(n)}, in_b


def test_gaps_are_to_all_other_rows_and_small_groups_are_shown() -> None:
    task = Classification(["no", "yes"])
    data, in_b = rows()
    names = ["b" if b else "a" for b in in_b]
    names[0] = names[1] = ""
    names[2] = "tiny"
    sex = ["M" if i % 2 else "F" for i in range(120)]
    source = manifest(group=names, sex=sex)
    draws = Draws([f"p{i // 2}" for i in range(120)], resamples=200)
    groups = [read_grouping(source, range(120), c) for c in ("group", "sex")]
    found = table(task, data, groups[:1], draws)
    shown = [(g["value"], g["n"], g["small"]) for g in found["groups"]]
    assert shown == [
        ("a", 57, False),
        ("b", 60, False),
        ("tiny", 1, True),
        (None, 2, True),
    ]
    assert found["missing"] == 2
    a, b, tiny, _ = found["groups"]
    some = np.array([name == "a" for name in names])
    own, rest = (task.summarise({k: v[m] for k, v in data.items()})["auroc"] for m in (some, ~some))
    assert a["metrics"]["auroc"]["value"] == pytest.approx(own, abs=1e-6)
    assert a["gap"]["auroc"]["value"] == pytest.approx(own - rest, abs=1e-6)
    assert a["gap"]["auroc"]["low"] > 0 > b["gap"]["auroc"]["high"]
    assert "fewer than 10 rows" in tiny["metrics"]["brier"]["note"]
    assert tiny["metrics"]["brier"]["value"] >= 0
    assert sum(a["counts"].values()) == 57
    assert found["spread"]["auroc"]["best"] == "a"
    assert found["spread"]["brier"]["best"] == "a", "less is better"
    crossed = table(task, data, groups, draws)
    assert crossed["column"] == ["group", "sex"]
    assert sum(g["n"] for g in crossed["groups"]) == 120
    assert crossed["groups"][0]["value"] == ["a", "F"]
