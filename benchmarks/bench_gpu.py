"""(f) Training on one GPU: images a second, model FLOPs and memory traffic against measured ceilings, and whether the loader keeps up.

The trainer's own epoch (`Trainer._train_epoch`: three tasks, 224 px, bf16, channels_last, augmentation and noise on the GPU) with its own
loader, over PNGs made here. One epoch warms up (cudnn chooses its kernels), one is timed, one runs under torch.profiler. Printed:

- images a second from the first batch to the last kernel, and the same over one batch in pinned memory, given again and again, so that no
  loader is waited for;
- MFU: multiplications and additions of convolutions and matrix products in forward and backward (torch's FlopCounterMode, 2 a
  multiply-accumulate) by the time of a step, against the best rate of a bf16 matrix product measured here;
- traffic: bytes that all operators of a step read and write, each of its arguments and results once (so caches count as memory, fused
  optimisers too), by the time of a step, against the rate of a copy measured here. Which of the two shares is near 1 says what binds;
- GPU busy: the union of the intervals in which a kernel or a copy ran, of the time from the first to the last (target >= 95 %);
- loader: the share of the time in which the loop stood in the loader's ``next``, after the first batch.

Without CUDA it says so and ends.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from timing import arguments, keep, spread
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode
from workload import make_trainer, our_epoch, write_images

from umsrep.tasks import trainer as trainer_module
from umsrep.tasks.data.dataset import collate
from umsrep.tasks.prefetch import ahead
from umsrep.tasks.step import annotated_rows
from umsrep.tasks.trainer import Trainer

ARCHS = ("tf_efficientnet_lite0", "resnet50", "convnextv2_nano")
TARGET_BUSY = 0.95


class Traffic(TorchDispatchMode):
    """Counts the bytes that operators read and write; views cost nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.bytes += sum(leaf.nbytes for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, torch.Tensor))
        return out


class Watched:
    """A loader that notes how long each ``next`` took, and when the first batch came."""

    def __init__(self, items: Iterable[Any]) -> None:
        self.items, self.waits, self.first = items, list[float](), 0.0

    def __iter__(self) -> Iterator[Any]:
        iterator, started = iter(self.items), time.perf_counter()
        for item in iterator:
            self.waits.append(time.perf_counter() - started)
            self.first = self.first or time.perf_counter()
            yield item
            started = time.perf_counter()


def seconds_of(work: Callable[[], object], rounds: int) -> float:
    """Return the median seconds of some work on the GPU, by CUDA events."""
    times = []
    for number in range(rounds + 3):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        end.synchronize()
        if number >= 3:
            times.append(start.elapsed_time(end) / 1e3)
    return spread(times)[0]


def ceilings(rounds: int) -> tuple[float, float]:
    """Measure FLOP/s of a bf16 matrix product, the best of some sizes, and bytes/s of a copy (read and write) on the GPU."""
    rate = 0.0
    for side in (4096, 8192):
        a, b = (torch.randn(side, side, device="cuda", dtype=torch.bfloat16) for _ in range(2))
        rate = max(rate, 2 * side**3 / seconds_of(lambda a=a, b=b: a @ b, rounds))
    source = torch.empty(2**29, device="cuda", dtype=torch.uint8)
    target = torch.empty_like(source)
    return rate, 2 * source.nbytes / seconds_of(lambda: target.copy_(source), rounds)


def cost_of_step(trainer: Trainer, batch: dict[str, Any]) -> tuple[int, int]:
    """Count FLOPs and bytes of forward, backward and optimiser on one batch."""
    wrapped, names = trainer.wrap(0), list(trainer.trained_tasks)
    totals = dict(zip(names, annotated_rows(batch, names).tolist(), strict=True))
    with Traffic() as traffic, FlopCounterMode(display=False) as flops:
        with trainer.accelerator.autocast():
            terms, _ = wrapped(batch, totals, 1)
        torch.stack(list(terms.values())).sum().backward()
        trainer.optimisation.step(0)
    return int(flops.get_total_flops()), traffic.bytes


def busy_share(intervals: Iterable[tuple[float, float]]) -> float:
    """Return the length of the union of intervals, of the time from the first start to the last end."""
    ordered = sorted(intervals)
    covered, reached = 0.0, ordered[0][0]
    for start, end in ordered:
        covered += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return covered / (reached - ordered[0][0])


