"""Benchmarks: grids of encoders, data sets, strategies, label fractions and seeds, what they show, and what scores foretold of it."""

from umsrep.tasks.benchmark.grid import Benchmark, Cell, load_benchmark, merged
from umsrep.tasks.benchmark.run import run_benchmark
from umsrep.tasks.benchmark.summary import spread, summarise_cells

__all__ = ["Benchmark", "Cell", "load_benchmark", "merged", "run_benchmark", "spread", "summarise_cells"]
