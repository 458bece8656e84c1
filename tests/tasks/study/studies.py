"""A Transfusion study of seconds, for the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from umsrep.zoo import Encoder, InputContract


def study_values(data: Path, folder: Path) -> dict[str, Any]:
    """Plain values of a study of cbr_tiny at 32 px: two steps, two validations, two seeds. Its weights file lies in ``folder``."""
    weights = folder / "pretrained.safetensors"
    if not weights.is_file():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            save_file(dict(Encoder.create("cbr_tiny", contract=InputContract(size=32)).model.state_dict()), str(weights))
    return {
        "output": str(folder / "study"),
        "seeds": [0, 1],
        "threshold": 0.6,
        "similarity_images": 4,
        "encoders": {
            "cbr_tiny": {"weights": str(weights), "inits": ["random", "mean-var", "transfuse:2", "frozen:3", "pretrained"]},
        },
        "base": {
            "image_size": 32,
            "batch_size": 8,
            "epochs": 2,
            "data": [{"path": str(data)}],
            "tasks": {"size": {"kind": "classification", "classes": ["small", "large"]}},
            "ema": 0,
            "workers": 0,
        },
    }
