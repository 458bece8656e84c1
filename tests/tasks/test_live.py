"""What is shown of a run: a table that fits the terminal, lines elsewhere, and the terminal as it was afterwards."""

from __future__ import annotations

import io
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from rich.console import Console

from tests.tasks.runs import TASKS, run_config
from umsrep.tasks import pictures, progress
from umsrep.tasks.live import Live
from umsrep.tasks.running import Running
from umsrep.tasks.trainer import fit

NAMES = ("denoising", "lungs", "pneumonia")
VALIDATION: dict[str, dict[str, float]] = {
    "denoising": {"n": 80, "psnr": 31.2, "psnr_gain": 5.91},
    "lungs": {"n": 80, "iou": 0.92, "dice": 0.9612, "hd95": math.nan},
    "pneumonia": {"n": 80, "auroc": 0.9791, "f1": 0.9},
}


@pytest.fixture(scope="module")
def accelerator() -> Accelerator:
    return Accelerator(cpu=True)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    moment = Clock()
    monkeypatch.setattr(time, "monotonic", moment)
    return moment


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Callable[..., io.StringIO]:
    def make(width: int = 100, **options: Any) -> io.StringIO:
        file = io.StringIO()
        options = {"force_terminal": True, "force_interactive": True, "legacy_windows": False} | options
        monkeypatch.setattr(progress, "console", Console(file=file, width=width, height=50, **options))
        return file

    return make


def view(accelerator: Accelerator, **options: Any) -> Live:
    options = {"total_steps": 1000, "steps_per_epoch": 100, "validate_every": 2, "images_per_step": 16} | options
    return Live("runs/cxr", accelerator, **options)


def entry(epoch: int, shift: float = 0.0, **more: Any) -> dict[str, Any]:
    validation = {name: {key: value + shift * (key != "n") for key, value in values.items()} for name, values in VALIDATION.items()}
    means = {"epoch": epoch, "step": 100 * epoch, "train": dict.fromkeys(NAMES, 0.25), "images_per_second": 180.0}
    return means | {"validation": validation, "score": 0.8 + shift} | more


def sums(loss: Any = 8.0, rows: float = 16.0) -> Running:
    return Running(1, dict.fromkeys(NAMES, loss), dict.fromkeys(NAMES, rows))


def shown(table: Live, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, legacy_windows=False)
    with console.capture() as capture:
        console.print(table.table())
    return capture.get()


@pytest.mark.parametrize("width", [60, 100, 140])
def test_the_table_fits_and_says_everything(width: int, screen: Callable[..., io.StringIO], accelerator: Accelerator, clock: Clock) -> None:
    screen(width)
    gradients = {"n": 1, **{f"norm/{n}": 0.125 for n in NAMES}, "cosine/denoising|lungs": -0.25, "cosine/lungs|pneumonia": 0.5}
    with view(accelerator, step=200, seconds=3600) as table:
        table.validated(entry(3, 0.01), best=True)
        table.validated(entry(4, gradients=gradients), best=False)
        clock.now += 60
        table.update(401, 4, sums(), 9.13e-4, 400)
        clock.now += 5
        text = shown(table, width)
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    for wanted in (
        *("runs/cxr", "epoch 5/10", "step 401/1000", "40%", "elapsed 1:01:05", "learning rate 9.1e-04", "best model: epoch 3"),
        *("checkpoint 0:00:05 ago (step 400)", "GiB (resident)", "denoising|lungs -0.25"),
        *("validation (epoch 4)", "0.5000", "PSNR gain (dB) 5.91", "Dice 0.9612", "AUROC 0.9791", "0.9712 (3)"),
    ):
        assert wanted in " ".join(text.split()), wanted
    assert ("0.125" in text) == (width >= 90), "norms are the first to go"
    assert "hd95 nan" in text or width == 60


def test_very_narrow_terminals_and_long_names_break_nothing(screen: Callable[..., io.StringIO], accelerator: Accelerator) -> None:
    screen(20)
    long = "a_very_long_name_of_a_task" * 3
    with view(accelerator) as table:
        table.validated(entry(1, train={long: 1.0}, validation={long: {"dice": 0.5}}), best=True)
        for width in (1, 20, 60):
            assert max(map(len, shown(table, width).splitlines())) <= max(width, 8)


def test_images_per_second_and_eta(screen: Callable[..., io.StringIO], accelerator: Accelerator, clock: Clock) -> None:
    screen()
    with view(accelerator, step=150) as table:
        assert math.isnan(table.eta)
        assert math.isnan(table.images_per_second)
        clock.now += 30  # workers start, kernels are chosen
        table.update(151, 1, sums(), 1e-3, 0)
        assert table.eta == pytest.approx(849 * 30)
        for step in range(152, 172):
            clock.now += 2
            table.update(step, 1, sums(), 1e-3, 0)
        assert table.images_per_second == pytest.approx(16 * 21 / 70)
        assert table.eta == pytest.approx(829 * 2), "the first step was no step as the others"
        assert "ETA 0:27:38 + validation" in table.line()
        clock.now += 10
        table.validated(entry(2), best=True)
        assert table.eta == pytest.approx(829 * 2 + 4 * 10), "epochs 4, 6, 8 and 10 are validated"
        assert "ETA 0:28:18  " in table.line()
        for step in range(172, 212):
            clock.now += 2
            table.update(step, 2, sums(), 1e-3, 0)
        assert table.images_per_second == pytest.approx(16 / 2), "of late"


