"""(b) All three tasks on one image by one shared model against three single-task models of the same make.

Each side gives a denoised image, a mask and class logits for the same images: ours in one call, the others in three. All models have
the same kind of encoder, heads with their default settings, random weights, channels_last as the trainer sets it, and run in evaluation
and inference mode; the single classifier stops at the embedding and has no decoder. ``share=False`` gives ours two decoders, one for
each dense head. Speed-up is (the three) / (ours) throughout: of time, of the time to load the models with `MultiTaskModel.from_pretrained`
from folders in the page cache, of parameters, of the folders' bytes, and of what a fresh process gains at its peak from before the
models are loaded to after they have all run.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import torch
from timing import Row, alternate, arguments, finish, timed

from umsrep.heads import ClassificationHead, DenoisingHead, Head, SegmentationHead
from umsrep.tasks.model import MultiTaskModel
from umsrep.zoo import Encoder, InputContract
from umsrep.zoo.cost import count_parameters

TARGETS = {"resnet50": 2.3, "tf_efficientnet_lite0": 2.0}
TARGET_SIZE = 224
SIZES = (TARGET_SIZE, 128)
_MEMORY = """
import sys, torch, timm
from umsrep.tasks.model import MultiTaskModel

def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024

batch, size, *folders = sys.argv[1:]
image = torch.rand(int(batch), 1, int(size), int(size)) * 2 - 1
torch.nn.Conv2d(1, 8, 3)(image).sum().item()  # what torch itself takes at its first convolution
before = peak()
models = [MultiTaskModel.from_pretrained(f).to(memory_format=torch.channels_last).eval() for f in folders]
with torch.inference_mode():
    for model in models:
        model(image)
print(peak() - before)
"""


def make_heads(share: bool = True) -> dict[str, Head]:
    """Return the three heads, unbuilt."""
    return {
        "denoising": DenoisingHead(share=share),
        "lungs": SegmentationHead(["background", "lung"], share=share),
        "pneumonia": ClassificationHead(["normal", "pneumonia"]),
    }


def make_model(arch: str, heads: dict[str, Head]) -> MultiTaskModel:
    """Return an encoder of its own with these heads, ready for use."""
    encoder = Encoder.create(arch, contract=InputContract(channels=1, size=TARGET_SIZE))
    return MultiTaskModel(encoder, heads).to(memory_format=torch.channels_last).eval()


@torch.inference_mode()
def run(models: list[MultiTaskModel], image: torch.Tensor, calls: int) -> None:
    """Run every model on the images, ``calls`` times."""
    for _ in range(calls):
        for model in models:
            model(image)


def throughput(arch: str, sides: dict[str, list[MultiTaskModel]], *, quick: bool) -> list[Row]:
    """Compare the time of a call, at each size and batch."""
    rows = []
    for size in SIZES:
        for batch in (1, 8):
            image = torch.rand(batch, 1, size, size) * 2 - 1
            calls, rounds = (1, 1) if quick else (4 if batch == 1 else 1, 9 if batch == 8 and arch == "resnet50" else 15)
            seconds = alternate({side: timed(partial(run, models, image, calls), calls) for side, models in sides.items()}, rounds)
            what, target = f"{arch}, {size} px, batch {batch}: ", TARGETS[arch] if size == TARGET_SIZE else None
            rows.append(Row(f"{what}three tasks at once | three models", seconds["shared"], seconds["singles"], "speed-up", target))
            if size == TARGET_SIZE:
                rows.append(Row(f"{what}the same, share=False", seconds["two decoders"], seconds["singles"], "speed-up"))
    return rows


def footprint(arch: str, sides: dict[str, list[MultiTaskModel]], parent: Path, *, quick: bool) -> list[Row]:
    """Compare parameters, bytes on disk, loading time and peak memory."""
    folders = {
        side: [model.save_pretrained(parent / f"{arch}-{side}-{k}") for k, model in enumerate(sides[side])]
        for side in ("shared", "singles")
    }

    def load(paths: list[Path]) -> None:
        for path in paths:
            MultiTaskModel.from_pretrained(path)

    def grown(paths: list[Path], batch: int) -> int:
        command = [sys.executable, "-c", _MEMORY, str(batch), str(TARGET_SIZE), *map(str, paths)]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    parameters = {side: [float(sum(count_parameters(m) for m in sides[side]))] for side in folders}
    disk = {side: [float(sum(f.stat().st_size for path in paths for f in path.iterdir()))] for side, paths in folders.items()}
    seconds = alternate({side: timed(partial(load, paths)) for side, paths in folders.items()}, 1 if quick else 9)
    rows = [
        Row(f"{arch}: parameters", parameters["shared"], parameters["singles"], "speed-up", unit="million"),
        Row(f"{arch}: on disk", disk["shared"], disk["singles"], "speed-up", unit="MB"),
        Row(f"{arch}: loading", seconds["shared"], seconds["singles"], "speed-up"),
    ]
    for batch in (1,) if quick else (1, 8):
        memory = {side: [float(grown(paths, batch)) for _ in range(1 if quick else 3)] for side, paths in folders.items()}
        what = f"{arch}, {TARGET_SIZE} px, batch {batch}: peak memory"
        rows.append(Row(what, memory["shared"], memory["singles"], "speed-up", unit="MB"))
    return rows


def main() -> None:
    options = arguments(__doc__)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for arch in list(TARGETS)[-1:] if options.quick else TARGETS:
            torch.manual_seed(0)
            sides = {"shared": [make_model(arch, make_heads())], "two decoders": [make_model(arch, make_heads(share=False))]}
            sides["singles"] = [make_model(arch, {task: head}) for task, head in make_heads().items()]
            rows += throughput(arch, sides, quick=options.quick) + footprint(arch, sides, Path(name), quick=options.quick)
    finish("sharing", rows, options)


if __name__ == "__main__":
    main()
