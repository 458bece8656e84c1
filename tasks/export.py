"""Export to ONNX or torch.export with named outputs, dynamic batch and size."""

from __future__ import annotations

import copy
import json
import os
import warnings
from pathlib import Path
from typing import Any

import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn
from torch.export import Dim
from torch.nn import functional as F

from umsrep.errors import InputError, nearest
from umsrep.heads import ClassificationHead, Head, SegmentationHead
from umsrep.tasks.model import MultiTaskModel

FORMATS = ("onnx", "torch")
_OPSET = 18


class _Graph(nn.Module):
    """The model as exporters want it: outputs as a tuple (a dict's keys are lost), sizes that stay symbolic.

    Padding and cropping are written as index look-ups: slices would make the exporter decide whether a size is a multiple of 32.
    """

    def __init__(self, model: MultiTaskModel) -> None:
        super().__init__()
        self.model = model
        self.step = model.step

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        model, names = self.model, list(self.model.heads)
        height, width = image.shape[-2:]
        rows, columns = (torch.arange((n + self.step - 1) // self.step * self.step).clamp(max=n - 1) for n in (height, width))
        padded = image[:, :, rows][:, :, :, columns]
        features, embedding = model.encode(padded, names)
        outputs = model.run_heads(padded, features, embedding, dict.fromkeys(names))
        cropped = (torch.arange(height), torch.arange(width))
        return tuple(o.index_select(2, cropped[0]).index_select(3, cropped[1]) if o.ndim == 4 else o for o in (outputs[n] for n in names))


class _StaticSame(nn.Conv2d):
    """timm's TensorFlow "same" convolution for inputs that its stride divides, as all are here: the padding is a constant."""

    def forward(self, x: Tensor) -> Tensor:
        sizes = zip(self.kernel_size, self.stride, self.dilation, strict=True)
        vertical, horizontal = (max(d * (k - 1) + 1 - s, 0) for k, s, d in sizes)
        x = F.pad(x, (horizontal // 2, horizontal - horizontal // 2, vertical // 2, vertical - vertical // 2))
        return F.conv2d(x, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def export(model: MultiTaskModel, path: Path, format: str = "onnx") -> Path:
    """Export all heads as one graph.

    The input is ``image`` [B, C, H, W] as the contract gives it, with H and W above 32; outputs bear the heads' names and hold what
    `MultiTaskModel.forward` returns. The file carries what a program without umsrep needs to feed and read it, as JSON, in ONNX's
    metadata and in extra files of the torch archive: ``umsrep.contract`` (`InputContract.to_dict`) and ``umsrep.heads`` (in the order
    of the outputs, head's name to its kind, classes, decision thresholds and whether classes may occur together).

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
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: is there and is no plain file; it is not replaced")
    if format == "onnx":
        try:
            import onnx  # noqa: F401
            import onnxscript  # noqa: F401
        except ImportError as error:
            raise InputError(f"export to ONNX needs the package '{error.name}': pip install 'umsrep[onnx]'") from error
    try:
        _export(model, path, format)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
    return path


def _described(head: Head) -> dict[str, Any]:
    described: dict[str, Any] = {"kind": head.kind}
    if isinstance(head, SegmentationHead | ClassificationHead):
        described |= {"classes": list(head.classes), "multi_label": head.multi_label}
    if isinstance(head, ClassificationHead):
        described["thresholds"] = list(head.thresholds) if head.thresholds else None
    return described


def _export(model: MultiTaskModel, path: Path, format: str) -> None:
    metadata = {
        "umsrep.contract": json.dumps(model.encoder.contract.to_dict()),
        "umsrep.heads": json.dumps({name: _described(head) for name, head in model.heads.items() if isinstance(head, Head)}),
    }
    graph = _Graph(copy.deepcopy(model).cpu().eval())
    for module in graph.modules():
        if isinstance(module, Conv2dSame):
            module.__class__ = _StaticSame  # type: ignore[assignment]  # same fields, other forward
    size = model.encoder.contract.size
    height, width = (-(-s // model.step) * model.step + model.step for s in (size if isinstance(size, tuple) else (224, 224)))
    image = torch.zeros(2, model.encoder.contract.channels, height, width)
    # a single pixel at the coarsest map would be taken for a constant, so the graph starts above it
    shapes = {"image": {0: Dim("batch"), 2: Dim("height", min=model.step + 1), 3: Dim("width", min=model.step + 1)}}
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{'.pt2' if format == 'torch' else '.onnx'}")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # both exporters warn of their own internals, nothing a user could act on
        try:
            if format == "torch":
                program = torch.export.export(graph, (image,), dynamic_shapes=shapes)
                torch.export.save(program, temporary, extra_files=metadata)
            else:
                exported = torch.onnx.export(
                    graph,
                    (image,),
                    input_names=["image"],
                    output_names=list(model.heads),
                    dynamic_shapes=shapes,
                    opset_version=_OPSET,
                    dynamo=True,
                    verbose=False,
                )
                assert exported is not None
                exported.model.metadata_props.update(metadata)
                exported.save(str(temporary))
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
