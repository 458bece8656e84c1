"""What an augmentation policy costs a loader: an item at 128 px under each policy against the default, and the policies on a tensor alone.

An item is what the trainer's own data set gives (read, resized to 128 px, augmented; no noise): images of a data folder given as
DATA, else made ones. Processor time of one process and thread, in turn; every item and tensor has draws of its own, the same in all rounds.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from timing import Clock, Row, alternate, finish, timed
from workload import write_images

from umsrep.tasks.data.augment import POLICIES, Augment
from umsrep.tasks.data.dataset import JointDataset, Source, Target
from umsrep.tasks.data.manifest import load_manifest
from umsrep.tasks.segmentation import Segmentation
from umsrep.zoo import InputContract

SIDE = 128


def items(folder: Path, policy: str, count: int) -> Callable[[], object]:
    manifest = load_manifest(folder)
    rows = manifest.rows("train")[:count]
    tasks = {"lungs": Segmentation(["background", "lung"])}
    augment = Augment(policy=policy)  # type: ignore[arg-type]
    data = JointDataset([Source(manifest, rows, ["lungs"], {"lungs": Target()})], tasks, InputContract(size=SIDE), seed=0, augment=augment)

    def run() -> None:
        for index in range(len(rows)):
            assert isinstance(data[index], dict), data[index]

    return run


def tensors(channels: int, policy: str, count: int) -> Callable[[], object]:
    image = torch.rand(channels, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    augment = Augment(policy=policy)  # type: ignore[arg-type]

    def run() -> None:
        for index in range(count):
            augment(image, {}, torch.Generator().manual_seed(index))

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", help="a data folder with lung masks, such as cxr_guangzhou")
    parser.add_argument("--json", type=Path, help="put the numbers into this file, beside those of the other benchmarks")
    parser.add_argument("--quick", action="store_true", help="a smoke run: few rounds, numbers of no worth")
    options = parser.parse_args()
    torch.set_num_threads(1)
    count, rounds = (8, 1) if options.quick else (100, 5)
    with tempfile.TemporaryDirectory() as name:
        folder = options.data or write_images(Path(name, "made"), count + count // 4)
        kinds: dict[str, Callable[[str], Callable[[], object]]] = {
            "an item of the loader": lambda policy: items(folder, policy, count),
            "a grey tensor": lambda policy: tensors(1, policy, count),
            "a colour tensor": lambda policy: tensors(3, policy, count),
        }
        clocks: dict[str, Clock] = {
            f"{kind}, {policy}": timed(make(policy), count, time.process_time) for kind, make in kinds.items() for policy in POLICIES
        }
        seconds = alternate(clocks, rounds)
    rows = [
        Row(f"{kind}, 128 px: {policy} | default", seconds[f"{kind}, {policy}"], seconds[f"{kind}, default"], "ratio")
        for kind in kinds
        for policy in POLICIES[1:]
    ]
    finish("augment", rows, options)


if __name__ == "__main__":
    main()
