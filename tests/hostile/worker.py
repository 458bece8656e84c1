"""The process in which hostile files are opened: one request a line on standard input, one answer a line on standard output.

`tests.hostile.harness` starts it. Everything is imported and used once before the first request, so that what is measured is the request.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

_MOST_ITEMS = 4


def image(path: str, contract: dict[str, Any] | None = None, frame: int | None = None, lenient: bool = False) -> str:
    """Load one image and check what the contract promises of the tensor."""
    import torch

    from umsrep.zoo import InputContract

    rules = InputContract.from_dict(contract or {})
    with warnings.catch_warnings():
        if lenient:
            from umsrep.zoo.input_contract import ContractWarning

            warnings.simplefilter("ignore", ContractWarning)
        tensor = rules.load(path, frame=frame, lenient=lenient)
    assert tensor.dtype == torch.float32
    assert tensor.shape[0] == rules.channels
    assert rules.size is None or tuple(tensor.shape[1:]) == rules.size
    low, high = torch.aminmax(tensor)  # NaN passes through it
    least, most = rules.tensor_range
    slack = 1e-5 * max(abs(least), abs(most))
    assert least - slack <= float(low) <= float(high) <= most + slack, (float(low), float(high))
    return f"tensor {tuple(tensor.shape)}"


def manifest(path: str) -> str:
    """Open a data set and ask for all that is known of its first rows."""
    from umsrep.tasks.data.manifest import load_manifest

    found = load_manifest(path)
    assert len(found) == len(found.lines) > 0
    assert all(len(column) == len(found) for column in found.columns.values())
    for row in range(min(_MOST_ITEMS, len(found))):
        found.image(row)
        found.frame(row)
        found.spacing(row)
        if found.columns.get("mask_file_name", [""] * len(found))[row]:
            found.mask("mask_file_name", row)
    found.split_values() if "split" in found.columns else None
    return f"{len(found)} rows"


def dataset(path: str, classes: int = 2) -> str:
    """Make items with masks and labels of a data set."""
    from umsrep.tasks import Classification, Segmentation
    from umsrep.tasks.data.dataset import JointDataset, Source
    from umsrep.tasks.data.manifest import load_manifest
    from umsrep.zoo import InputContract

    found = load_manifest(path)
    names = [f"class {n}" for n in range(classes)]
    tasks: dict[str, Any] = {}
    if "mask_file_name" in found.columns:
        tasks["mask"] = Segmentation(classes=names)
    if "label" in found.columns:
        tasks["label"] = Classification(classes=names)
    rows = range(min(_MOST_ITEMS, len(found)))
    data = JointDataset([Source(found, rows, list(tasks), {})], tasks, InputContract(size=32), seed=0)
    for index in rows:
        item = data[index]
        if isinstance(item, Exception):
            raise item
    return f"{len(rows)} items"


def encoder(path: str) -> str:
    """Load an encoder from a folder."""
    from umsrep.zoo import Encoder

    return Encoder.from_pretrained(path).arch


def model(path: str) -> str:
    """Load an encoder with its heads from a folder."""
    from umsrep.tasks.model import MultiTaskModel

    return ", ".join(MultiTaskModel.from_pretrained(path).heads)


def tensors(path: str) -> str:
    """Read a safetensors file."""
    from umsrep.zoo.tensors import read_tensors

    return f"{len(read_tensors(Path(path)))} tensors"


def config(path: str, overrides: list[str] | None = None) -> str:
    """Read a fine-tuning configuration."""
    from umsrep.tasks.config_file import load_config

    return f"{len(load_config(path, overrides or []).tasks)} tasks"


def command(argv: list[str]) -> dict[str, Any]:
    """Run the command line."""
    from umsrep.tasks.cli import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(argv)
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}


CALLS: dict[str, Callable[..., Any]] = {f.__name__: f for f in (image, manifest, dataset, encoder, model, tensors, config, command)}


def _memory(field: str) -> int:
    """Return a field of this process's memory in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return 1024 * int(line.split()[1])
    raise AssertionError(field)


def answer(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Make one call; say how it ended, its CPU seconds (of all threads) and by how many bytes memory grew at its peak."""
    from umsrep.errors import InputError

    result: dict[str, Any] = {"message": "", "trace": "", "value": None}
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # sets the peak, VmHWM, back to what is held now
    before, start = _memory("VmRSS"), time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            if name == "command":
                warnings.simplefilter("default")
            result["value"] = CALLS[name](**arguments)
        result["ending"] = "done"
    except InputError as error:
        result |= {"ending": "refused", "message": str(error)}
    except BaseException as error:  # noqa: BLE001  # whatever it is, it is what the tests look for
        result |= {"ending": "raised", "message": f"{type(error).__name__}: {error}"[:500], "trace": traceback.format_exc()[-3000:]}
    result["seconds"] = time.process_time() - start
    result["bytes"] = _memory("VmHWM") - before
    return result


def _warm_up(preset: str, picture: str, settings: str) -> None:
    """Import and use once all that calls use."""
    for name, arguments in (
        ("image", {"path": picture}),
        ("model", {"path": preset}),
        ("config", {"path": settings}),
        ("command", {"argv": ["list"]}),
    ):
        if (first := answer(name, arguments))["ending"] != "done":
            raise SystemExit(f"{name}: {first['message']} {first['trace']}")
    for module in ("umsrep.zoo.dicom", "umsrep.zoo.nifti", "nibabel", "pyarrow.parquet", "imagecodecs", "umsrep.tasks.data.medmnist"):
        with contextlib.suppress(ImportError):
            __import__(module)


def main() -> None:
    """Answer until standard input ends."""
    import torch

    torch.set_num_threads(1)
    out, sys.stdout = sys.stdout, sys.stderr  # what a library prints is no answer
    _warm_up(*sys.argv[1:])
    out.write("ready\n")
    out.flush()
    for line in sys.stdin:
        request = json.loads(line)
        out.write(json.dumps(answer(request["call"], request["arguments"])) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
