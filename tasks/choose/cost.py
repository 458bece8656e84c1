"""What an encoder costs: parameters, multiply-accumulates and measured milliseconds an image."""

from __future__ import annotations

import dataclasses
import platform
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from umsrep.tasks.choose.candidates import Candidate
from umsrep.tasks.progress import track
from umsrep.zoo.cost import count_macs, count_parameters

BATCHES = (1, 16)
ROUNDS = 7


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one image costs an encoder.

    Attributes:
        parameters: Of the encoder.
        size: [channels, height, width] of the image.
        macs: Multiply-accumulates of the embedding.
        milliseconds: Batch size to milliseconds an image, median of `ROUNDS` forwards.
    """

    parameters: int
    size: tuple[int, int, int]
    macs: int
    milliseconds: dict[int, float]


def measure(candidates: Sequence[Candidate], *, title: str | None = None) -> dict[str, Cost]:
    """Measure all candidates in one run, in turns, so that what else the machine does falls on all alike; a first round is not counted."""
    times: dict[tuple[str, int], list[float]] = {(c.name, batch): [] for c in candidates for batch in BATCHES}
    turns = [(number, c, batch) for number in range(ROUNDS + 1) for c in candidates for batch in BATCHES]
    with torch.inference_mode():
        for number, candidate, batch in track(turns, title, total=len(turns)):
            device = next(candidate.encoder.parameters()).device
            images = torch.zeros(batch, *_size(candidate), device=device)
            start = _now(device)
            candidate.encoder.embed(images)
            if number:
                times[candidate.name, batch].append(1000 * (_now(device) - start) / batch)
    return {
        c.name: Cost(
            count_parameters(c.encoder),
            _size(c),
            count_macs(c.encoder, _size(c), method="embed"),
            {batch: statistics.median(times[c.name, batch]) for batch in BATCHES},
        )
        for c in candidates
    }


def _size(candidate: Candidate) -> tuple[int, int, int]:
    contract = candidate.encoder.contract
    assert isinstance(contract.size, tuple)
    return contract.channels, *contract.size


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def hardware(device: torch.device) -> str:
    """Name what milliseconds were measured on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        models = [
            line.partition(":")[2].strip()
            for line in info.read_text(encoding="utf-8", errors="replace").splitlines()
            if "model name" in line
        ]
        name = models[0] if models else name
    return f"{name}, {torch.get_num_threads()} thread(s)"
