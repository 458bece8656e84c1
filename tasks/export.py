"""Export to ONNX or torch.export with named outputs, dynamic batch and size."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from umsrep.errors import InputError, nearest
from umsrep.tasks.model import MultiTaskModel

FORMATS = ("onnx", "torch")
_OPSET = 18


class _Ordered(nn.Module):
    """The model with its outputs as a tuple: exporters lose a dict's keys."""

    def __init__(self, model: MultiTaskModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        outputs = self.model(image)
        return tuple(outputs[name] for name in self.model.heads)


def export(model: MultiTaskModel, path: Path, format: str = "onnx") -> Path:
    """Export all heads as one graph.

    The input is ``image`` [B, C, H, W] as the contract gives it; outputs bear the heads' names and hold what `MultiTaskModel.forward`
    returns. The contract, the heads and their order are in the file's metadata (ONNX: ``umsrep``; torch: extra file ``umsrep.json``).

    Args:
        model: Exported in evaluation mode; left as it was.
        path: File to write.
        format: ``onnx`` (needs the ``onnx`` extra) or ``torch`` (a ``torch.export`` archive, .pt2).

    Returns:
        The file.

    Raises:
        InputError: for an unknown format, a missing extra, or a file that cannot be written.
    """
    if format not in FORMATS:
        raise InputError(f"unknown format '{format}'{nearest(format, FORMATS)}")
    path = Path(path)
    if not path.parent.is_dir():
        raise InputError(f"{path}: no such folder {path.parent}")
    if format == "onnx":
        try:
            import onnx  # noqa: F401
            import onnxscript  # noqa: F401
        except ImportError as error:
            raise InputError(f"export to ONNX needs the package '{error.name}': pip install 'umsrep[onnx]'") from error
    training = model.training
    device = next(model.parameters()).device
    model.eval().to("cpu")
    try:
        _export(model, path, format)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        model.train(training).to(device)
    return path


def _export(model: MultiTaskModel, path: Path, format: str) -> None:
    size = model.encoder.contract.size
    height, width = size if isinstance(size, tuple) else (224, 224)
    step = max(32, *model.encoder.strides)
    # away from any multiple that could be taken for a constant
    height, width = (-(-s // step) * step + step for s in (height, width))
    image = torch.zeros(2, model.encoder.contract.channels, height, width)
    block = model.config()["umsrep"]
    metadata = json.dumps({"contract": block["contract"], "heads": block["heads"], "outputs": list(model.heads)})
    shapes = {"image": {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}}
    ordered = _Ordered(model).eval()
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp{'.pt2' if format == 'torch' else '.onnx'}")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # both exporters warn of their own internals, nothing a user could act on
        program = torch.export.export(ordered, (image,), dynamic_shapes=shapes)
        try:
            if format == "torch":
                torch.export.save(program, temporary, extra_files={"umsrep.json": metadata})
            else:
                names = {0: "batch", 2: "height", 3: "width"}
                onnx_program = torch.onnx.export(
                    program, (), input_names=["image"], output_names=list(model.heads), opset_version=_OPSET, dynamo=True, verbose=False
                )
                assert onnx_program is not None
                onnx_program.model.metadata_props["umsrep"] = metadata
                for axis, name in names.items():
                    _rename_axis(onnx_program.model.graph.inputs[0], axis, name)
                onnx_program.save(str(temporary))
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
