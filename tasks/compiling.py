"""The step's pass through the model compiled with torch.compile; the modules, and the names of their weights, stay as they are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from umsrep.errors import InputError
from umsrep.tasks.step import JointStep, joint_outputs

MOST_VERSIONS = 64
"""Compiled versions of the step: one for each set of parts that train, and for whether a task has all, some, one or none of the rows."""


def compile_step(module: JointStep) -> None:
    """Let a step run its model compiled from its next call on; what trains and how many rows each task has may change.

    The losses stay as they are: they are small, and compiled together with the model by inductor (torch 2.15, CPU) they came out without
    gradients.
    """
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, MOST_VERSIONS)
    torch._functorch.config.donated_buffer = False  # gradients are taken task by task from one graph (`Balancer`)
    module.outputs = torch.compile(joint_outputs)


def mark_rows(batch: Mapping[str, Any]) -> None:
    """Tell the compiler that the number of a task's rows changes from batch to batch, so that it compiles once for all."""
    for key, value in batch.items():
        if "." in key and isinstance(value, Tensor) and 2 <= len(value) < len(batch["index"]):
            torch._dynamo.maybe_mark_dynamic(value, 0)


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turn a compiler that is missing or fails into one line.

    Raises:
        InputError: instead of the error.
    """
    try:
        yield
    except torch._dynamo.exc.TorchDynamoException as error:
        first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise InputError(
            f"config: compile: torch.compile failed ({first.strip()[:200]}); it needs a C++ compiler (g++ or clang++ on the PATH, or CXX), "
            "and Triton for GPUs; install it, or set compile to false"
        ) from error
