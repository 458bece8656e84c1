"""How much memory tasks take, and what is said when there is not enough (real limits, set with setrlimit on a process of its own)."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from tests.tasks.runs import run_config, run_values, tiny_model
from umsrep.errors import InputError
from umsrep.tasks import memory
from umsrep.tasks.data.dataset import collate
from umsrep.tasks.setup import build_sets, build_tasks
from umsrep.tasks.step import JointStep, annotated_rows

ROOT = Path(__file__).resolve().parents[2]
SIZE = {"kind": "classification", "classes": ["small", "large"]}
DISC = {"kind": "segmentation", "classes": ["background", "disc"]}


def kept_bytes(data: Path, tasks: dict[str, Any], rows: tuple[int, ...]) -> int:
    """Bytes that one forward pass keeps for the gradients: each storage once, weights and the batch aside."""
    config = run_config(data, Path("unused"), tasks=tasks)
    model = tiny_model(data, tasks=tasks)
    train = build_sets(config, model.encoder.contract)[0]
    step = JointStep(model, build_tasks(config, train), dict.fromkeys(tasks, 1.0)).train()
    batch = collate([train[row] for row in rows])
    assert isinstance(batch, dict)
    totals = dict(zip(tasks, annotated_rows(batch, list(tasks)).tolist(), strict=True))
    given = [*step.parameters(), *step.buffers(), *(v for v in batch.values() if isinstance(v, Tensor))]
    own, kept = {t.untyped_storage().data_ptr() for t in given}, dict[int, int]()

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        alive.append(tensor)  # so that no address is used twice
        return tensor

    alive: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        step(batch, totals)
    return sum(kept.values())


FULL, PART = (0, 1, 3, 4, 6, 7), (0, 1, 2, 4, 5, 7)


@pytest.mark.parametrize("rows", [FULL, PART])
def test_more_classification_tasks_cost_their_heads_alone(rows: tuple[int, ...], tiny_data: Path) -> None:
    one, three, six = (kept_bytes(tiny_data, {f"t{k}": SIZE for k in range(n)}, rows) for n in (1, 3, 6))
    assert (six - one) / 5 < 0.01 * one, "the encoder's activations are kept once"
    assert three - one == pytest.approx((six - one) * 2 / 5, rel=0.01), "as much for each task"


@pytest.mark.parametrize("rows", [FULL, PART])
def test_more_segmentation_tasks_share_encoder_and_decoder(rows: tuple[int, ...], tiny_data: Path) -> None:
    """Also where their masks stand in some of the rows only, as long as they are the same rows."""
    one, three = (kept_bytes(tiny_data, {f"t{k}": DISC for k in range(n)}, rows) for n in (1, 3))
    # a head's own: logits at full size and what softmax, Dice and cross-entropy keep of them, float32 [6, 2, 32, 32] each
    assert three - one <= 2 * 12 * 6 * 2 * 32 * 32 * 4
    assert three < 2 * one


def limited(data: Path, folder: Path, mebibytes: int, *words: str, **changes: Any) -> subprocess.CompletedProcess[str]:
    """Fine-tune in a process that may take so much more address space than it has when the run begins."""
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(run_values(data, folder / "run", **changes)))
    program = f"""
        import resource, sys
        import torch, psutil
        torch.set_num_threads(1)
        from umsrep.tasks import pictures, trainer, batch_size
        from umsrep.tasks.cli import main
        pictures.draw_samples = pictures.draw_curves = lambda *_: None
        import segmentation_models_pytorch, torchmetrics.functional.image, sklearn.metrics
        most = psutil.Process().memory_info().vms + {mebibytes} * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        sys.exit(main(["finetune", "--config", {str(path)!r}, *{list(words)!r}]))
    """
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": "", "MALLOC_ARENA_MAX": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if line.startswith("umsrep: ")]


@pytest.mark.slow
def test_out_of_memory_is_one_line_that_says_what_to_change(tiny_data: Path, tmp_path: Path) -> None:
    done = limited(tiny_data, tmp_path, 300, batch_size=16, image_size=512)
    assert done.returncode == 2, done.stderr[-3000:]
    (line,) = lines(done)
    assert "Traceback" not in done.stderr
    for part in (
        "out of memory on cpu",
        "batch_size 16, image_size 512, precision no",
        "--batch_size 8 --optimiser.accumulate 2 (the same step)",
        "--gradient_checkpointing true",
        "--image_size 256",
        "--find-batch-size",
        "no checkpoint was written yet",
    ):
        assert part in line


@pytest.mark.slow
def test_the_remedy_of_the_line_works(tiny_data: Path, tmp_path: Path) -> None:
    """A size at which 16 rows do not fit: --find-batch-size finds one that does, the run goes through and records it."""
    small = {"batch_size": 16, "image_size": 256, "epochs": 1}
    first = limited(tiny_data, tmp_path, 500, **small)
    assert first.returncode == 2, first.stderr[-2000:]
    done = limited(tiny_data, tmp_path, 500, "--resume", "--find-batch-size", **small)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "does not fit" in done.stderr, "a larger one does not"
    written = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert written["batch_size"] < 16
    assert written["batch_size"] * written["optimiser"]["accumulate"] == 16
    assert f"chosen: batch_size {written['batch_size']} x accumulate" in done.stderr


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
        ),
        OSError(12, "Cannot allocate memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_every_way_to_run_out_of_memory_is_known(error: Exception, tiny_data: Path, tmp_path: Path) -> None:
    config = run_config(tiny_data, tmp_path / "run")
    with (
        pytest.raises(InputError, match=r"out of memory on cpu .* --batch_size 4 --optimiser\.accumulate 2") as caught,
        memory.explained(config),
    ):
        raise error
    assert "\n" not in str(caught.value)


def test_what_a_resumed_run_must_keep_is_offered_for_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    text = memory.remedy(run_config(Path("data"), Path("run"), image_size=128), 1)
    assert "or a new run with --precision bf16, or a new run with --image_size 64;" in text


def test_too_little_shared_memory_is_told_from_too_little_memory(tiny_data: Path, tmp_path: Path) -> None:
    error = RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers are out of it")
    with (
        pytest.raises(InputError, match=r"pid 7\) was killed \(Bus\); shared memory .* --shm-size"),
        memory.explained(run_config(tiny_data, tmp_path / "run")),
    ):
        raise error


def test_other_errors_stay_as_they_are(tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"^shapes differ$"), memory.explained(run_config(tiny_data, tmp_path)):
        raise RuntimeError("shapes differ")


def _hold_for_a_moment(size: int) -> None:
    """Take pages from the system itself: an allocator may have enough of its own left over from other tests."""
    with mmap.mmap(-1, size) as block:
        for place in range(0, size, mmap.PAGESIZE):
            block[place] = 1


def test_the_peak_is_that_of_now(tmp_path: Path) -> None:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("only Linux tells the peak")
    device = torch.device("cpu")
    _hold_for_a_moment(240 * 2**20)
    low = memory.Peak(device).bytes()
    peak = memory.Peak(device)
    _hold_for_a_moment(240 * 2**20)
    high = peak.bytes()
    assert low is not None
    assert high is not None
    assert 200 * 2**20 < high - low < 300 * 2**20


def test_a_limit_of_the_process_is_seen() -> None:
    import resource

    device, free = torch.device("cpu"), memory.available(torch.device("cpu"))
    before = resource.getrlimit(resource.RLIMIT_AS)
    import psutil

    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + 2**27, before[1]))
    try:
        assert memory.available(device) < min(free, psutil.Process().memory_info().rss + 2**27 + 2**26)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_a_killed_loader_process_is_one_line(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from umsrep.tasks.data.dataset import JointDataset
    from umsrep.tasks.trainer import fit

    def killed(self: JointDataset, index: int) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(JointDataset, "_item", killed)
    with pytest.raises(
        InputError,
        match=r"a loader process \(pid \d+\) (was killed \(Killed\)|ended unexpectedly); .* lower workers \(now 1\); no checkpoint",
    ):
        fit(run_config(tiny_data, tmp_path / "run", workers=1))
