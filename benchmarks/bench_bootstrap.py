"""What intervals over patients cost: 2,000 draws over 10,000 rows of 5,000 patients, and how much that is below the plain loop.

    python benchmarks/bench_bootstrap.py

CPU seconds of this process, so that other load on the machine does not count. The plain loop is timed on 10 draws and scaled up; its
intervals are the same numbers (tests/tasks/evaluation/test_resample.py compares every draw of every metric).
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from umsrep.tasks.classification import Classification
from umsrep.tasks.evaluation.calibration import Calibration
from umsrep.tasks.evaluation.delong import areas
from umsrep.tasks.evaluation.metrics import statistic_of
from umsrep.tasks.evaluation.ranking import Ranking
from umsrep.tasks.evaluation.resample import Draws, Statistic, sample, weighted_mean
from umsrep.tasks.segmentation import Segmentation
from umsrep.tasks.statistics import cluster_draws

ROWS, RESAMPLES, LOOP = 10_000, 2_000, 10


def seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def main() -> None:
    generator = np.random.default_rng(0)
    groups = [str(i // 2) for i in range(ROWS)]
    target = generator.integers(2, size=ROWS)
    p = 1 / (1 + np.exp(-generator.normal(size=ROWS) - 1.5 * (target - 0.5)))
    binary = Classification(["a", "b"])
    rows = {"probabilities": np.stack([1 - p, p], axis=1), "target": target}
    dice = generator.random((ROWS, 1)).astype(np.float32)
    masks = Segmentation(["background", "a"])
    images = {"dice": dice, "iou": dice / 2, "hd95": dice * 9, "hd95_undefined": np.zeros((ROWS, 1), np.float32)}
    ranking, calibration = Ranking(p, target == 1), Calibration(rows["probabilities"], target)
    statistics: dict[str, Statistic] = {
        "AUROC, average precision, sensitivity at specificity": ranking.metrics,
        "ECE (three variants), Brier, NLL": calibration,
        "mean Dice": lambda weights: {"dice": weighted_mean(weights, dice)[:, 0]},
        "all 19 metrics of binary classification": statistic_of(binary, rows),
        "all metrics of segmentation": statistic_of(masks, images),
    }
    binary.summarise({k: v[:100] for k, v in rows.items()})  # imports
    draws = Draws(groups, RESAMPLES)
    print(f"{RESAMPLES} draws over {ROWS} rows of {ROWS // 2} patients, CPU seconds")
    total = 0.0
    for name, statistic in statistics.items():
        taken = seconds(lambda statistic=statistic: sample({"it": statistic}, draws))  # type: ignore[misc]
        total += taken
        print(f"{taken:7.2f}  {name}")
    print(f"{total:7.2f}  together (limit: 5 each)")

    def loop() -> None:
        for some in cluster_draws(groups, resamples=LOOP):
            binary.summarise({k: v[some] for k, v in rows.items()})

    plain = seconds(loop) / LOOP * RESAMPLES
    print(f"{plain:7.2f}  the plain loop over six of the metrics of binary classification (from {LOOP} draws)")
    print(f"{seconds(lambda: areas(np.stack([p, generator.random(ROWS)]), target == 1)):7.3f}  DeLong, two tests, {ROWS} rows")


if __name__ == "__main__":
    main()
