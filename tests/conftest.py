"""What every test shares: thread and network settings, the real data sets, the stored weights and a tiny data folder."""

from __future__ import annotations

import os

# Before torch, matplotlib and huggingface_hub are imported: they read these once.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.tiny import write_tiny_data

ROOT = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked gpu where there is no CUDA device."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(scope="session", autouse=True)
def _few_threads() -> None:
    torch.set_num_threads(min(2, torch.get_num_threads()))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Start every test from the same torch state, so that it gives the same numbers alone and in the suite."""
    torch.manual_seed(0)


def _shared(name: str) -> Path:
    """Find a folder beside the checkout; named by UMSREP_SHARED it must be there, else its absence skips the test."""
    named = os.environ.get("UMSREP_SHARED")
    folder = (Path(named) if named else ROOT.parent / "shared") / name
    if folder.is_dir():
        return folder
    if named:
        pytest.fail(f"UMSREP_SHARED={named} has no folder {name}")
    pytest.skip(f"needs {folder} (or UMSREP_SHARED), which is not part of the checkout")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of the packed data sets, ../shared/data or $UMSREP_SHARED/data."""
    return _shared("data")


@pytest.fixture(scope="session")
def shared_weights() -> Path:
    """The folder of the stored ImageNet weights, ../shared/weights or $UMSREP_SHARED/weights."""
    return _shared("weights")


@pytest.fixture(scope="session")
def unpacked(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`unpacked("us_nerve")` is the folder of that set, unpacked once a session. Tests read it and leave it as it is."""
    folder = tmp_path_factory.mktemp("data")

    def unpack(set_name: str) -> Path:
        if not (folder / set_name).is_dir():
            command = [sys.executable, str(shared_data / "unpack"), str(folder), set_name]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.fail(f"could not unpack {set_name}: {done.stderr.strip()}")
        return folder / set_name

    return unpack


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of 24 images of 40 x 48 pixels (see tests/tiny.py). Tests that change it write their own with write_tiny_data."""
    return write_tiny_data(tmp_path_factory.mktemp("tiny") / "discs")
