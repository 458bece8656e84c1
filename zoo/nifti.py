"""NIfTI files: one slice, turned so that it is the picture a radiologist expects (extra ``nifti``)."""

from __future__ import annotations

import gzip
import math
import struct
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from umsrep.errors import InputError
from umsrep.zoo.stored import Stored, check_shape, choose_frame, from_array, readable, silenced

_IN_MM = {"meter": 1000.0, "micron": 0.001}  # `mm`, and `unknown`, which every viewer takes for mm
_MOST_START = 2**24  # where the voxels begin: header extensions are texts and tables
_MOST_INFLATED, _MOST_RATIO = 2**29, 100  # bytes to unpack for a slice, and times the file's size where that is more
_PLANES = ("sagittal", "coronal", "axial")


def read_nifti(path: Path, name: str, frame: int | None = None) -> Stored:
    """Read one slice of a ``.nii`` or ``.nii.gz`` file; the rest of an uncompressed volume is not read.

    The axes are brought to RAS+ by the file's affine, however they are stored. ``frame`` counts axial slices from the feet (third axis
    of RAS+); rows run from anterior to posterior and columns from the patient's right to left, the radiological view. A file of one
    sagittal or coronal slice shows it head up, with anterior or the patient's right at the left. Oblique volumes are not resampled.

    Args:
        path: The file.
        name: How messages name it.
        frame: Index from 0; needed where the file holds several slices.

    Returns:
        Values after ``scl_slope`` and ``scl_inter`` (int32 where both are whole numbers, else float32); a unit only for floats
        (``unit-interval``, by convention) and uint8. The spacing comes from the zooms.

    Raises:
        InputError: without nibabel, for a damaged file, one of more than three dimensions or with an affine that gives no axes.
    """
    try:
        nibabel: Any = import_module("nibabel")
    except ImportError as error:
        raise InputError(f"{name}: reading NIfTI needs nibabel; pip install 'umsrep[nifti]'") from error
    with silenced("nibabel.global"), readable(name):
        start = _check_start(path, name)
        try:
            volume = nibabel.load(path)
        except (nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError, nibabel.wrapstruct.WrapStructError):
            raise InputError(f"{name}: damaged header, or not a NIfTI file") from None
        if not isinstance(volume, nibabel.Nifti1Image):  # NIfTI-2 is a subclass
            raise InputError(f"{name}: not a NIfTI file")
        shape = tuple(int(n) for n in volume.shape)
        while len(shape) > 3 and shape[-1] == 1:
            shape = shape[:-1]
        if len(shape) not in (2, 3) or min(shape) < 1:
            raise InputError(f"{name}: shape {shape}; a slice is read from two or three dimensions: split a time series first")
        extent = (*shape, 1)[:3]
        axes = nibabel.io_orientation(volume.affine)  # of each stored axis: its place in RAS+, its sign
        if not np.isfinite(axes).all():
            raise InputError(f"{name}: its affine does not tell the axes apart")
        stored_axis = [int(np.flatnonzero(axes[:, 0] == place)[0]) for place in range(3)]
        thin = [place for place in range(3) if extent[stored_axis[place]] == 1]
        across = thin[0] if len(thin) == 1 else 2
        columns, rows = (stored_axis[place] for place in range(3) if place != across)
        axis = stored_axis[across]
        index = choose_frame(extent[axis], frame, name, f"{_PLANES[across]} slices")
        check_shape((extent[rows], extent[columns]), name)
        pages = math.prod(volume.shape) * volume.get_data_dtype().itemsize
        needed = start + pages * (index + 1 if axis == 2 and axes[axis, 1] > 0 else extent[axis]) // extent[axis]
        if path.suffix.lower() == ".gz" and needed > max(_MOST_INFLATED, _MOST_RATIO * path.stat().st_size):
            raise InputError(
                f"{name}: {needed:,} bytes to unpack from {path.stat().st_size:,} for one slice; unpack it (gunzip) if it is honest"
            )
        where: list[slice | int] = [slice(None)] * len(shape) + [0] * (len(volume.shape) - len(shape))
        if axis < len(shape):
            where[axis] = index if axes[axis, 1] > 0 else extent[axis] - 1 - index
        pixels = np.asarray(volume.dataobj[tuple(where)])
        if rows > columns:
            pixels = pixels.T
        # RAS+ grows to the right, the front and the head; a picture grows away from each
        pixels = pixels[:: -1 if axes[rows, 1] > 0 else 1, :: -1 if axes[columns, 1] > 0 else 1]
        slope, inter = volume.dataobj.slope, volume.dataobj.inter
        if (slope, inter) != (1, 0) and pixels.dtype.kind == "f":
            whole = float(slope).is_integer() and float(inter).is_integer() and volume.get_data_dtype().kind in "iu"
            pixels = np.rint(pixels).astype(np.int32) if whole and np.abs(pixels).max() < 2**31 else pixels.astype(np.float32)
        unit = _IN_MM.get(volume.header.get_xyzt_units()[0], 1.0)
        zooms = [float(z) * unit for z in volume.header.get_zooms()[: len(shape)]] + [0.0]
    spacing = (zooms[min(rows, len(shape))], zooms[min(columns, len(shape))])
    known = all(math.isfinite(z) and z > 0 for z in spacing)
    return from_array(np.ascontiguousarray(pixels), name, spacing=spacing if known else None, frames=extent[axis])


def _check_start(path: Path, name: str) -> int:
    """Return where the voxels begin by the header; refuse what nibabel would unpack or read to get there, extensions included."""
    with (gzip.open if path.suffix.lower() == ".gz" else open)(path, "rb") as file:
        head = file.read(176)
    order = next((order for order in "<>" if head[:4] in (struct.pack(f"{order}i", 348), struct.pack(f"{order}i", 540))), "<")
    if len(head) < 176:
        raise InputError(f"{name}: truncated, or not a NIfTI file")
    two = struct.unpack(f"{order}i", head[:4])[0] == 540
    start = struct.unpack_from(f"{order}q", head, 168)[0] if two else struct.unpack_from(f"{order}f", head, 108)[0]
    if not 0 <= start <= _MOST_START:  # NaN compares as false
        raise InputError(f"{name}: its header says that the voxels begin at byte {start:g}; {_MOST_START:,} is the most")
    return int(start)
