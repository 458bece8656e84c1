"""What users import, and what importing costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import umsrep
from umsrep.errors import InputError

ROOT = Path(__file__).resolve().parent.parent


def python(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("name", umsrep.__all__)
def test_every_public_name_is_there(name: str) -> None:
    value = getattr(umsrep, name)
    assert value.__name__ == name
    assert value.__doc__
    assert name in dir(umsrep)


def test_the_names_of_the_contract() -> None:
    assert {"Encoder", "InputContract", "MultiTaskModel", "fit", "list_encoders"} <= set(umsrep.__all__)
    for name in ("DenoisingHead", "SegmentationHead", "ClassificationHead"):
        assert getattr(umsrep.heads, name).__name__ == name
    for name in ("Denoising", "Segmentation", "Classification", "FineTuneConfig"):
        assert getattr(umsrep.tasks, name).__name__ == name
    assert umsrep.tasks.data.load_manifest
    assert umsrep.tasks.data.load_medmnist
    assert umsrep.tasks.data.doppler.simulate
    assert umsrep.tasks.FineTuneConfig is umsrep.FineTuneConfig
    assert issubclass(InputError, ValueError)


def test_unknown_names_are_attribute_errors() -> None:
    for module, name in ((umsrep, "Encodr"), (umsrep.tasks, "Segmentatio")):
        with pytest.raises(AttributeError, match=name):
            getattr(module, name)


def test_import_is_lazy() -> None:
    heavy = "{'torch', 'timm', 'numpy', 'segmentation_models_pytorch', 'accelerate', 'matplotlib'}"
    done = python("-c", f"import sys, umsrep; print(sorted({heavy} & set(sys.modules)))")
    assert done.stdout == "[]\n", done.stderr


def test_help_and_version_are_quick() -> None:
    lines = ["import sys", "from umsrep.tasks.cli import main", "try:", "    main(['--help'])"]
    lines += ["except SystemExit as end:", "    print(end.code, 'torch' in sys.modules)"]
    assert python("-c", "\n".join(lines)).stdout.endswith("0 False\n")


def test_version_of_the_program() -> None:
    done = python("-m", "umsrep", "--version")
    assert (done.returncode, done.stdout) == (0, f"umsrep {umsrep.__version__}\n")


def test_the_installed_program_is_the_same() -> None:
    program = Path(sys.executable).with_name("umsrep")
    done = subprocess.run([str(program), "--version"], capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout == f"umsrep {umsrep.__version__}\n"
