"""Learning curves of active learning on two real sets, five seeds: does picking beat random?

cxr_guangzhou (pneumonia): 1,500 training rows drawn once; embeddings of ImageNet's tf_efficientnet_lite0 at 96 px, standardised over
the pool (without labels); each round a logistic regression (L2, C = 0.01) from scratch; 10 labels, then 10 more a round up to 200; AUROC
on the 1,203 test images.

nuclei (segmentation): all 433 training rows, embeddings as above at 128 px for distances. Fine-tuning a network in each of some 700
rounds is out of reach of one core, so the head is linear and in closed form: the encoder's maps of strides 2, 4 and 8 (80 channels,
128 px), brought to 64 x 64, go into a discriminant analysis of pixels (two classes, one covariance), for which sums over each image
are enough. A fit has no randomness of its own, so curves differ by the rows alone; what a fine-tuned network would gain is not shown.
2 images, then 2 more a round up to 40; Dice at .5, mean over images, on the 108 validation images (fluorescence, as in training;
nothing is tuned on them) and on the 123 test images (other stains: a shift).

Strategies from a random start, the same for all within a seed: random, entropy, medal (mean and centroid, M = 50), core-set. From an ORB
start: medal and random. Compared by the mean of the metric over the rounds (area under the curve), paired with random by seed
(t-test, Holm within a metric). With equal weights the first rows of a curve count as much as the last.

    python benchmarks/study_active.py --data /tmp/data --weights ../shared/weights --cache /tmp/active_cache
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch.nn import functional as F

from umsrep import Encoder
from umsrep.tasks.active import core_set_select, entropy, random_select
from umsrep.tasks.active.medal import pick_farthest
from umsrep.tasks.active.orb import OrbVectors, pick_by_orb
from umsrep.tasks.active.signals import Images, embeddings, orb_vectors
from umsrep.tasks.choose.candidates import open_candidates
from umsrep.tasks.data.dataset import read_mask
from umsrep.tasks.data.manifest import Manifest, load_manifest
from umsrep.tasks.feature_cache import cache_key, digest_images, encoder_digest
from umsrep.tasks.statistics import holm, paired_t_test

ARCH = "tf_efficientnet_lite0"
SIDE = 64
"""Of the nuclei's maps and masks."""
BINARY = np.log(2)
RUNS = {
    "random": ("random", "random"),
    "entropy": ("random", "entropy"),
    "medal": ("random", "medal"),
    "medal centroid": ("random", "medal centroid"),
    "core-set": ("random", "core-set"),
    "ORB start, medal": ("orb", "medal"),
    "ORB start, random": ("orb", "random"),
}
"""Name to what starts and what goes on."""


@dataclasses.dataclass(frozen=True)
class Problem:
    """One data set.

    Attributes:
        features: [N, D] of the pool, in which distances are taken.
        orb: Of the pool.
        fit: Labelled rows to the metrics, and the entropies [N] of the pool.
        start: Labels before the first round.
        step: Labels a round.
        rounds: Rounds after the first fit.
        metrics: Names; the first is the main one.
        whole: Metrics with the whole pool labelled.
    """

    features: np.ndarray
    orb: OrbVectors
    fit: Callable[[np.ndarray], tuple[dict[str, float], np.ndarray]]
    start: int
    step: int
    rounds: int
    metrics: tuple[str, ...]
    whole: dict[str, float]


def look(folder: Path, rows: Sequence[int], cache: Path) -> Images:
    manifest = load_manifest(folder)
    return Images(manifest, tuple(rows), tuple(digest_images(manifest, rows)), cache, workers=1)


def encoder_of(weights: Path, channels: int, side: int) -> Encoder:
    file = weights / f"{ARCH}.imagenet.safetensors"
    return open_candidates([f"{ARCH}={file}"], channels=channels, image_size=side)[0].encoder


