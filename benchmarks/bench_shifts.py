"""The suite of shifts for chest X-rays (every one, five severities) on images of 128 px: at most 3 times the plain forwards it needs.

One run side by side: for each batch, every shift at every severity and the model's forward on it, against as many forwards on the
unshifted batch. The model is tf_efficientnet_lite0 with a classification head; images are a phantom, loaded once. 60 images stand for
the 600 of the target: both sides grow in proportion, and 600 would take an hour of a core.
"""

from __future__ import annotations

import time

import torch
from timing import Row, arguments, finish

from umsrep import Encoder, InputContract, MultiTaskModel
from umsrep.heads import ClassificationHead
from umsrep.tasks.shift import apply_shift_batch, choose_shifts

LIMIT = 3.0


def images(count: int, side: int = 128) -> torch.Tensor:
    """Smooth fields with edges and some noise, in 0-1."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 1, 8, 8, generator=generator)
    fields = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic").clamp(0, 1)
    return (0.7 * fields + 0.2 * (fields > 0.5) + 0.05 * torch.rand(fields.shape, generator=generator)).clamp(0, 1)


@torch.inference_mode()
def main() -> None:
    options = arguments(__doc__)
    severities = (3,) if options.quick else (1, 2, 3, 4, 5)
    count, size, rounds = (4, 4, 1) if options.quick else (60, 60, 1)
    shifts = choose_shifts(["cxr"], channels=1)
    model = MultiTaskModel(
        Encoder.create("tf_efficientnet_lite0", contract=InputContract(size=128)), {"label": ClassificationHead(["a", "b"])}
    ).eval()
    every = images(count)
    model(model.encoder.contract.normalise(every[:size]))
    for shift in shifts:  # matrices and libraries are loaded before the clock starts
        apply_shift_batch(every[:1], shift.name, 3, [0])
    shifting = {shift.name: 0.0 for shift in shifts}
    ours, plain = [], []
    for _ in range(rounds):
        forward = reference = 0.0
        for start in range(0, count, size):
            batch = every[start : start + size]
            seeds = range(start, start + len(batch))
            for shift in shifts:
                for severity in severities:
                    t0 = time.process_time()
                    shifted = apply_shift_batch(batch, shift.name, severity, seeds)
                    t1 = time.process_time()
                    model(model.encoder.contract.normalise(shifted))
                    t2 = time.process_time()
                    model(model.encoder.contract.normalise(batch))
                    t3 = time.process_time()
                    shifting[shift.name] += t1 - t0
                    forward += t2 - t1
                    reference += t3 - t2
        ours.append(sum(shifting.values()) / (len(ours) + 1) + forward)
        plain.append(reference)
    per_image = 1e3 * plain[0] / count / len(severities) / len(shifts)
    print(f"{len(shifts)} shifts x {len(severities)} severities x {count} images, processor seconds")
    print(f"  {'a plain forward':32} {per_image:6.2f} ms an image")
    for name, seconds in sorted(shifting.items(), key=lambda item: -item[1])[:10]:
        print(f"  {name:32} {1e3 * seconds / rounds / count / len(severities):6.2f} ms an image")
    finish(
        "shifts",
        [Row(f"{len(shifts)} shifts x {len(severities)} on {count} images, against as many plain forwards", ours, plain, "ratio", LIMIT)],
        options,
    )


if __name__ == "__main__":
    main()
