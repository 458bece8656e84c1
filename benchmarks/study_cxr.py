"""Measure finished runs on real chest X-rays, joint against single-task against classical, all on the same rows and pixels.

    python benchmarks/study_cxr.py --data DIR --runs DIR --out docs/study_cxr.json [--classical-only]

``--data`` holds cxr_guangzhou and cxr_external; ``--runs`` the run folders of ``umsrep finetune``: joint, single-denoising,
single-lungs, single-pneumonia, joint-unshared (those that are missing are named and left out). Heads: denoising, lungs, pneumonia.

* Lung Dice: the masked rows of split = test of cxr_guangzhou, and all of cxr_external, also by the origin of its masks.
* AUROC normal / pneumonia: the published test, official_split = test.
* Denoising, Gaussian noise of sigma 25/255, not clipped, fixed by ``--seed`` and the row: every k-th row of split = test, the same noisy
  pixels for every method; classical ones are tuned on images of split = validation. PSNR with data range 1, no clipping.

Intervals are 95 % percentile bootstraps that draw patients, not images; differences are paired on the same draws.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from umsrep.errors import InputError
from umsrep.heads import ClassificationHead
from umsrep.tasks import classical
from umsrep.tasks.data.dataset import JointDataset, Source, Target
from umsrep.tasks.data.manifest import Manifest, load_manifest
from umsrep.tasks.denoising import Denoising
from umsrep.tasks.evaluate import collect, summarise, tasks_of
from umsrep.tasks.model import MultiTaskModel
from umsrep.tasks.noise import GREY_LEVELS
from umsrep.tasks.progress import say, track
from umsrep.tasks.runfolder import plain
from umsrep.tasks.task import Task
from umsrep.zoo import InputContract

RUNS = {"joint": ("denoising", "lungs", "pneumonia"), "single-denoising": ("denoising",), "single-lungs": ("lungs",)}
RUNS |= {"single-pneumonia": ("pneumonia",), "joint-unshared": ("denoising", "lungs", "pneumonia")}
LEVEL = 25.0
COLUMNS = {
    "dice_guangzhou": "Lung Dice, Guangzhou",
    "dice_external": "Lung Dice, external",
    "auroc": "AUROC, published test",
    "psnr_gain": "PSNR gain, dB",
    "ssim": "SSIM",
}
Values = dict[str, np.ndarray]  # per-row statistics of one measurement
Results = dict[str, dict[str, Any]]


def make_set(
    manifest: Manifest, rows: Sequence[int], name: str, task: Task, contract: InputContract, *, seed: int = 0, column: str | None = None
) -> JointDataset:
    targets = {name: Target(column)} if column else {}
    return JointDataset([Source(manifest, rows, [name], targets)], {name: task}, contract, seed=seed)


def every(rows: Sequence[int], count: int) -> list[int]:
    """Every k-th row, so that there are at least ``count`` (if there are so many) and fewer than twice as many."""
    return list(rows[:: max(1, len(rows) // count)])


def patients(manifest: Manifest, rows: Sequence[int]) -> np.ndarray:
    """Patient number of each row; a row without patient_id is a patient of its own."""
    names = manifest.column("patient_id")
    return np.unique([names[row] or f"row {row}" for row in rows], return_inverse=True)[1]


def bootstrap(cluster: np.ndarray, statistic: Callable[[np.ndarray], float], resamples: int, seed: int) -> np.ndarray:
    """The statistic of ``resamples`` draws of whole clusters with replacement; draws where it is undefined are nan."""
    members = [np.flatnonzero(cluster == c) for c in range(cluster.max() + 1)]
    generator = np.random.default_rng(seed)
    draws = generator.integers(len(members), size=(resamples, len(members)))
    return np.array([statistic(np.concatenate([members[c] for c in draw])) for draw in draws])


class Study:
    """Collects results: measurement -> method -> value, interval and bootstrap draws."""

    def __init__(self, resamples: int, seed: int) -> None:
        self.resamples, self.seed = resamples, seed
        self.results: dict[str, Results] = {}
        self.draws: dict[tuple[str, str], np.ndarray] = {}

    def add(self, measure: str, method: str, cluster: np.ndarray, statistic: Callable[[np.ndarray], float], **more: Any) -> None:
        """Add one number; the same cluster gives the same draws for every method, so that differences are paired."""
        draws = bootstrap(cluster, statistic, self.resamples, self.seed)
        self.draws[measure, method] = draws
        entry = {"value": statistic(np.arange(len(cluster))), "interval": interval(draws), "rows": len(cluster)}
        self.results.setdefault(measure, {})[method] = {**entry, "patients": int(cluster.max()) + 1, **more}

    def differences(self, reference: str) -> dict[str, Results]:
        """The reference method less each other one, with the paired interval."""
        found: dict[str, Results] = {}
        for measure, methods in self.results.items():
            if reference in methods:
                for other in [name for name in methods if name != reference]:
                    value = methods[reference]["value"] - methods[other]["value"]
                    draws = self.draws[measure, reference] - self.draws[measure, other]
                    found.setdefault(measure, {})[other] = {"value": value, "interval": interval(draws)}
        return found

    def table(self) -> str:
        """Return a Markdown table, one line a method."""
        methods = dict.fromkeys(m for measure in COLUMNS for m in self.results.get(measure, {}))
        counts = {c: next(iter(self.results[c].values()), {}) for c in COLUMNS if c in self.results}
        titles = [f"{COLUMNS[c]} (n = {e['rows']}, {e['patients']} patients)" for c, e in counts.items()]
        lines = ["| " + " | ".join(("method", *titles)) + " |", "|---" * (len(titles) + 1) + "|"]
        lines += ["| " + " | ".join((m, *(shown(c, self.results[c].get(m)) for c in counts))) + " |" for m in methods]
        return "\n".join(lines) + "\n"


def interval(draws: np.ndarray) -> list[float]:
    return [float(v) for v in np.nanpercentile(draws, (2.5, 97.5))]


def shown(measure: str, entry: dict[str, Any] | None) -> str:
    if entry is None:
        return "–"
    digits = 2 if measure == "psnr_gain" else 3
    low, high = entry["interval"]
    return f"{entry['value']:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def mean_of(values: np.ndarray) -> Callable[[np.ndarray], float]:
    return lambda rows: float(np.nanmean(values[rows], dtype=np.float64))


def add_denoising(study: Study, method: str, cluster: np.ndarray, values: Values, **more: Any) -> None:
    means = {key: float(values[key].mean(dtype=np.float64)) for key in ("psnr", "psnr_noisy", "ssim_noisy")}
    study.add("psnr_gain", method, cluster, mean_of(values["psnr"] - values["psnr_noisy"]), **means, **more)
    study.add("ssim", method, cluster, mean_of(values["ssim"]))


def run_model(study: Study, run: str, model: MultiTaskModel, data: dict[str, Manifest], args: argparse.Namespace) -> None:
    """Measure what a run was trained for."""
    tasks, contract = tasks_of(model, level=LEVEL), model.encoder.contract
    guangzhou = data["guangzhou"]
    for name in RUNS[run]:
        model.check_tasks([name])
        task = tasks[name]
        if name == "denoising":
            rows = every(guangzhou.rows("test"), args.images)
            values = collect(model, make_set(guangzhou, rows, name, task, contract, seed=args.seed), title=f"{run}: {name}")[name]
            add_denoising(study, run, patients(guangzhou, rows), values)
        elif name == "lungs":
            for place, manifest in data.items():
                masks = manifest.column("mask_file_name")
                rows = [row for row in manifest.rows("test") if masks[row]]
                rows_of = collect(model, make_set(manifest, rows, name, task, contract), title=f"{run}: {name}, {place}")[name]
                metrics = summarise({name: rows_of}, tasks)[name]
                dice, cluster = rows_of["dice"][:, 0], patients(manifest, rows)
                study.add(f"dice_{place}", run, cluster, mean_of(dice), hd95=metrics["hd95"], hd95_undefined=metrics["hd95_undefined"])
                sources = np.array([manifest.columns["mask_source"][row] for row in rows] if "mask_source" in manifest.columns else [])
                for source in np.unique(sources):
                    some = sources == source
                    part = np.unique(cluster[some], return_inverse=True)[1]
                    study.add(f"dice_{place}/{source}", run, part, mean_of(dice[some]))
        else:
            rows = guangzhou.rows("test", "official_split")
            found = make_set(guangzhou, rows, name, task, contract, column="label_binary")
            rows_of = collect(model, found, title=f"{run}: {name}")[name]
            truth, scores = rows_of["target"] == 1, rows_of["probabilities"][:, 1]
            thresholds = {head_name: head.thresholds for head_name, head in model.heads.items() if isinstance(head, ClassificationHead)}
            metrics = summarise({name: rows_of}, tasks, thresholds)[name]

            def auroc(drawn: np.ndarray, truth: np.ndarray = truth, scores: np.ndarray = scores) -> float:
                return float(roc_auc_score(truth[drawn], scores[drawn])) if 0 < truth[drawn].mean() < 1 else np.nan

            study.add("auroc", run, patients(guangzhou, rows), auroc, metrics=metrics)


def run_classical(study: Study, manifest: Manifest, contract: InputContract, args: argparse.Namespace) -> None:
    """Tune every classical denoiser on validation images and measure it on the models' test pixels."""
    task, sigma = Denoising(level=LEVEL), LEVEL / GREY_LEVELS
    pairs = {}
    # Another seed: validation and test images must not share noise.
    for split, count, seed in (("validation", args.tune_images, args.seed + 1), ("test", args.images, args.seed)):
        rows = every(manifest.rows(split), count)
        dataset = make_set(manifest, rows, "denoising", task, contract, seed=seed)
        items: list[Any] = [dataset[i] for i in range(len(dataset))]
        for item in items:
            if isinstance(item, InputError):
                raise item
        clean, noisy = (torch.stack([item[f"{key}.denoising"] for item in items]) for key in ("target", "noisy"))
        pairs[split] = (rows, clean, contract.denormalise(noisy))
    _, clean, noisy = pairs["validation"]
    test_rows, test_clean, test_noisy = pairs["test"]
    for name, method in classical.CLASSICAL.items():
        tuned = classical.tune(name, list(clean.numpy()), list(noisy.numpy()), sigma, title=f"tuning {method.title}")
        out = [classical.apply(name, x, sigma, **tuned.parameters) for x in track(list(test_noisy.numpy()), method.title, len(test_noisy))]
        values = task.rows(torch.from_numpy(np.stack(out)), test_clean, noisy=test_noisy)
        more = {k: v for k, v in dataclasses.asdict(tuned).items() if k != "curve"}
        add_denoising(study, method.title, patients(manifest, test_rows), values, tuned=more)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--classical-only", action="store_true")
    parser.add_argument("--size", type=int, default=128, help="pixels a side, with --classical-only; otherwise the models say")
    parser.add_argument("--images", type=int, default=100, help="test images for denoising, at least")
    parser.add_argument("--tune-images", type=int, default=20, help="validation images for tuning, at least")
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    args = parse()
    data = {"guangzhou": load_manifest(args.data / "cxr_guangzhou"), "external": load_manifest(args.data / "cxr_external")}
    data["guangzhou"].check_patients("split")  # no test patient was trained on
    study, contract = Study(args.resamples, args.seed), InputContract(size=args.size)
    if not args.classical_only:
        folders = {run: args.runs / run / "model" for run in RUNS}
        for run in [run for run, folder in folders.items() if not folder.is_dir()]:
            say(f"{folders.pop(run)}: no such model; left out")
        models = {run: MultiTaskModel.from_pretrained(folder) for run, folder in folders.items()}
        contracts = {model.encoder.contract for model in models.values()}
        if len(contracts) != 1:
            raise InputError(f"{args.runs}: the runs must agree on one input contract, found {len(contracts)}: pixels would differ")
        contract = contracts.pop()
        for run, model in models.items():
            run_model(study, run, model, data, args)
    run_classical(study, data["guangzhou"], contract, args)
    options = {key: value for key, value in vars(args).items() if key not in ("data", "runs", "out")}
    settings = {**options, "level": LEVEL, "contract": contract.to_dict(), "interval": "95 % percentile bootstrap over patients"}
    report = {"settings": settings, "results": study.results, "joint_minus_other": study.differences("joint")}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(plain(report), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    args.out.with_suffix(".md").write_text(study.table(), encoding="utf-8")
    print(study.table())


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        say(f"error: {error}")
        sys.exit(2)
