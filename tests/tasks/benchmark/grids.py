"""Small grids for the tests of benchmarks, and results as a grid would give them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.tasks.runs import run_values


def grid_values(data: Path, folder: Path, **changes: Any) -> dict[str, Any]:
    """Plain values of a grid of three variants, two seeds, one epoch of two steps each. ``changes`` replace whole keys; None drops one."""
    base = run_values(data, folder, epochs=1)
    del base["output"]
    values: dict[str, Any] = {
        "output": str(folder / "grid"),
        "seeds": [0, 1],
        "fractions": [1.0],
        "base": base,
        "variants": {
            "joint": {},
            "frozen": {"strategy": "frozen"},
            "disc-alone": {"tasks": {"denoising": None, "size": None}, "epochs": 2},
        },
    }
    return {k: v for k, v in (values | changes).items() if v is not None}


def write_grid(data: Path, folder: Path, **changes: Any) -> Path:
    """Write `grid_values` to a file."""
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump(grid_values(data, folder, **changes), sort_keys=False))
    return path


ONLY_SIZE: dict[str, Any] = {"denoising": None, "disc": None}
"""Changes that leave the quickest of the three tasks."""


def cell(name: str, value: float | None, *, seed: int = 0, set: str = "cxr", strategy: str = "full", **more: Any) -> dict[str, Any]:
    """A finished cell of one classification task ``lesion`` whose AUROC on test and validation rows is ``value``."""
    measured = {"lesion": {"n": 4.0, "auroc": value, "balanced_accuracy": None if value is None else value / 2}}
    entry = {
        "variant": f"{name}/{strategy}",
        "axes": {"encoder": name, "set": set, "strategy": strategy},
        "set": set,
        "fraction": 1.0,
        "seed": seed,
        "kinds": {"lesion": "classification"},
        "encoder": {"name": None, "arch": name, "weights": None},
        "data": [f"data/{set}"],
        "targets": {"lesion": []},
        "seconds": 10.0 + seed,
        "cost": {"steps": 10, "images": 80, "macs": 1_000_000, "parameters": 1000},
        "validation": measured,
        "test": measured,
        "shifted": {},
    }
    return entry | more