def test_the_best_of_a_run_that_goes_on_is_that_of_all_its_epochs(screen: Callable[..., io.StringIO], accelerator: Accelerator) -> None:
    screen()
    stored = [json.loads(json.dumps(entry(n, s)).replace("NaN", "null")) for n, s in ((2, 0.01), (4, -0.01))]
    table = view(accelerator, step=450, past=stored)
    assert {name: epoch for name, (_, epoch) in table.best.items()} == dict.fromkeys(NAMES, 2)
    assert [value for value, _ in table.best.values()] == pytest.approx([5.92, 0.9712, 0.9891])
    assert "best model: epoch 2" in shown(table, 100)
    table.validated(entry(6, 0.02), best=True)
    assert table.best_epoch == 6
    table.validated(entry(8, math.nan), best=False)
    assert (table.best_epoch, table.best["lungs"][1]) == (6, 6), "NaN is never better"


class Loss(float):
    """A number on a device: every look at it costs."""

    looks = 0

    def __float__(self) -> float:
        type(self).looks += 1
        return super().__float__()


@pytest.mark.parametrize(("terminal", "looks"), [(True, 5), (False, 0)])
def test_losses_are_read_when_they_are_shown(
    terminal: bool, looks: int, screen: Callable[..., io.StringIO], accelerator: Accelerator, clock: Clock
) -> None:
    screen(force_terminal=terminal, force_interactive=terminal)
    Loss.looks = 0
    with view(accelerator) as table:
        for step in range(1, 1001):
            clock.now += 0.005
            table.update(step, 0, sums(Loss(8.0)), 1e-3, 0)
    assert Loss.looks in (3 * looks, 3 * (looks - 1)), "five seconds, once a second, three tasks"


def test_without_a_terminal_there_is_a_line_a_minute_and_one_an_epoch(
    screen: Callable[..., io.StringIO], accelerator: Accelerator, clock: Clock
) -> None:
    file = screen(force_terminal=False, force_interactive=False)
    with view(accelerator) as table:
        for step in range(1, 91):
            clock.now += 2
            table.update(step, 0, sums(), 1e-3, 0)
        table.validated(entry(1), best=True)
    first, second, third, last = file.getvalue().splitlines()
    losses = "denoising loss 0.5000  lungs loss 0.5000  pneumonia loss 0.5000"
    assert first.startswith(f"epoch   1  step 30/1000  {losses}  8.0 img/s  ETA 0:32:20 + validation  memory ")
    assert first.endswith("GiB (resident)")
    assert ("step 60/1000" in second, "step 90/1000" in third) == (True, True)
    assert last.startswith("epoch   1  180.0 img/s  denoising loss 0.2500")
    assert "\x1b" not in file.getvalue()


def test_ci_logs_get_lines(monkeypatch: pytest.MonkeyPatch, screen: Callable[..., io.StringIO], accelerator: Accelerator) -> None:
    """rich's own variables: colours are welcome, moving the cursor is not."""
    file = screen(force_terminal=None, force_interactive=None, _environ={"TTY_COMPATIBLE": "1", "TTY_INTERACTIVE": "0"})
    assert progress.console.is_terminal
    with view(accelerator) as table:
        table.validated(entry(1), best=False)
    assert len(file.getvalue().splitlines()) == 1


def test_other_processes_are_silent(screen: Callable[..., io.StringIO], clock: Clock) -> None:
    class Second:
        is_main_process, num_processes, device = False, 1, torch.device("cpu")

        def gather(self, own: torch.Tensor) -> torch.Tensor:
            return torch.tensor([1.0, 3.0])

    for terminal in (True, False):
        file = screen(force_terminal=terminal, force_interactive=terminal)
        with view(Second()) as table:
            clock.now += 100
            table.update(1, 0, sums(), 1e-3, 0)
            table.validated(entry(1), best=False)
        assert file.getvalue() == ""
        assert table.gib == 3.0
        assert "memory 3.0 GiB (resident, most of 2 processes)" in table.line()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, None])
def test_the_terminal_is_given_back_with_the_table_on_it(
    error: type[BaseException] | None, screen: Callable[..., io.StringIO], accelerator: Accelerator
) -> None:
    file, streams = screen(), (sys.stdout, sys.stderr)

    def run() -> None:
        with view(accelerator) as table:
            assert list(progress.track([1, 2], "validating", total=2)) == [1, 2], "a bar within"
            table.validated(entry(1), best=False)
            if error is not None:
                raise error

    if error is None:
        run()
    else:
        with pytest.raises(error):
            run()
    hidden, shown_again = file.getvalue().rfind("\x1b[?25l"), file.getvalue().rfind("\x1b[?25h")
    assert -1 < hidden < shown_again
    assert (sys.stdout, sys.stderr) == streams
    assert "Dice 0.9612" in file.getvalue()[file.getvalue().rfind("runs/cxr") :]
    assert not progress.console._live_stack


def test_a_run_on_a_terminal(screen: Callable[..., io.StringIO], tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = screen(80)
    for name in ("draw_samples", "draw_curves"):
        monkeypatch.setattr(pictures, name, lambda *_: None)
    report = fit(run_config(tiny_data, tmp_path / "run", epochs=1, tasks={"size": TASKS["size"]}))
    text = file.getvalue()
    (line,) = (report.output / "metrics.jsonl").read_text().splitlines()
    assert f"step {json.loads(line)['step']}/" in text
    assert "100%" in text
    assert "best model: epoch 1" in text
    assert "memory" not in line, "two runs of one seed have the same lines but for their times"