# ---- pneumonia -----------------------------------------------------------------------------------------------------
def pneumonia(data: Path, weights: Path, cache: Path, *, quick: bool) -> Problem:
    folder = data / "cxr_guangzhou"
    manifest = load_manifest(folder)
    labels = np.array(manifest.column("label_binary")) == "pneumonia"
    generator = np.random.default_rng(0)
    pool = np.sort(generator.permutation(manifest.rows("train"))[: 150 if quick else 1500])
    test = np.array(manifest.rows("test"))[:: 10 if quick else 1]
    encoder = encoder_of(weights, 1, 96)
    images = look(folder, pool.tolist(), cache)
    features, unseen = embeddings(encoder, images), embeddings(encoder, look(folder, test.tolist(), cache))
    centre, spread = features.mean(axis=0), features.std(axis=0) + 1e-6
    x, z, y, truth = (features - centre) / spread, (unseen - centre) / spread, labels[pool], labels[test]

    def fit(labelled: np.ndarray) -> tuple[dict[str, float], np.ndarray]:
        if len(set(y[labelled])) < 2:  # a start of one class: nothing is known yet, all rows are equally uncertain
            return {"AUROC": 0.5}, np.full(len(x), BINARY)
        model = LogisticRegression(C=0.01, max_iter=1000).fit(x[labelled], y[labelled])
        return {"AUROC": float(roc_auc_score(truth, model.decision_function(z)))}, entropy(model.predict_proba(x))

    orb = orb_vectors(images)
    return Problem(features, orb, fit, 10, 10, 4 if quick else 19, ("AUROC",), fit(np.arange(len(x)))[0])


# ---- nuclei --------------------------------------------------------------------------------------------------------
def maps_of(encoder: Encoder, images: Images) -> np.ndarray:
    """Pixel features float16 [N, 64 x 64, 80]."""
    digest = encoder_digest(encoder)

    @torch.inference_mode()
    def make(rows: tuple[int, ...]) -> np.ndarray:
        found = []
        for row in rows:
            levels = encoder(encoder.contract.load(images.manifest.image(row))[None])[:3]
            fitted = [F.interpolate(level, size=(SIDE, SIDE), mode="bilinear", align_corners=False) for level in levels]
            found.append(torch.cat(fitted, dim=1)[0].flatten(1).T.half().numpy())
        return np.stack(found)

    return images.kept("maps", lambda d: cache_key("study-active-maps", digest, encoder.contract.to_dict(), [SIDE, *d]), make)


def masks_of(manifest: Manifest, rows: Sequence[int]) -> np.ndarray:
    """Bool [N, 64 x 64]."""
    found = []
    for row in rows:
        mask = torch.from_numpy(read_mask(Path(str(manifest.mask("mask_file_name", row))), manifest.where(row)).copy())
        found.append(F.interpolate(mask[None, None].float(), size=(SIDE, SIDE), mode="nearest-exact")[0, 0].flatten().numpy() == 1)
    return np.stack(found)


def nuclei(data: Path, weights: Path, cache: Path, *, quick: bool) -> Problem:
    folder = data / "nuclei"
    manifest = load_manifest(folder)
    rows = {split: manifest.rows(split)[:: 8 if quick else 1] for split in ("train", "validation", "test")}
    encoder = encoder_of(weights, 3, 128)
    images = {split: look(folder, some, cache) for split, some in rows.items()}
    maps = {split: maps_of(encoder, some).astype(np.float32) for split, some in images.items()}  # 0.9 GB
    masks = {split: masks_of(manifest, some) for split, some in rows.items()}
    x, y = maps["train"], masks["train"]
    # sums over each image are all that a discriminant analysis needs
    counts = np.stack([(~y).sum(axis=1), y.sum(axis=1)], axis=1).astype(np.float64)
    firsts = np.stack([[x[i][y[i] == k].sum(axis=0, dtype=np.float64) for k in (False, True)] for i in range(len(x))])
    seconds = np.stack([one.T @ one for one in x]).astype(np.float64)

    def fit(labelled: np.ndarray) -> tuple[dict[str, float], np.ndarray]:
        n, first, second = counts[labelled].sum(axis=0), firsts[labelled].sum(axis=0), seconds[labelled].sum(axis=0)
        if n.min() == 0:
            return {"Dice, same stain": 0.0, "Dice, other stains": 0.0}, np.full(len(x), BINARY)
        means = first / n[:, None]
        within = (second - (means.T * n) @ means) / n.sum()
        within += 1e-2 * np.trace(within) / len(within) * np.eye(len(within))
        slope = np.linalg.solve(within, means[1] - means[0])
        offset = np.log(n[1] / n[0]) - 0.5 * float((means[0] + means[1]) @ slope)
        weight, shift = slope.astype(np.float32), np.float32(offset)

        def dice(split: str) -> float:
            found = maps[split] @ weight + shift > 0
            both, total = (found & masks[split]).sum(axis=1), found.sum(axis=1) + masks[split].sum(axis=1)
            return float(np.where(total > 0, 2 * both / np.maximum(total, 1), 1.0).mean())

        p = 1 / (1 + np.exp(-np.clip(x @ weight + shift, -15, 15)))
        unsure = -(p * np.log(p) + (1 - p) * np.log1p(-p)).mean(axis=1)  # of an image: the mean over its pixels
        return {"Dice, same stain": dice("validation"), "Dice, other stains": dice("test")}, unsure.astype(np.float64)

    features = embeddings(encoder, images["train"])
    orb = orb_vectors(images["train"])
    metrics = ("Dice, same stain", "Dice, other stains")
    return Problem(features, orb, fit, 2, 2, 4 if quick else 19, metrics, fit(np.arange(len(x)))[0])


