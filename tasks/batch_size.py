"""Finding the size of batch that a device trains fastest with, by real steps, without changing what a step is."""

from __future__ import annotations

import dataclasses
import gc
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator

from umsrep.errors import InputError
from umsrep.tasks import checkpoint, compiling, continuing, memory, parallel, runfolder
from umsrep.tasks.assembly import Assembly
from umsrep.tasks.config import FineTuneConfig
from umsrep.tasks.data.dataset import collate
from umsrep.tasks.launch import check_trackers, check_world_size
from umsrep.tasks.memory import Peak, available, gib, is_out_of_memory
from umsrep.tasks.prefetch import to_device
from umsrep.tasks.progress import say
from umsrep.tasks.unlabelled.rows import collate_joined

STEPS = 3
"""Batches of each size: the first warms up, the faster of the others counts."""
GAIN = 1.05
"""A size must be this much faster than the configured one to replace it, or be tried further upwards: less is noise."""
SHARE = 0.9
"""Sizes expected (from those measured) to take more than this share of a CPU's memory are not tried: Linux would kill the process."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """One size that was tried.

    Attributes:
        batch_size: Rows over all processes.
        images_per_second: Over all processes, loading aside; None where memory did not suffice.
        peak: Bytes of the process that took most, or None where the system does not tell.
        accumulate: Batches that make the configured step, or None where no whole number does.
    """

    batch_size: int
    images_per_second: float | None
    peak: int | None
    accumulate: int | None


def find_batch_size(config: FineTuneConfig, *, resume: bool = False) -> FineTuneConfig:
    """Try sizes of batches by real steps on this device, and return the configuration with the fastest that makes the same step.

    From two rows on each process, sizes are doubled as long as memory suffices, and beyond the configured one as long as that is faster.
    Only sizes of which a whole number makes up the configured step (``batch_size`` x ``accumulate`` rows) are chosen, so that learning
    rate and schedule keep their meaning; the others are only reported. With batch norms that train, their statistics are of one batch.

    Args:
        config: The run; under a distributed launch every process calls this.
        resume: A run that has a checkpoint keeps the sizes it has.

    Raises:
        InputError: if not even the smallest size fits; and for what `umsrep.fit` would refuse before its first step.
    """
    check_trackers(config.trackers)
    with parallel.explained(config):
        accelerator = parallel.make_accelerator(config)
    check_world_size(accelerator.num_processes, config.processes)
    runfolder.check_free(Path(config.output), resume=resume)  # before minutes are spent on trying
    state = checkpoint.load(Path(config.output)) if resume else None
    if state is not None:
        began = state["config"]
        continuing.check_same(began, continuing.fixed(config), Path(config.output))
        if accelerator.is_main_process:
            say(f"batch_size stays {began['batch_size']} x accumulate {began['optimiser.accumulate']}: the run has a checkpoint")
        return _with(config, began["batch_size"], began["optimiser.accumulate"])
    with memory.explained(config), parallel.explained(config), compiling.explained():
        trials = _trials(config, accelerator)
    fitting = [t for t in trials if t.images_per_second is not None]
    usable = [t for t in fitting if t.accumulate is not None]
    if not usable:
        raise InputError(
            f"no batch_size of {', '.join(str(t.batch_size) for t in trials)} fits; set gradient_checkpointing to true, lower image_size, "
            "or take a smaller encoder"
        )
    chosen = choose(usable, config.batch_size)
    assert chosen.accumulate is not None
    if accelerator.is_main_process:
        for line in table(trials, chosen, config):
            say(line)
    return _with(config, chosen.batch_size, chosen.accumulate)


def choose(usable: Sequence[Trial], configured: int) -> Trial:
    """Return the fastest; the configured size where it is about as fast."""
    speed = {t.batch_size: t.images_per_second or 0.0 for t in usable}
    fastest = max(usable, key=lambda t: speed[t.batch_size])
    own = next((t for t in usable if t.batch_size == configured), fastest)
    return own if speed[own.batch_size] * GAIN >= speed[fastest.batch_size] else fastest


def table(trials: Sequence[Trial], chosen: Trial, config: FineTuneConfig) -> list[str]:
    """Return the sizes tried, for people, one line each, and what was chosen."""
    rows = config.batch_size * config.optimiser.accumulate
    lines = []
    for trial in sorted(trials, key=lambda t: t.batch_size):
        speed = "does not fit" if trial.images_per_second is None else f"{trial.images_per_second:.1f} img/s"
        memory = "" if trial.peak is None else f", {gib(trial.peak)}"
        note = "" if trial.accumulate else f" (no whole number of them makes a step of {rows} rows: set batch_size yourself)"
        lines.append(f"batch_size {trial.batch_size:5d}: {speed}{memory}{note}")
    return [*lines, f"chosen: batch_size {chosen.batch_size} x accumulate {chosen.accumulate} = {rows} rows a step, as configured"]


def sizes(config: FineTuneConfig, world: int, rows: int) -> list[int]:
    """Return the sizes to try, upwards: halves of the configured one to two rows on each process, and doubles to four steps' rows."""
    smallest = config.batch_size
    while smallest % (2 * world) == 0 and smallest >= 4 * world:  # two rows on each process: batch norms need more than one
        smallest //= 2
    most = max(config.batch_size, min(4 * config.batch_size * config.optimiser.accumulate, rows // world * world))
    found = [smallest]
    while found[-1] * 2 <= most:
        found.append(found[-1] * 2)
    return found


def _trials(config: FineTuneConfig, accelerator: Accelerator) -> list[Trial]:
    """Try sizes upwards as long as memory suffices, and beyond the configured one as long as each is faster than the last."""
    assembly = Assembly(config, accelerator, alone=True)
    trials: list[Trial] = []
    for size in sizes(config, assembly.world, len(assembly.sampler.rows)):
        expected = _expected(trials, size)
        if expected is not None and _too_much(assembly, expected):
            trials.append(_trial(assembly, size, None, expected))
            break
        trials.append(_try(assembly, size))
        speeds = [trial.images_per_second or 0.0 for trial in trials[-2:]]
        if not speeds[-1] or (size > config.batch_size and speeds[-1] <= GAIN * speeds[0]):
            break
    return trials


def _expected(trials: Sequence[Trial], size: int) -> int | None:
    """Return the peak to expect: each row takes as much more as between the last two sizes."""
    known = [(t.batch_size, t.peak) for t in trials[-2:] if t.peak is not None]
    if len(known) < 2:
        return None
    (before, low), (last, high) = known
    return high + max(0, high - low) * (size - last) // (last - before)


def _too_much(assembly: Assembly, expected: int) -> bool:
    """Tell whether some process would be killed for it; CUDA refuses without harm."""
    over = assembly.device.type != "cuda" and expected > SHARE * available(assembly.device)
    return _most(assembly, [float(over)]) == [1.0]


def _trial(assembly: Assembly, size: int, speed: float | None, peak: int | None) -> Trial:
    rows = assembly.config.batch_size * assembly.config.optimiser.accumulate
    return Trial(size, speed, peak, None if rows % size else rows // size)


def _most(assembly: Assembly, values: Sequence[float]) -> list[float]:
    """Return the largest of each value over all processes."""
    own = torch.tensor([values], dtype=torch.float64)
    each = cast(torch.Tensor, assembly.accelerator.gather(own.to(assembly.device))) if assembly.world > 1 else own
    return cast("list[float]", each.amax(0).tolist())


def _try(assembly: Assembly, size: int) -> Trial:
    """Train on a few batches of one size, each process for itself, and bring together how that went."""
    gc.collect()
    if assembly.device.type == "cuda":
        torch.cuda.empty_cache()
    peak = Peak(assembly.device)
    seconds, failed = 0.0, False
    try:
        seconds = _seconds(assembly, size // assembly.world)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        failed = True
    assembly.optimisation.optimiser.zero_grad(set_to_none=True)
    any_failed, slowest, held = _most(assembly, [float(failed), seconds, float(peak.bytes() or 0)])
    return _trial(assembly, size, None if any_failed else size / slowest, int(held) or None)


def _seconds(assembly: Assembly, rows: int) -> float:
    """Train on this process's first rows; returns the seconds of the fastest batch but the first."""
    device, names = assembly.device, list(assembly.trained_tasks)
    indices = assembly.sampler.order()[assembly.rank :: assembly.world][:rows].tolist()
    item = _item(assembly, indices)
    if isinstance(item, InputError):
        raise item
    totals = {name: float(len(item.get(f"rows.{name}", ()))) for name in names}
    module = assembly.step_module
    assembly.strategy.apply(assembly.total_steps, module)  # as at the end of the run, when most of it trains
    # a process that runs out of memory must not leave the others waiting: nothing is exchanged here, only its buffers are held
    buffers = 0 if assembly.world == 1 else 1 + len(names) if assembly.config.balancing == "pcgrad" else 1
    held = [torch.zeros_like(p) for p in module.parameters() for _ in range(buffers)]
    times = []
    for _ in range(STEPS):
        start = _now(device)
        with assembly.accelerator.autocast():
            terms, _ = module(assembly.prepare(assembly.finish(to_device(item, device)), 0), totals, 1)
        if assembly.world == 1:
            assembly.balancer.backward(terms, 0)
        else:
            assembly.accelerator.backward(torch.stack(list(terms.values())).sum())
        assembly.optimisation.step(0)
        times.append(_now(device) - start)
    del held
    return min(times[1:])


def _item(assembly: Assembly, indices: Sequence[int]) -> dict[str, Any] | InputError:
    """Return a batch of these labelled rows, with the unlabelled ones that go with so many."""
    unlabelled = assembly.unlabelled
    if unlabelled is None or not unlabelled.batch_size:
        return collate([assembly.train_set[index] for index in indices])
    extra = assembly.config.unlabelled or assembly.config.adapt
    assert extra is not None
    rows = len(indices) if extra.batch_size is None else unlabelled.batch_size // assembly.world
    dataset, _ = unlabelled.join(assembly.train_set, assembly.sampler)
    return collate_joined([dataset[index] for index in [*indices, *range(len(assembly.train_set), len(assembly.train_set) + rows)]])


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _with(config: FineTuneConfig, batch_size: int, accumulate: int) -> FineTuneConfig:
    return dataclasses.replace(config, batch_size=batch_size, optimiser=dataclasses.replace(config.optimiser, accumulate=accumulate))
