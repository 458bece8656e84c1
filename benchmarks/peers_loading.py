"""Loading, contract and augmentation: images a second on one core, against torchxrayvision's and MONAI's own pipelines.

All read the same files from the page cache, in one process with one thread, in turn, and end with one augmented float32 image
[1, size, size]. The limits of the augmentation are those of `Augment()`. Times are of the processor, not of the clock on the wall: what
else runs on the machine counts little. What each does:

- ours: what `JointDataset` does for an image: `InputContract.load_unit` (reads, checks unit and range, matches channels), `fit`
  (bilinear, antialiased), `Augment` (turn, shift, size: bilinear; brightness, contrast, gamma; range kept), `normalise`.
- torchxrayvision: what its data sets do (scikit-image's imread, `normalize`, first channel), `XRayCenterCrop`, `XRayResizer`
  (scikit-image: bilinear, antialiased by a Gaussian), and the augmentation of its scripts/train_model.py (`ToPILImage`,
  torchvision's `RandomAffine`, `ToTensor`). It changes no intensities: less work than ours. "as shipped" turns by nearest neighbour,
  the default of `RandomAffine`; "bilinear" as ours; "cv2" is its faster resizer (INTER_AREA), which wants OpenCV.
- MONAI: `LoadImaged` (`PILReader`, converted to grey), `EnsureChannelFirstd`, `ScaleIntensityRanged`, `Resized`, `RandAffined`
  (bilinear, zeros outside), `RandScaleIntensityFixedMeand` (contrast), `RandScaleIntensityd` (brightness), `RandAdjustContrastd`
  (gamma), `NormalizeIntensityd`; it checks no range and clips none. "as shipped" resizes by `Resized`'s default, area; "antialiased"
  bilinear after a Gaussian, as ours; "no metadata" is "as shipped" after `set_track_meta(False)`, its fastest.

umsrep does not need the peers: put them into an environment of their own that also sees umsrep, and run this script with it:
pip install torchxrayvision monai opencv-python-headless
"""

from __future__ import annotations

import gc
import importlib
import math
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from timing import Clock, Row, alternate, arguments, finish, spread

from umsrep.tasks.data.augment import Augment
from umsrep.zoo import InputContract

try:
    import monai.transforms as M
    import skimage.io
    import torchvision.transforms as T
    import torchxrayvision as xrv
    from monai.data import set_track_meta

    importlib.import_module("cv2")  # torchxrayvision's faster resizer imports it while it runs
except ImportError as error:
    sys.exit(print(f"error: {error}; pip install torchxrayvision monai opencv-python-headless (see {__file__})", file=sys.stderr) or 2)

PACKED = Path(__file__).resolve().parents[2] / "shared" / "data"
SETS = ("cxr_guangzhou", "cxr_nih")
LIMITS = Augment()
Pipeline = Callable[[str], Any]


def ours(size: int) -> Pipeline:
    contract, generator = InputContract(size=size), torch.Generator().manual_seed(0)

    def load(path: str) -> torch.Tensor:
        unit, _ = LIMITS(contract.fit(contract.load_unit(path)), {}, generator)
        return contract.normalise(unit)

    return load


def torchxrayvision(size: int, *, bilinear: bool, engine: str = "skimage") -> Pipeline:
    transform = T.Compose([xrv.datasets.XRayCenterCrop(), xrv.datasets.XRayResizer(size, engine=engine)])
    mode = T.InterpolationMode.BILINEAR if bilinear else T.InterpolationMode.NEAREST
    shift, scale = (LIMITS.shift, LIMITS.shift), (1 - LIMITS.scale, 1 + LIMITS.scale)
    affine = T.RandomAffine(LIMITS.rotate, translate=shift, scale=scale, interpolation=mode)
    augment = T.Compose([xrv.datasets.ToPILImage(), affine, T.ToTensor()])

    def load(path: str) -> Any:
        image = xrv.datasets.normalize(skimage.io.imread(path), maxval=255, reshape=True)
        return augment(transform(image))

    return load