# ---- curves --------------------------------------------------------------------------------------------------------
def pick(problem: Problem, how: str, labelled: np.ndarray, unsure: np.ndarray, seed: int) -> np.ndarray:
    known, step = np.zeros(len(unsure), dtype=bool), problem.step
    known[labelled] = True
    if how == "random":
        return random_select(problem.features, known, None, step, seed=seed)
    if how == "core-set":
        return core_set_select(problem.features, known, None, step)
    if how == "entropy":
        free = np.flatnonzero(~known)
        return free[np.argsort(-unsure[free], kind="stable")[:step]]
    rule: Any = "centroid" if how == "medal centroid" else "mean"
    return pick_farthest(problem.features, known, unsure, step, candidates=50, distance=rule).rows


def curve(problem: Problem, start: str, how: str, seed: int) -> list[dict[str, float]]:
    rows = len(problem.features)
    if start == "orb":
        free = np.ones(rows, dtype=bool)
        labelled = pick_by_orb(problem.orb, free, ~free, problem.start, seed).rows
    else:
        labelled = random_select(problem.features, [], None, problem.start, seed=seed)
    found = []
    for number in range(problem.rounds + 1):
        metrics, unsure = problem.fit(labelled)
        found.append(metrics)
        if number < problem.rounds:
            labelled = np.concatenate([labelled, pick(problem, how, labelled, unsure, 1000 * (seed + 1) + number)])
    return found


def study(problem: Problem, seeds: Sequence[int]) -> dict[str, Any]:
    curves = {name: [curve(problem, *run, seed) for seed in seeds] for name, run in RUNS.items()}
    labels = [problem.start + problem.step * k for k in range(problem.rounds + 1)]
    result: dict[str, Any] = {
        "labels": labels,
        "pool": len(problem.features),
        "seeds": list(seeds),
        "whole_pool": problem.whole,
        "metrics": {},
    }
    for metric in problem.metrics:
        values = {name: np.array([[point[metric] for point in one] for one in some]) for name, some in curves.items()}
        areas = {name: array.mean(axis=1) for name, array in values.items()}
        others = [name for name in RUNS if name != "random"]
        tests = [paired_t_test(areas[name].tolist(), areas["random"].tolist()) for name in others]
        corrected = dict(zip(others, holm([t.p for t in tests]), strict=True))
        goal = 0.95 * problem.whole[metric]
        table = {}
        for name, array in values.items():
            mean = array.mean(axis=0)
            reached = np.flatnonzero(mean >= goal)
            table[name] = {
                "mean": mean.tolist(),
                "sd": array.std(axis=0, ddof=1).tolist(),
                "area": float(areas[name].mean()),
                "area_sd": float(areas[name].std(ddof=1)),
                "area_minus_random": (areas[name] - areas["random"]).tolist(),
                "p_holm": corrected.get(name),
                "labels_to_95_percent_of_whole": labels[reached[0]] if len(reached) else None,
            }
        result["metrics"][metric] = table
    return result


