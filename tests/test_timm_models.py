"""timm knows the project's architectures in whatever order people import."""

from __future__ import annotations

import subprocess
import sys

import pytest

FOUND = "print(timm.list_models('cbr_*'), type(timm.__loader__).__name__, timm.__spec__.loader is timm.__loader__)"
ALL = "['cbr_large_t', 'cbr_large_w', 'cbr_small', 'cbr_tiny'] SourceFileLoader True\n"


@pytest.mark.parametrize(
    "before",
    [
        "import umsrep, importlib.util; importlib.util.find_spec('timm')",  # a look without an import must not use the hook up
        pytest.param("import umsrep; from timm.models import resnet", marks=pytest.mark.slow),
        pytest.param("import timm, umsrep", marks=pytest.mark.slow),
        pytest.param("from umsrep.zoo import Encoder", marks=pytest.mark.slow),
    ],
)
def test_every_order_of_import(before: str) -> None:
    script = f"{before}; import timm; {FOUND}"
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout == ALL, done.stderr