def monai(size: int, *, antialiased: bool, metadata: bool = True) -> Pipeline:
    turn, keys = math.radians(LIMITS.rotate), ["image"]
    resize = {"mode": "bilinear", "anti_aliasing": True} if antialiased else {}
    steps = M.Compose(
        [
            M.LoadImaged(keys, reader=M.io.array.PILReader(converter=lambda image: image.convert("L"))),
            M.EnsureChannelFirstd(keys, channel_dim="no_channel"),
            M.ScaleIntensityRanged(keys, 0, 255, 0, 1),
            M.Resized(keys, (size, size), **resize),
            M.RandAffined(
                keys,
                prob=1,
                rotate_range=(turn,),
                translate_range=(LIMITS.shift * size,) * 2,
                scale_range=(LIMITS.scale,) * 2,
                mode="bilinear",
                padding_mode="zeros",
            ),
            M.RandScaleIntensityFixedMeand(keys, prob=1, factors=LIMITS.contrast),
            M.RandScaleIntensityd(keys, prob=1, factors=LIMITS.brightness),
            M.RandAdjustContrastd(keys, prob=1, gamma=(1 / (1 + LIMITS.gamma), 1 + LIMITS.gamma)),
            M.NormalizeIntensityd(keys, subtrahend=0.5, divisor=0.5),
        ]
    )

    def load(path: str) -> Any:
        set_track_meta(metadata)
        return steps({"image": path})["image"]

    return load


PEERS: dict[str, Callable[[int], Pipeline]] = {
    "torchxrayvision, as shipped": lambda size: torchxrayvision(size, bilinear=False),
    "torchxrayvision, bilinear": lambda size: torchxrayvision(size, bilinear=True),
    "torchxrayvision, bilinear, cv2": lambda size: torchxrayvision(size, bilinear=True, engine="cv2"),
    "MONAI, as shipped": lambda size: monai(size, antialiased=False),
    "MONAI, antialiased": lambda size: monai(size, antialiased=True),
    "MONAI, no metadata": lambda size: monai(size, antialiased=False, metadata=False),
}


def clock(load: Pipeline, files: Sequence[str], size: int) -> Clock:
    """Return a clock that loads all files and gives the processor's seconds for one."""

    def run() -> float:
        gc.collect()
        started = time.process_time()
        for path in files:
            image = load(path)
        seconds = time.process_time() - started
        assert tuple(image.shape) == (1, size, size), image.shape
        assert image.dtype == torch.float32
        return seconds / len(files)

    return run


def main() -> None:
    options = arguments(__doc__)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    warnings.simplefilter("ignore")  # the peers' own deprecations
    count, rounds = (20, 1) if options.quick else (100, 5)
    rows, speeds = [], []
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([sys.executable, str(PACKED / "unpack"), folder, *SETS], check=False, capture_output=True, text=True)
        if done.returncode:
            sys.exit(print(f"error: {PACKED} is needed: {done.stderr.strip()}", file=sys.stderr) or 2)
        for name in SETS:
            found = sorted(str(path) for path in Path(folder, name, "images").iterdir())
            files = found[:: len(found) // count][:count]
            for size in (128, 224):
                pipelines = {"ours": ours(size)} | {peer: make(size) for peer, make in PEERS.items()}
                seconds = alternate({who: clock(load, files, size) for who, load in pipelines.items()}, rounds)
                rows += [Row(f"{name}, {size} px: ours | {peer}", seconds["ours"], seconds[peer], "speed-up", 1.0) for peer in PEERS]
                for who, times in seconds.items():
                    median, most, least = (1 / t for t in spread(times))
                    speeds.append(f"{name:<16}{size:>4} px  {who:<32}{median:>6.0f} ({least:.0f} to {most:.0f})")
    finish("loading_peers", rows, options)
    print("\nimages a second on one core, median (quartiles over the rounds)", *speeds, sep="\n")


if __name__ == "__main__":
    main()
