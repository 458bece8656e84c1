"""(e) Loading data alone with 2 workers against the training step alone: at least 3 times as many images a second.

One side goes through the trainer's own data set, sampler and collation (JPEGs of 224 px resized to 128, augmentation, noisy twins,
masks, labels) and throws the batches away; the other is the trainer's own epoch over batches that lie in memory. Each has the
machine for itself, in turn. The time of loading includes the start of the workers, as in every epoch; the files are in the
page cache. The images are cxr_guangzhou, unpacked from ../shared/data, else made PNGs of the same size.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from timing import Row, alternate, arguments, finish, timed
from torch.utils.data import DataLoader
from workload import batches_of, make_trainer, our_steps, write_images

from umsrep.tasks.data.dataset import collate
from umsrep.tasks.trainer import Trainer

PACKED = Path(__file__).resolve().parents[2] / "shared" / "data"


def find_images(folder: Path) -> tuple[Path, str]:
    """Return a data folder and what it holds: the real set, unpacked into ``folder``, or made images."""
    if (PACKED / "unpack").is_file():
        subprocess.run([sys.executable, str(PACKED / "unpack"), str(folder), "cxr_guangzhou"], check=True, capture_output=True)
        return folder / "cxr_guangzhou", "cxr_guangzhou"
    return write_images(folder / "made", 1200), "made images"


def load(trainer: Trainer, batches: int) -> None:
    """Load the last ``batches`` batches of the trainer's epoch with two workers."""
    trainer.sampler.start = len(trainer.sampler) - batches
    for batch in DataLoader(trainer.train_set, batch_sampler=trainer.sampler, num_workers=2, collate_fn=collate):
        assert isinstance(batch, dict), batch


def main() -> None:
    options = arguments(__doc__)
    steps, rounds = (1, 1) if options.quick else (6, 7)
    with tempfile.TemporaryDirectory() as name:
        folder, what = find_images(Path(name))
        trainer = make_trainer(folder, Path(name, "run"))
        memory = batches_of(trainer, steps)
        size, batches = trainer.sampler.batch_size, 10 if options.quick else min(125, len(trainer.sampler))
        clocks = {
            "load": timed(lambda: load(trainer, batches), batches * size),
            "step": timed(lambda: our_steps(trainer, memory), steps * size),
        }
        seconds = alternate(clocks, rounds)
    finish(
        "data",
        [Row(f"an image of {what} loaded, 2 workers, 128 px | trained on, lite0", seconds["load"], seconds["step"], "speed-up", 3.0)],
        options,
    )


if __name__ == "__main__":
    main()
