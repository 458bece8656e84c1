"""(b) All three tasks on one image by one shared model against three single-task models of the same make.

Each side gives a denoised image, a mask and class logits for the same 224 px images: ours in one call, the others in three. All
models have the same kind of encoder, heads with their default settings, random weights, channels_last as the trainer sets it,
and run in evaluation and inference mode; the single classifier stops at the embedding and has no decoder. The ratio of
throughputs is (time of the three) / (time of ours). ``share=False`` gives ours two decoders, one for each dense head.
"""

from __future__ import annotations

from functools import partial

import torch
from timing import Row, alternate, arguments, finish, timed

from umsrep.heads import ClassificationHead, DenoisingHead, Head, SegmentationHead
from umsrep.tasks.model import MultiTaskModel
from umsrep.zoo import Encoder, InputContract

TARGETS = {"resnet50": 2.3, "tf_efficientnet_lite0": 2.0}
SIZE = 224


def make_heads(share: bool = True) -> dict[str, Head]:
    """Return the three heads, unbuilt."""
    return {
        "denoising": DenoisingHead(share=share),
        "lungs": SegmentationHead(["background", "lung"], share=share),
        "pneumonia": ClassificationHead(["normal", "pneumonia"]),
    }


def make_model(arch: str, heads: dict[str, Head]) -> MultiTaskModel:
    """Return an encoder of its own with these heads, ready for use."""
    encoder = Encoder.create(arch, contract=InputContract(channels=1, size=SIZE))
    return MultiTaskModel(encoder, heads).to(memory_format=torch.channels_last).eval()


@torch.inference_mode()
def run(models: list[MultiTaskModel], image: torch.Tensor, calls: int) -> None:
    """Run every model on the images, ``calls`` times."""
    for _ in range(calls):
        for model in models:
            model(image)


def main() -> None:
    options = arguments(__doc__)
    rows = []
    for arch, target in TARGETS.items():
        torch.manual_seed(0)
        sides = {"shared": [make_model(arch, make_heads())], "two decoders": [make_model(arch, make_heads(share=False))]}
        sides["singles"] = [make_model(arch, {name: head}) for name, head in make_heads().items()]
        for batch in (1, 8):
            image = torch.rand(batch, 1, SIZE, SIZE) * 2 - 1
            calls, rounds = (1, 1) if options.quick else (4 if batch == 1 else 1, 15 if arch != "resnet50" or batch == 1 else 9)
            seconds = alternate({side: timed(partial(run, models, image, calls), calls) for side, models in sides.items()}, rounds)
            what = f"{arch}, batch {batch}: "
            rows.append(Row(f"{what}three tasks at once | three models", seconds["shared"], seconds["singles"], "speed-up", target))
            rows.append(Row(f"{what}the same, share=False", seconds["two decoders"], seconds["singles"], "speed-up"))
    finish("sharing", rows, options)


if __name__ == "__main__":
    main()
