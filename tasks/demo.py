"""The demo: the main job, end to end, on simulated Doppler spectra, without network or any data of the user's."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from umsrep.errors import InputError
from umsrep.tasks.config import FineTuneConfig
from umsrep.tasks.config_file import config_from_dict
from umsrep.tasks.data import doppler
from umsrep.tasks.progress import say
from umsrep.tasks.trainer import Report, fit

SPECTRA = 840
SIZE = 64
_MARK = ".umsrep-demo"


def demo_config(data: Path, output: Path) -> FineTuneConfig:
    """Return the demo's configuration: three heads on a small encoder, trained from scratch."""
    return config_from_dict(
        {
            "output": str(output),
            "image_size": SIZE,
            "batch_size": 16,
            "epochs": 8,
            "encoder": {"arch": "resnet10t", "in_channels": 1, "modality": "doppler"},
            "data": [{"path": str(data)}],
            "tasks": {
                "denoising": {"kind": "denoising", "noise": "speckle", "level": [20, 80]},
                "envelope": {"kind": "segmentation", "classes": ["background", "spectrum"]},
                "flow": {"kind": "classification", "classes": list(doppler.FLOWS)},
            },
            "optimiser": {"learning_rate": 2e-3, "encoder_factor": 1.0},
            # time runs to the right and velocity upwards: a spectrum must not be turned, and no flow mirrored
            "augment": {"rotate": 0.0, "shift": 0.03, "scale": 0.05},
            "workers": 0,
        }
    )


def run_demo(output: Path) -> Report:
    """Simulate spectra, fine-tune three heads jointly on them, and leave model, metrics and pictures in a folder.

    Args:
        output: Run folder; an earlier demo there is replaced.

    Raises:
        InputError: if the folder holds anything but an earlier demo.
    """
    if output.exists() and not output.is_dir():
        raise InputError(f"{output}: is a file; choose a folder with --out")
    if output.exists():
        if any(output.iterdir()) and not (output / _MARK).is_file():
            raise InputError(f"{output}: holds something other than an earlier demo; choose another folder with --out")
        shutil.rmtree(output)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "doppler"
        say(f"simulating {SPECTRA} Doppler spectra")
        doppler.write_dataset(data, SPECTRA, size=(SIZE, SIZE), noisy=False)
        output.mkdir(parents=True)
        (output / _MARK).touch()  # first, so that an interrupted demo can be replaced as well
        report = fit(demo_config(data, output), resume=True)
        keep = output / "examples"
        keep.mkdir()
        for name in sorted((data / "images").iterdir())[:8]:
            shutil.copy(name, keep)
    return report
