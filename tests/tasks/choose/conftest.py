"""One small choice that several tests look at."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import save_file

from tests.tasks.runs import ARCH
from umsrep import Encoder, InputContract
from umsrep.tasks.choose import Choice, choose


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file of timm's key names with a classifier of 3 source classes."""
    import torch

    torch.manual_seed(3)
    encoder = Encoder.create(ARCH, contract=InputContract(size=32))
    tensors = {name: tensor.clone().contiguous() for name, tensor in encoder.model.state_dict().items()}
    tensors |= {"classifier.weight": torch.randn(3, encoder.embedding_dim), "classifier.bias": torch.zeros(3)}
    path = tmp_path_factory.mktemp("weights") / f"{ARCH}.source.safetensors"
    save_file(tensors, path)
    return path


@pytest.fixture(scope="session")
def choice(tiny_data: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Choice:
    """Two encoders on `tiny_data`: one with a classifier of its own, one with random weights."""
    cache = tmp_path_factory.mktemp("cache")
    specs, tasks = [f"{ARCH}={weights}", ARCH], ["classification", "segmentation", "denoising"]
    return choose(tiny_data, specs, tasks=tasks, image_size=32, resamples=3, cache=cache, source_accuracy={ARCH: 0.1})