def show(name: str, result: dict[str, Any]) -> None:
    for metric, table in result["metrics"].items():
        print(f"\n{name}, {metric} (whole pool of {result['pool']}: {result['whole_pool'][metric]:.3f})\n")
        print("| strategy | first | a quarter | last | area | less random's | p (Holm) | labels to 95 % of the whole pool's |")
        print("|---|---|---|---|---|---|---|---|")
        for strategy, one in table.items():
            mean, sd, quarter = one["mean"], one["sd"], len(one["mean"]) // 4
            points = " | ".join(f"{mean[k]:.3f} ± {sd[k]:.3f}" for k in (0, quarter, -1))
            p = "" if one["p_holm"] is None else f"{one['p_holm']:.3f}"
            less = "" if strategy == "random" else f"{np.mean(one['area_minus_random']):+.4f}"
            cells = f"{one['area']:.4f} ± {one['area_sd']:.4f} | {less} | {p} | {one['labels_to_95_percent_of_whole'] or 'not reached'}"
            print(f"| {strategy} | {points} | {cells} |")


def draw(results: dict[str, Any], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = [(name, metric) for name, result in results.items() for metric in result["metrics"]]
    figure, axes = pyplot.subplots(1, len(panels), figsize=(5.2 * len(panels), 4.2), layout="constrained")
    for axis, (name, metric) in zip(np.atleast_1d(axes), panels, strict=True):
        result = results[name]
        for number, (strategy, one) in enumerate(result["metrics"][metric].items()):
            mean, sd = np.array(one["mean"]), np.array(one["sd"])
            style = "--" if strategy.startswith("ORB") else "-"
            colour = "black" if strategy == "random" else f"C{number}"
            axis.plot(result["labels"], mean, style, color=colour, label=strategy, linewidth=1.4)
            axis.fill_between(result["labels"], mean - sd, mean + sd, color=colour, alpha=0.1, linewidth=0)
        axis.axhline(result["whole_pool"][metric], color="grey", linestyle=":", linewidth=1)
        axis.set(title=name, xlabel="labelled images", ylabel=metric)
    np.atleast_1d(axes)[0].legend(fontsize=8, title="mean ± sd over seeds; dotted: whole pool", title_fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with cxr_guangzhou and nuclei")
    parser.add_argument("--weights", type=Path, required=True, help=f"folder with {ARCH}.imagenet.safetensors")
    parser.add_argument("--cache", type=Path, default=Path("/tmp/active_cache"), help="features are kept there")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="results/active.json and pictures/active_learning.png go there")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", choices=("pneumonia", "nuclei"), help="one of the two")
    parser.add_argument("--quick", action="store_true", help="a smoke run: few rows and rounds, numbers of no worth")
    options = parser.parse_args()
    torch.set_num_threads(1)
    seeds = range(2 if options.quick else options.seeds)
    makers = {"pneumonia": ("cxr_guangzhou, pneumonia", pneumonia), "nuclei": ("nuclei, segmentation", nuclei)}
    path = options.out / "results" / "active.json"
    results: dict[str, Any] = json.loads(path.read_text())["studies"] if options.only and path.is_file() else {}
    for key, (name, make) in makers.items():
        if options.only not in (None, key):
            continue
        began, busy = time.monotonic(), time.process_time()
        problem = make(options.data, options.weights, options.cache, quick=options.quick)
        made = time.process_time() - busy
        results[name] = study(problem, list(seeds))
        cost = {"features_cpu_s": made, "cpu_s": time.process_time() - busy, "wall_s": time.monotonic() - began}
        results[name]["cost"] = cost
        show(name, results[name])
        print(f"\ncost: {json.dumps({k: round(v) for k, v in cost.items()})}", flush=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"quick": options.quick, "studies": results}, indent=1) + "\n", encoding="utf-8")
    draw(results, options.out / "pictures" / "active_learning.png")


if __name__ == "__main__":
    main()