def watched_epoch(trainer: Trainer, make: Callable[..., Iterable[Any]]) -> tuple[float, Watched]:
    """Run an epoch over a loader; returns the seconds from its first batch to the end of the GPU's work."""
    loaders: list[Watched] = []

    def loader(*args: Any, **options: Any) -> Watched:
        loaders.append(Watched(make(*args, **options)))
        return loaders[-1]

    with mock.patch.object(trainer_module, "DataLoader", loader):
        our_epoch(trainer)
    torch.cuda.synchronize()
    return time.perf_counter() - loaders[0].first, loaders[0]


def measure(arch: str, data: Path, output: Path, settings: dict[str, Any], ceiling: tuple[float, float]) -> dict[str, Any]:
    """Measure one architecture."""
    trainer = make_trainer(data, output, encoder={"arch": arch}, gradients_every=0, **settings)
    steps, images = trainer.steps_per_epoch, settings["batch_size"]
    own = DataLoader(trainer.train_set, batch_sampler=trainer.sampler, collate_fn=collate)
    host = next(iter(own))
    flops, moved = cost_of_step(trainer, next(iter(ahead([host], trainer.device, trainer.finish))))
    watched_epoch(trainer, DataLoader)
    torch.cuda.reset_peak_memory_stats()
    seconds, loader = watched_epoch(trainer, DataLoader)
    peak = torch.cuda.max_memory_allocated()
    pinned = {key: value.pin_memory() if isinstance(value, torch.Tensor) else value for key, value in host.items()}
    alone, _ = watched_epoch(trainer, lambda *_, **__: [pinned] * steps)
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        watched_epoch(trainer, DataLoader)
    ran = [e for e in profiled.events() if e.device_type == DeviceType.CUDA and not e.is_user_annotation]
    step = seconds / steps
    return {
        "arch": arch,
        "images_per_second": images / step,
        "images_per_second_without_loader": images * steps / alone,
        "mfu": flops / step / ceiling[0],
        "traffic_share": moved / step / ceiling[1],
        "gpu_busy": busy_share((e.time_range.start, e.time_range.end) for e in ran),
        "loader_wait": sum(loader.waits[1:]) / seconds,
        "peak_memory_bytes": peak,
        "step": {"seconds": step, "flops": flops, "bytes": moved},
    }


def main() -> None:
    options = arguments(__doc__)
    if not torch.cuda.is_available():
        print("no CUDA device: nothing is measured")
        return
    steps, batch, rounds = (4, 16, 3) if options.quick else (40, 64, 20)
    workers = min(12, max(1, (os.cpu_count() or 2) - 2))
    settings: dict[str, Any] = {"image_size": 224, "batch_size": batch, "precision": "bf16", "workers": workers, "prefetch": 4}
    ceiling = ceilings(rounds)
    limits = f"{ceiling[0] / 1e12:.0f} TFLOP/s bf16, {ceiling[1] / 1e9:.0f} GB/s"
    print(f"{torch.cuda.get_device_name()}: {limits}; {workers} workers, batch {batch}")
    print(f"{'':<24}{'img/s':>10}{'no loader':>11}{'MFU':>8}{'traffic':>9}{'busy':>8}{'loader':>8}{'peak GiB':>10}")
    found = []
    with tempfile.TemporaryDirectory() as name:
        data = write_images(Path(name, "data"), -(-steps * batch * 8 // 7))
        for arch in ARCHS:
            row = measure(arch, data, Path(name, arch), settings, ceiling)
            found.append(row)
            shares = "".join(
                f"{row[key]:>{width}.1%}" for key, width in (("mfu", 8), ("traffic_share", 9), ("gpu_busy", 8), ("loader_wait", 8))
            )
            speeds = f"{row['images_per_second']:>10.0f}{row['images_per_second_without_loader']:>11.0f}"
            verdict = "" if row["gpu_busy"] >= TARGET_BUSY else f"  MISSED: busy < {TARGET_BUSY:.0%}"
            print(f"{arch:<24}{speeds}{shares}{row['peak_memory_bytes'] / 2**30:>10.1f}{verdict}")
    device = {"device": torch.cuda.get_device_name(), "matmul_flops": ceiling[0], "copy_bytes_per_second": ceiling[1], "workers": workers}
    keep("gpu", [device, *found], options)


if __name__ == "__main__":
    main()
