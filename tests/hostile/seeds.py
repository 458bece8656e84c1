"""Small honest files of every kind that is read, to be damaged."""

from __future__ import annotations

import csv
import functools
import gzip
import io
import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydicom import dcmread, uid

from tests.dicoms import write_dicom

SIDE = 32


def _picture(kind: str, image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@functools.cache
def pictures() -> dict[str, bytes]:
    """File name to content: one image of every format, 32 pixels a side."""
    generator = np.random.default_rng(3)
    grey = generator.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)
    deep = generator.integers(0, 65536, (SIDE, SIDE), dtype=np.uint16)
    flat, sixteen, colour = Image.fromarray(grey), Image.fromarray(deep), Image.fromarray(np.stack([grey] * 3, -1))
    found = {
        "grey.png": _picture("PNG", flat),
        "deep.png": _picture("PNG", sixteen),
        "palette.png": _picture("PNG", colour.quantize(7)),
        "turned.png": _picture("PNG", flat, exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"),
        "grey.jpg": _picture("JPEG", flat),
        "colour.jpg": _picture("JPEG", colour, progressive=True),
        "deep.tif": _picture("TIFF", sixteen),
        "packed.tif": _picture("TIFF", colour, compression="tiff_lzw"),
        "pages.tif": _picture("TIFF", flat, save_all=True, append_images=[flat]),
        "grey.bmp": _picture("BMP", flat),
        "grey.gif": _picture("GIF", flat),
        "colour.webp": _picture("WEBP", colour),
        "grey.jp2": _picture("JPEG2000", flat),
        "deep.pgm": _picture("PPM", sixteen),
    }
    for name, array in (("grey.npy", grey), ("float.npy", np.float32(grey) / 255), ("double.npy", np.float64(grey) / 255)):
        buffer = io.BytesIO()
        np.save(buffer, array)
        found[name] = buffer.getvalue()
    return found


@functools.cache
def medical() -> dict[str, bytes]:
    """File name to content: DICOM of several transfer syntaxes, and NIfTI."""
    found = {}
    pixels = np.random.default_rng(5).integers(0, 4096, (SIDE, SIDE), dtype=np.uint16)
    elements = {"RescaleSlope": "2", "RescaleIntercept": "-1024", "WindowCenter": "40", "WindowWidth": "400", "Modality": "CT"}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = write_dicom(Path(folder, "a.dcm"), pixels, 12, **elements, PixelSpacing=["0.5", "0.25"])
        found["plain.dcm"] = path.read_bytes()
        data = dcmread(path)
        data.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
        data.save_as(path, enforce_file_format=True)
        found["deflated.dcm"] = path.read_bytes()
        for name, syntax in (("rle", uid.RLELossless), ("jpegls", uid.JPEGLSLossless), ("jpeg2000", uid.JPEG2000Lossless)):
            data = dcmread(write_dicom(path, pixels, 12, PixelSpacing=["0.5", "0.25"]))
            data.compress(syntax, generate_instance_uid=False)
            data.save_as(path, enforce_file_format=True)
            found[f"{name}.dcm"] = path.read_bytes()
        try:
            import nibabel
        except ImportError:
            return found
        volume = nibabel.Nifti1Image(np.random.default_rng(6).integers(0, 900, (SIDE, SIDE, 3), dtype=np.int16), np.diag([1.0, 1, 2, 1]))
        nibabel.save(volume, Path(folder, "a.nii"))
        found["a.nii"] = Path(folder, "a.nii").read_bytes()
        found["b.nii.gz"] = gzip.compress(found["a.nii"], mtime=0)
    return found


@functools.cache
def tables() -> dict[str, bytes]:
    """File name to content: the same small table in every form, and a MedMNIST archive."""
    rows = [
        {"file_name": f"{n}.png", "mask_file_name": f"{n}.png", "label": f"class {n % 2}", "split": "train", "patient_id": str(n)}
        for n in range(3)
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    found = {
        "metadata.csv": text.getvalue().encode(),
        "metadata.jsonl": "\n".join(json.dumps(row) for row in rows).encode(),
    }
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        pass
    else:
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), buffer)
        found["metadata.parquet"] = buffer.getvalue()
    arrays: dict[str, Any] = {}
    for part in ("train", "val", "test"):
        arrays |= {f"{part}_images": np.full((2, 28, 28), 9, np.uint8), f"{part}_labels": np.array([[0], [1]], np.uint8)}
    for name, save in (("stored.npz", np.savez), ("packed.npz", np.savez_compressed)):
        buffer = io.BytesIO()
        save(buffer, **arrays)
        found[name] = buffer.getvalue()
    return found
