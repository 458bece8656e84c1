"""Memory: how much a run needs at its peak, and what to say when there is not enough."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch
from accelerate import PartialState

from umsrep.errors import InputError
from umsrep.tasks import continuing
from umsrep.tasks.config import FineTuneConfig

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_SIGNS = ("DefaultCPUAllocator", "out of memory", "STATUS_ALLOC_FAILED")  # the last: cuBLAS, cuDNN
_KILLED = re.compile(r"DataLoader worker \(pid\(?s?\)? ([\d, ]+)\) (?:is killed by signal: (\w+)|exited unexpectedly)")


class Peak:
    """The most memory that this process held since it was made: of the device on CUDA, else resident memory of the process."""

    def __init__(self, device: torch.device) -> None:
        """Start counting from what is held now."""
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        elif _CLEAR.exists():
            _CLEAR.write_text("5", encoding="ascii")  # Linux: the peak starts anew

    def bytes(self) -> int | None:
        """Return the peak in bytes; None where the system does not tell (no CUDA, no Linux)."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        if not _CLEAR.exists():
            return None
        found = re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text(encoding="ascii"))
        return int(found[1]) * 1024 if found else None


def available(device: torch.device) -> int:
    """Return how many bytes this process could hold in all: what it holds now, and what is free (of the machine, its cgroup, its limit)."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device)
    held = psutil.Process().memory_info()
    limits = [psutil.virtual_memory().available + held.rss]
    for limit, used in (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")):
        with contextlib.suppress(OSError, ValueError):  # version 2 or 1 of cgroups, "max" for none
            most, now = (int(Path("/sys/fs/cgroup", name).read_text(encoding="ascii")) for name in (limit, used))
            limits.append(most - now + held.rss)
    with contextlib.suppress(ImportError):  # not on Windows
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        if soft != resource.RLIM_INFINITY:
            limits.append(soft - held.vms + held.rss)
    return min(limits)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory ran out, on a GPU or a CPU, here or in a loader process."""
    text = str(error)
    return (
        isinstance(error, torch.OutOfMemoryError | MemoryError)
        or (isinstance(error, RuntimeError) and any(sign in text for sign in _SIGNS))
        or (isinstance(error, OSError) and error.errno == 12)  # ENOMEM: no memory for another process
    )


@contextlib.contextmanager
def explained(config: FineTuneConfig) -> Iterator[None]:
    """Turn running out of memory, and a killed loader process, into one line that says what to change.

    Raises:
        InputError: instead of the error.
    """
    try:
        yield
    except (RuntimeError, MemoryError, OSError) as error:
        kept = continuing.kept(Path(config.output))
        if killed := _KILLED.search(str(error)):
            how = f"was killed ({killed[2]})" if killed[2] else "ended unexpectedly"
            lower = f"lower workers (now {config.workers})"
            shared = f"shared memory (/dev/shm) ran out: {lower} or prefetch, or give a container more (docker run --shm-size)"
            advice = shared if killed[2] == "Bus" else f"if memory ran out, {lower}"
            raise InputError(f"a loader process (pid {killed[1]}) {how}; {advice}; {kept}") from error
        if not is_out_of_memory(error):
            raise
        state = PartialState()
        world = state.num_processes
        raise InputError(
            f"out of memory on {where(state.device)} with {settings(config, world)}: {remedy(config, world)}; {kept}"
        ) from error


def where(device: torch.device) -> str:
    """Return the device and its memory, for people."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return f"{device} ({properties.name}, {gib(properties.total_memory)})"
    return f"{device} ({gib(available(device))} for this process)"


def gib(count: float) -> str:
    """Return a number of bytes for people."""
    return f"{count / 2**30:.2f} GiB"


def settings(config: FineTuneConfig, world: int) -> str:
    """Return the settings that decide how much memory a step takes."""
    rows = f"batch_size {config.batch_size}" + (f" ({config.batch_size // world} on each of {world} processes)" if world > 1 else "")
    return f"{rows}, image_size {config.image_size or 'of the encoder'}, precision {config.precision}"


def remedy(config: FineTuneConfig, world: int) -> str:
    """Return what to change, with the numbers at hand, smallest change of the result first."""
    steps = []
    if config.batch_size % (2 * world) == 0:
        steps.append(f"--batch_size {config.batch_size // 2} --optimiser.accumulate {config.optimiser.accumulate * 2} (the same step)")
    if not config.gradient_checkpointing:
        steps.append("--gradient_checkpointing true" + (" --compile false" if config.compile else ""))
    anew = ["--precision bf16"] if config.precision == "no" and torch.cuda.is_available() else []
    size = config.image_size
    largest = max(size) if isinstance(size, list) else size
    if largest is not None and largest > 64:
        anew.append(f"--image_size {[s // 64 * 32 for s in size] if isinstance(size, list) else largest // 64 * 32}")
    steps += [f"a new run with {option}" for option in anew]  # a run that goes on keeps these
    return "try " + ", or ".join(steps or ["a smaller encoder"]) + "; --find-batch-size tries sizes"
