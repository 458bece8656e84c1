"""What a run leaves behind besides its checkpoint: environment, metrics, report and card."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator

from umsrep.errors import InputError
from umsrep.tasks import checkpoint
from umsrep.tasks.config import FineTuneConfig
from umsrep.tasks.description import run_results
from umsrep.zoo import hub
from umsrep.zoo.card import build_card

if TYPE_CHECKING:
    from umsrep.tasks.data.manifest import Manifest
    from umsrep.tasks.model import MultiTaskModel
    from umsrep.tasks.trainer import Report
    from umsrep.zoo.results import GuardResults

_PACKAGES = ("umsrep", "torch", "torchvision", "timm", "segmentation-models-pytorch", "accelerate", "safetensors", "torchmetrics", "numpy")
SHOWN = {"dice": "Dice", "auroc": "AUROC", "psnr_gain": "PSNR gain (dB)"}
"""The metric that stands for a task, and what people call it."""


def open_folder(output: Path, *, resume: bool, accelerator: Accelerator) -> dict[str, Any] | None:
    """Make the run folder, or find what to continue from; every process sees it as it was before any of them wrote.

    Raises:
        InputError: if it holds something and ``resume`` is False, or cannot be made.
    """
    check_free(output, resume=resume)
    accelerator.wait_for_everyone()
    state = checkpoint.load(output) if resume else None
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"output {output}: cannot be made ({error.strerror})") from error
        if state is None:
            (output / "metrics.jsonl").unlink(missing_ok=True)
        else:
            _cut_metrics(output / "metrics.jsonl", state["epoch"])
    accelerator.wait_for_everyone()
    return state


def check_free(output: Path, *, resume: bool) -> None:
    """Refuse an output that is a file or, without ``resume``, holds something.

    Raises:
        InputError: saying so.
    """
    if output.exists() and not output.is_dir():
        raise InputError(f"output {output}: is a file, not a folder")
    if not resume and output.is_dir() and any(output.iterdir()):
        raise InputError(f"output {output}: holds a run already; pass --resume to continue it, or choose another output")


def _cut_metrics(path: Path, epoch: int) -> None:
    """Drop lines after the checkpoint's epoch, which will be written again."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    kept = []
    for line in text.splitlines():
        try:
            if json.loads(line)["epoch"] <= epoch:
                kept.append(line)
        except json.JSONDecodeError:  # cut off when the run was killed; its epoch is not in the checkpoint
            continue
    if (new := "".join(line + "\n" for line in kept)) != text:
        aside = path.with_suffix(".tmp")  # the lines of earlier epochs must outlive a run that is killed now
        aside.write_text(new, encoding="utf-8")
        aside.replace(path)


def fingerprint(manifest: Manifest) -> str:
    """Return the sha256 of a data set's table: every column name and cell, whatever the file format; images are not read."""
    digest = hashlib.sha256()
    for name in sorted(manifest.columns):
        digest.update("\0".join([name, *manifest.columns[name], ""]).encode())
    return digest.hexdigest()


def write_environment(
    output: Path, world_size: int, accelerator: Accelerator, *, data: Mapping[str, str], notes: Sequence[str], seed: int
) -> None:
    """Write environment.json: processes, device, versions, git commit, seed, each data set's `fingerprint`, and what was left out of it."""
    versions: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    root = Path(__file__).resolve().parents[1]
    try:
        git = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False, timeout=10)
        commit = git.stdout.strip() or None
    except (OSError, subprocess.TimeoutExpired):
        commit = None
    environment = {
        "world_size": world_size,
        "device": str(accelerator.device),
        "precision": accelerator.mixed_precision,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions,
        "git_commit": commit,
        "seed": seed,
        "data": dict(data),
        "data_notes": list(notes),
    }
    (output / "environment.json").write_text(json.dumps(environment, indent=2) + "\n", encoding="utf-8")


def append_metrics(output: Path, entry: Mapping[str, Any]) -> None:
    """Add one line to metrics.jsonl; numbers that are not finite become null."""
    with (output / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(plain(entry), allow_nan=False) + "\n")


def read_metrics(output: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl, none where there is no such file."""
    path = output / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def plain(value: Any) -> Any:
    """Return JSON values: NaN and infinities become None, paths text."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


def leaves(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values under names joined by dots, as the command line writes them."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        result |= leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return result


def flat(entry: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Return nested numbers under names joined by slashes, for trackers."""
    result: dict[str, float] = {}
    for key, value in entry.items():
        if isinstance(value, Mapping):
            result |= flat(value, f"{prefix}{key}/")
        elif isinstance(value, int | float) and math.isfinite(value):
            result[f"{prefix}{key}"] = float(value)
    return result


def epoch_line(entry: Mapping[str, Any], best: bool) -> str:
    """Return one line for people about one epoch."""
    parts = [f"epoch {entry['epoch']:3d}", f"{entry['images_per_second']:.1f} img/s"]
    parts += [f"{name} loss {loss:.4f}" for name, loss in entry["train"].items()]
    for name, metrics in entry.get("validation", {}).items():
        parts += [f"{name} {label} {metrics[key]:.4f}" for key, label in SHOWN.items() if key in metrics]
    return "  ".join(parts) + ("  best" if best else "")


def write_report(report: Report, config: FineTuneConfig, model: MultiTaskModel, *, guard: GuardResults | None = None) -> None:
    """Write results.json with what the card says, the model's card made from it, and last, in one piece, report.json: it means "done"."""
    results = dataclasses.replace(run_results(report, config, model), guard=guard)
    (report.output / "results.json").write_text(json.dumps(results.to_dict(), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    card = build_card(report.output.name, hub.read_config(report.model), results)
    (report.model / hub.CARD_FILE).write_text(card, encoding="utf-8")
    aside = report.output / ".report.json"
    aside.write_text(json.dumps(plain(dataclasses.asdict(report)), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    aside.replace(report.output / "report.json")
