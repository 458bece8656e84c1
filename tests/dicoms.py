"""Small DICOM files for tests, written with pydicom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid


def write_dicom(path: Path, pixels: np.ndarray, bits: int, **elements: Any) -> Path:
    """Write a single-frame grey DICOM file (secondary capture, MONOCHROME2, uncompressed).

    Args:
        path: The file.
        pixels: [H, W] of uint8, uint16 or int16.
        bits: Bits Stored.
        elements: Further elements, or others, by keyword.

    Returns:
        The file.
    """
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = SecondaryCaptureImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid(entropy_srcs=[path.name])
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = pixels.dtype.itemsize * 8
    data.BitsStored, data.HighBit, data.PixelRepresentation = bits, bits - 1, int(pixels.dtype.kind == "i")
    data.PixelData = pixels.tobytes()
    for keyword, value in elements.items():
        setattr(data, keyword, value)
    data.save_as(path, enforce_file_format=True)
    return path
