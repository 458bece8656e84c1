"""Active learning on 1,000,000 embeddings x 1,280 (float32, memory-mapped, 5 GB in a temporary folder): seconds and peak memory.

500 rows are labelled and 100 are asked for. MedAL with the 10,000 most uncertain rows; MedAL with every row as candidate (10 rows asked
for: each passes over the whole file); core-set; entropy. Each runs in a process of its own, so that its peak memory is its own. The
resident memory counts pages of the mapped file too, which the system may drop at any time: beside it stands the anonymous memory
(what the process itself holds), sampled every 20 ms.

    python benchmarks/bench_acquire.py [--quick] [--json F] [--folder DIR]      --quick: 100,000 x 256
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from timing import keep

CASES = ("entropy", "medal, M = 10,000", "medal centroid, M = 10,000", "medal, M = all", "core-set")


def write(path: Path, rows: int, columns: int) -> None:
    """Clustered rows: 50 centres, and a noise of full rank."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(50, columns)).astype(np.float32)
    features = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(rows, columns))
    for start in range(0, rows, 10_000):
        count = min(10_000, rows - start)
        block = random.standard_normal((count, columns), dtype=np.float32)
        features[start : start + count] = block + centres[random.integers(0, 50, count)]
    features.flush()


def anonymous() -> int:
    """Bytes that this process holds itself, without mapped files."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


def work(case: str, path: Path, results: Any) -> None:
    from umsrep.tasks.active import core_set_select, entropy_select, medal_select

    features: Any = np.load(path, mmap_mode="r")
    rows = len(features)
    random = np.random.default_rng(1)
    labelled = random.permutation(rows)[:500]
    probabilities = random.dirichlet(np.ones(4), rows)
    before, most, ended = anonymous(), [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            most[0] = max(most[0], anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    began, busy = time.perf_counter(), time.process_time()
    if case == "entropy":
        found = entropy_select(features, labelled, probabilities, 100)
    elif case == "core-set":
        found = core_set_select(features, labelled, None, 100)
    else:
        rule: Any = "centroid" if "centroid" in case else "mean"
        every = case.endswith("all")
        found = medal_select(features, labelled, probabilities, 10 if every else 100, candidates=rows if every else 10_000, distance=rule)
    measured = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - busy, "rows": len(set(found.tolist()))}
    ended.set()
    watcher.join()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    results.put(measured | {"anonymous_before": before, "anonymous_peak": most[0], "resident_peak": peak})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="put the numbers into this file, beside those of the other benchmarks")
    parser.add_argument("--quick", action="store_true", help="100,000 x 256")
    parser.add_argument("--folder", type=Path, help="where the embeddings are written (default: the system's temporary folder)")
    options = parser.parse_args()
    shape = (100_000, 256) if options.quick else (1_000_000, 1_280)
    folder = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        needed = 4 * shape[0] * shape[1]
        if shutil.disk_usage(folder).free < 1.2 * needed:
            raise SystemExit(f"{folder}: {needed / 1e9:.1f} GB are needed; name another place with --folder")
        path = folder / "embeddings.npy"
        write(path, *shape)
        print(f"{shape[0]:,} x {shape[1]:,} float32, {needed / 1e9:.2f} GB, 500 labelled; load {os.getloadavg()[0]:.1f}", flush=True)
        print("| strategy | rows | s | processor s | own memory before / peak, MB | resident peak (with the mapped file), MB |")
        print("|---|---|---|---|---|---|")
        lines = []
        context = multiprocessing.get_context("spawn")
        for case in CASES:
            results = context.Queue()
            process = context.Process(target=work, args=(case, path, results))
            process.start()
            one = results.get()
            process.join()
            lines.append({"what": case, "shape": list(shape), **one})
            own = f"{one['anonymous_before'] / 1e6:.0f} / {one['anonymous_peak'] / 1e6:.0f}"
            times = f"{one['seconds']:.1f} | {one['cpu_seconds']:.1f}"
            print(f"| {case} | {one['rows']} | {times} | {own} | {one['resident_peak'] / 1e6:.0f} |", flush=True)
        keep("acquire", json.loads(json.dumps(lines)), options)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
