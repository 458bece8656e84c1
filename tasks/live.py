"""What a person sees of a run while it trains: a table on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import collections
import datetime
import math
import sys
import textwrap
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, cast

import psutil
import torch
from accelerate import Accelerator
from rich import box, live
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from umsrep.tasks import progress
from umsrep.tasks.runfolder import SHOWN, epoch_line
from umsrep.tasks.running import Running

_REDRAW = 1.0
"""Seconds between redraws of the table, each of which takes some milliseconds."""
_LINES = 60.0
"""Seconds between lines where there is no terminal."""
_PAIRS = 3
"""Pairs of tasks whose gradients' cosine is shown: those that disagree most."""
_GAP = "   "


class Live:
    """A context manager around the training loop, to be told of every step and every epoch.

    It draws in the calls that tell it something, never from a thread of its own: loader processes are forked while it is shown, and
    one forked while a thread held the terminal's lock could never print. A process that is not the main one shows nothing.

    Attributes:
        gib: Memory in GiB, the most of all processes (as of the last epoch; this one's as of now): the peak allocated on the GPU, or
            resident where there is none.
    """

    def __init__(
        self,
        title: str,
        accelerator: Accelerator,
        *,
        total_steps: int,
        steps_per_epoch: int,
        validate_every: int,
        images_per_step: int,
        step: int = 0,
        seconds: float = 0.0,
        past: Iterable[Mapping[str, Any]] = (),
    ) -> None:
        """Set up.

        Args:
            title: Of the run.
            accelerator: Of the run.
            total_steps: Of the whole run.
            steps_per_epoch: Steps.
            validate_every: Epochs between validations.
            images_per_step: Over all processes.
            step: Steps that earlier sessions of the run have done.
            seconds: That they took.
            past: Their lines of metrics.jsonl.
        """
        self.title, self.accelerator = title, accelerator
        self.total_steps, self.steps_per_epoch, self.validate_every = total_steps, steps_per_epoch, validate_every
        self.images_per_step, self.before = images_per_step, seconds
        self.step = self.saved_step = step
        self.epoch, self.learning_rate = step // steps_per_epoch, math.nan
        self.losses: dict[str, float] = {}
        self.gradients: dict[str, float] = {}
        self.last: dict[str, Any] = {}
        self.best: dict[str, tuple[float, int]] = {}
        self.best_score, self.best_epoch = -math.inf, 0
        self.gib = self._own_memory()
        self.processes_gib = [self.gib]
        for entry in past:
            self._learn(entry)
        self._steps = self._validations = 0
        self._training = self._validating = self._first = 0.0
        self._start = self._mark = self._shown = time.monotonic()
        self._saved: float | None = None
        main, self.drawn = accelerator.is_main_process, progress.console.is_interactive
        self.says = main and not self.drawn
        self._samples: collections.deque[tuple[float, int]] = collections.deque([(0.0, 0)], maxlen=round(30 / _REDRAW) if self.drawn else 1)
        self._live: live.Live | None = None
        if main and self.drawn:
            self._live = live.Live(
                get_renderable=self.table,
                console=progress.console,
                auto_refresh=False,
                redirect_stdout=sys.stdout.isatty(),  # what goes into a file or pipe is no business of the terminal
            )

    def __enter__(self) -> Live:
        """Start the clocks and draw the table."""
        self._start = self._mark = self._shown = time.monotonic()
        if self._live is not None:
            self._live.start(refresh=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Leave the table as it stands and give the terminal back."""
        if self._live is not None:
            self._live.stop()

    # ---- being told ------------------------------------------------------------------------------------------------
    def update(self, step: int, epoch: int, running: Running, learning_rate: float, saved_step: int) -> None:
        """Take note of one step that was made; the losses are only read (which waits for the GPU) when something is shown.

        Args:
            step: Steps of the run that are done.
            epoch: Epochs that are done.
            running: The epoch's sums.
            learning_rate: Of the heads.
            saved_step: That of the last checkpoint.
        """
        now = time.monotonic()
        self._training += now - self._mark
        self._mark, self._steps = now, self._steps + 1
        if self._steps == 1:
            self._first = self._training
        self.step, self.epoch, self.learning_rate = step, epoch, learning_rate
        if saved_step != self.saved_step:
            self.saved_step, self._saved = saved_step, now
        if now - self._shown < (_LINES if self.says else _REDRAW) or not (self.says or self._live):
            return
        self._shown = now
        world = self.accelerator.num_processes  # a process's sums are its share of the mean over all rows
        self.losses = {name: float(total) * world / rows for name, total in running.sums.items() if (rows := running.rows[name])}
        if running.gradients:
            self.gradients = running.mean_gradients()
        self.gib = max([*self.processes_gib[1:], self._own_memory()])
        if self._live is not None:
            self._live.refresh()
        else:
            progress.say(self.line())
        self._samples.append((self._training, self._steps))

    def validated(self, entry: Mapping[str, Any], *, best: bool) -> None:
        """Take note of an epoch that is done, its line of metrics.jsonl; every process must call it."""
        now = time.monotonic()
        self._mark, spent = now, now - self._mark
        if "validation" in entry:
            self._validations += 1
            self._validating += spent
        self._learn(entry)
        own = torch.tensor([self._own_memory()], device=self.accelerator.device)
        self.processes_gib = cast(torch.Tensor, self.accelerator.gather(own)).tolist()
        self.gib = max(self.processes_gib)
        if self.accelerator.is_main_process:
            progress.say(epoch_line(entry, best))
        if self._live is not None:
            self._live.refresh()

    def _learn(self, entry: Mapping[str, Any]) -> None:
        self.epoch, self.losses = entry["epoch"], {k: v for k, v in entry["train"].items() if v is not None}
        self.gradients = entry.get("gradients", self.gradients)
        if "validation" not in entry:
            return
        self.last = dict(entry)
        score = -math.inf if entry["score"] is None or math.isnan(entry["score"]) else entry["score"]
        if not self.best_epoch or score > self.best_score:
            self.best_score, self.best_epoch = score, entry["epoch"]
        for name, metrics in entry["validation"].items():
            key = next((key for key in SHOWN if key in metrics), None)
            value = metrics[key] if key else None
            if value is not None and value > self.best.get(name, (-math.inf, 0))[0]:  # NaN, null in the file, is never the best
                self.best[name] = (value, entry["epoch"])

    # ---- measuring -------------------------------------------------------------------------------------------------
    def _own_memory(self) -> float:
        device = self.accelerator.device
        used = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else psutil.Process().memory_info().rss
        return float(used) / 2**30

    @property
    def images_per_second(self) -> float:
        """Images a second of training, over the last half minute on a terminal, since the last line elsewhere; NaN before the first."""
        seconds, steps = self._samples[0]
        return (self._steps - steps) * self.images_per_step / (self._training - seconds) if self._training > seconds else math.nan

    @property
    def eta(self) -> float:
        """Seconds to the last step, validations among them once one was measured; NaN before the first step.

        From this session's own mean, without its first step, in which kernels are chosen or compiled and loaders start.
        """
        if not self._steps:
            return math.nan
        each = (self._training - self._first) / (self._steps - 1) if self._steps > 1 else self._first
        last = math.ceil(self.total_steps / self.steps_per_epoch)
        ahead = sum(epoch % self.validate_every == 0 or epoch == last for epoch in range(self.epoch + 1, last + 1))
        validation = self._validating / self._validations if self._validations else 0.0
        return (self.total_steps - self.step) * each + ahead * validation

    # ---- showing ---------------------------------------------------------------------------------------------------
    def _facts(self) -> list[str]:
        """What holds for the run as a whole, in few words each, the most wanted first."""
        count, cuda = len(self.processes_gib), self.accelerator.device.type == "cuda"
        many = f", most of {count} {'GPUs' if cuda else 'processes'}" if count > 1 else ""
        facts = []
        if not math.isnan(self.images_per_second):
            facts.append(f"{self.images_per_second:.1f} img/s")
        if not math.isnan(self.eta):
            facts.append(f"ETA {_clock(self.eta)}" + ("" if self._validations else " + validation"))
        facts.append(f"memory {self.gib:.1f} GiB ({'GPU peak' if cuda else 'resident'}{many})")
        return facts

    def line(self) -> str:
        """Return one line about where the run stands, for logs."""
        losses = [f"{name} loss {loss:.4f}" for name, loss in self.losses.items()]
        return "  ".join([f"epoch {self.epoch + 1:3d}", f"step {self.step}/{self.total_steps}", *losses, *self._facts()])

    def table(self) -> RenderableType:
        """Return the table, for a terminal as wide as it is now."""
        width, now = progress.console.width, time.monotonic()
        epochs = math.ceil(self.total_steps / self.steps_per_epoch)
        head = Table.grid(padding=(0, 1), expand=True)
        head.add_column(no_wrap=True)
        head.add_column(ratio=1)
        head.add_column(no_wrap=True)
        where = f"epoch {min(self.epoch + 1, epochs)}/{epochs}  step {self.step}/{self.total_steps}"
        head.add_row(where, ProgressBar(self.total_steps, self.step), f"{self.step / self.total_steps:.0%}")
        facts = [*self._facts(), f"elapsed {_clock(self.before + now - self._start)}"]
        if not math.isnan(self.learning_rate):
            facts.append(f"learning rate {self.learning_rate:.1e}")
        if self._saved is not None:
            facts.append(f"checkpoint {_clock(now - self._saved)} ago (step {self.saved_step})")
        else:
            facts.append(f"checkpoint of step {self.saved_step}" if self.saved_step else "no checkpoint yet")
        if self.best_epoch:
            facts.append(f"best model: epoch {self.best_epoch}")
        body = Table(expand=True, box=box.SIMPLE_HEAD, pad_edge=False)
        body.add_column("task", no_wrap=True, max_width=max(8, width // 5))
        body.add_column("loss", justify="right", no_wrap=True)
        epoch = f" (epoch {self.last['epoch']})" if self.last else ""
        body.add_column(f"validation{epoch}", ratio=1, no_wrap=True, overflow="ellipsis")
        body.add_column("best (epoch)", no_wrap=True)
        norms = width >= 90 and any(name.startswith("norm/") for name in self.gradients)
        if norms:
            body.add_column("gradient", justify="right", no_wrap=True)
        validation = self.last.get("validation", {})
        for name in dict.fromkeys([*self.losses, *validation]):
            best = f"{self.best[name][0]:.4f} ({self.best[name][1]})" if name in self.best else ""
            loss = f"{self.losses[name]:.4f}" if name in self.losses else ""
            norm = self.gradients.get(f"norm/{name}")
            gradient = [f"{norm:.3g}" if norm is not None else ""] if norms else []
            body.add_row(name, loss, _metrics(validation.get(name, {})), best, *gradient)
        cosines = sorted((v, k.removeprefix("cosine/")) for k, v in self.gradients.items() if k.startswith("cosine/"))
        if cosines:
            facts.append("gradients' cosines: " + ", ".join(f"{pair} {value:+.2f}" for value, pair in cosines[:_PAIRS]))
        title = Text(self.title, style="bold", overflow="ellipsis", no_wrap=True)
        return Group(title, head, Text("\n".join(_packed(facts, width))), *([body] if body.row_count else []))


def _metrics(metrics: Mapping[str, float | None]) -> str:
    """Return as one line the metrics of one task, its own first."""
    ordered = sorted((key for key in metrics if key != "n"), key=lambda key: key not in SHOWN)
    return "  ".join(f"{SHOWN.get(key, key)} {value:.4f}" for key in ordered if (value := metrics[key]) is not None)


def _packed(facts: list[str], width: int) -> list[str]:
    """Return lines of whole facts, each line as full as it can be."""
    stuck = _GAP.join(fact.replace(" ", "\u00a0") for fact in facts)  # textwrap breaks at plain spaces alone
    return [line.replace("\u00a0", " ") for line in textwrap.wrap(stuck, max(1, width), break_on_hyphens=False, break_long_words=False)]


def _clock(seconds: float) -> str:
    return str(datetime.timedelta(seconds=round(seconds)))
