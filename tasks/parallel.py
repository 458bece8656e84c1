"""The processes of a run: how they are joined, and in which precision they compute."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs
from timm.layers.norm_act import convert_sync_batchnorm

from umsrep.errors import InputError
from umsrep.heads import SegmentationHead
from umsrep.tasks import continuing
from umsrep.tasks.config import FineTuneConfig
from umsrep.tasks.model import MultiTaskModel

_LOST = ("gloo", "Connection closed by peer", "Connection reset by peer", "Timed out waiting")  # gloo raises plain RuntimeErrors


def make_accelerator(config: FineTuneConfig) -> Accelerator:
    """Join the processes of this run, and choose device and precision.

    Raises:
        InputError: for a precision that the device does not have, or if the other processes cannot be reached in time.
    """
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != config.precision:
        AcceleratorState._reset_state()  # of an earlier run in this process; Accelerate would refuse another precision
    try:
        accelerator = Accelerator(
            mixed_precision=config.precision,
            kwargs_handlers=[InitProcessGroupKwargs(timeout=datetime.timedelta(minutes=config.timeout_minutes))],
        )
    except ValueError as error:
        raise InputError(f"precision {config.precision}: {' '.join(str(error).split())}") from error
    if config.precision == "fp16" and accelerator.scaler is None:  # Accelerate would silently train in float32
        raise InputError(f"precision fp16 needs a GPU, not {accelerator.device.type}; on a CPU set precision to no or bf16")
    if accelerator.device.type == "cuda":
        torch.set_float32_matmul_precision("high" if config.tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = config.tf32
    return accelerator


def synchronise_norms(model: MultiTaskModel, *, encoder: bool) -> None:
    """Let batch norms take their statistics over all processes, in place; CUDA only. timm's converter: torch's drops timm's activations.

    A decoder that several segmentation heads share keeps each process's own: it runs once or once a head, as the rows of a process's
    batch come, and an exchange in which one process takes part more often than the others would wait for ever.

    Args:
        model: To train.
        encoder: Whether the encoder's norms too; those that keep their stored statistics need it not.
    """
    parts = [model.heads, *([model.encoder] if encoder else [])]
    for name, decoder in model.decoders.items():
        users = [h for h in model.heads.values() if isinstance(h, SegmentationHead) and h.decoder is None and h.decoder_name == name]
        parts += [decoder] if len(users) < 2 else []
    for part in parts:
        convert_sync_batchnorm(part)  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def explained(config: FineTuneConfig) -> Iterator[None]:
    """Turn a process that died, or is not heard of for ``timeout_minutes``, into one line on the others.

    Raises:
        InputError: instead of the error.
    """
    try:
        yield
    except RuntimeError as error:
        text = " ".join(str(error).split())
        if not (isinstance(error, torch.distributed.DistError) or any(sign in text for sign in _LOST)):
            raise
        raise InputError(
            f"another process of this run ended, or was not heard of for {config.timeout_minutes:g} minutes ({text[:160]}); look for its "
            f"message; {continuing.kept(Path(config.output))}"
        ) from error
