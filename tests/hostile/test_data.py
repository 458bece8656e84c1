"""Data folders, masks and archives that lie, lead out of their folder or speak to the terminal."""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.hostile.harness import Worker
from tests.hostile.seeds import pictures
from tests.hostile.test_images import deflated, npy, png, tiff

ESCAPES = "\x1b[2J\x1b]0;owned\x07\u202egnp\u2066\u200f"
FORMULA = "=cmd|'/c calc'!A1"


def folder_of(parent: Path, table: str | bytes, *names: str) -> Path:
    """Write a data folder with these pictures."""
    folder = parent / "data"
    folder.mkdir(exist_ok=True)
    for name in names or ("0.png",):
        (folder / name).write_bytes(pictures()["grey.png"])
    (folder / "metadata.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    return folder


# ---- paths -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name",
    ["../secret.png", "/etc/passwd", "a/../../secret.png", "..\\secret.png", "link.png", "linked/secret.png", "C:\\secret.png", "~/x.png"],
)
@pytest.mark.parametrize("column", ["file_name", "mask_file_name"])
def test_paths_that_lead_out(worker: Worker, tmp_path: Path, column: str, name: str) -> None:
    (tmp_path / "secret.png").write_bytes(pictures()["grey.png"])
    row = {"file_name": "0.png", "mask_file_name": "0.png"} | {column: name}
    folder = folder_of(tmp_path, f"file_name,mask_file_name\n{row['file_name']},{row['mask_file_name']}\n")
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "linked").symlink_to(tmp_path)
    words = "no such file" if name.startswith("~") else "leads out of the data folder"
    worker("manifest", path=str(folder)).refused(words, name)
    worker("dataset", path=str(folder)).refused(words)


@pytest.mark.parametrize("kind", ["pipe", "zeros", "circle", "folder"])
def test_rows_that_name_no_file(worker: Worker, tmp_path: Path, kind: str) -> None:
    folder = folder_of(tmp_path, "file_name,mask_file_name\n0.png,x.png\n")
    path = folder / "x.png"
    {"pipe": os.mkfifo, "zeros": lambda p: p.symlink_to("/dev/zero"), "circle": lambda p: p.symlink_to(p), "folder": os.mkdir}[kind](path)
    worker("dataset", path=str(folder)).refused("row 2")
    folder_of(tmp_path, "file_name\nx.png\n")
    worker("dataset", path=str(folder)).refused("row 2")
    (folder / "metadata.csv").unlink()
    (folder / "metadata.jsonl").unlink(missing_ok=True)
    os.mkfifo(folder / "metadata.csv")
    worker("manifest", path=str(folder)).refused("no metadata.csv")


def test_archives_write_nothing_outside_the_cache(worker: Worker, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("../../train_images.npy", "/tmp/train_labels.npy", "train_images.npy"):
            archive.writestr(name, npy((1, 28, 28)) + bytes(784))
    worker("manifest", path=str(path)).refused("no array")
    assert [p.name for p in tmp_path.iterdir()] == ["a.npz"]


# ---- what cells hold ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "text", [ESCAPES, FORMULA, "+1", "@SUM(1)", '"a\r\nb\x0b\x85\u2028c"', "[/bold][link=x]", "<script>alert(1)</script>"], ids=ascii
)
@pytest.mark.parametrize("column", ["file_name", "label", "split", "frame", "pixel_spacing", "mask_file_name"])
def test_cells_are_text_and_reach_no_terminal(worker: Worker, tmp_path: Path, column: str, text: str) -> None:
    row = {"file_name": "0.png", "label": "", "split": "train", column: text}
    folder = folder_of(tmp_path, ",".join(row) + "\n" + ",".join(row.values()) + "\n")
    for call in ("manifest", "dataset"):
        worker(call, path=str(folder)).check((column, text))
    shown = worker("command", argv=["inspect", str(folder)]).check().value
    assert shown["code"] in (0, 2)
    assert "Traceback" not in shown["err"]
    for stream in (shown["out"], shown["err"]):
        assert all(c.isprintable() for line in stream.split("\n") for c in line), ascii(stream)


def test_names_in_the_page_are_escaped(worker: Worker, tmp_path: Path) -> None:
    text = '"<script>alert(1)</script><img src=x onerror=alert(1)>"'
    folder = folder_of(
        tmp_path, f"file_name,label,split,site,patient_id\n0.png,{text},train,{text},{text}\n1.png,b,test,x,{text}\n", "0.png", "1.png"
    )
    page = tmp_path / "page.html"
    assert worker("command", argv=["inspect", str(folder), "--html", str(page)]).check().value["code"] in (0, 2)
    html = page.read_text(encoding="utf-8")
    assert "<script>alert" not in html
    assert "<img src=x" not in html


@pytest.mark.parametrize(
    "content",
    [
        "file_name,label\n0.png,é\n".encode("latin-1"),
        "file_name,label\n0.png,é\n".encode("utf-16"),
        "file_name,label\n0.png,é\n".encode("utf-32"),
        b"file_name,label\n0.png,\xff\xfe\n",
        b"file_name,label\n0.png,a\0b\n",
        b'file_name,label\n0.png,"' + b"x" * 2_000_000,
        b"file_name,label\n" + b"," * 3_000_000,
        b"a," * 400_000 + b"file_name\n",
        b"\x1f\x8b\x08\0" + bytes(100),
    ],
    ids=["latin-1", "utf-16", "utf-32", "bytes", "nul", "open quote", "commas", "columns", "gzip"],
)
def test_wrong_encodings_and_endless_lines(worker: Worker, tmp_path: Path, content: bytes) -> None:
    worker("manifest", path=str(folder_of(tmp_path, content))).refused("metadata.csv")


def test_json_lines_that_nest_or_lie(worker: Worker, tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(pictures()["grey.png"])
    for content in (
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"file_name": 1e999}',
        '{"file_name": ' + "9" * 5000 + "}",
        '{"file_name": "\\ud800"}',
        "{}",
    ):
        (tmp_path / "metadata.jsonl").write_text(content, encoding="utf-8")
        worker("manifest", path=str(tmp_path)).refused()


# ---- masks -------------------------------------------------------------------------------------------------------------
def test_masks_of_twenty_thousand_classes(worker: Worker, tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "file_name,mask_file_name\n0.png,m.png\n")
    mask = (np.arange(160 * 160) % 20_000).astype(np.uint16).reshape(160, 160)
    Image.fromarray(np.zeros((160, 160), np.uint8)).save(folder / "0.png")
    Image.fromarray(mask).save(folder / "m.png")
    outcome = worker("dataset", path=str(folder)).refused("row 2", "mask values", "more", "classes are")
    assert len(outcome.message) < 600
    worker("dataset", path=str(folder), classes=20_000).refused("ignore_index 255", "use 255")  # masks are of 8 bits: 254 classes


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("huge.png", png(100_000, 100_000, deflated(1000))),
        ("bomb.png", png(8192, 8192, deflated(3 * 8192 * 8192 + 8192), 2)),
        ("thin.png", png(100_000, 1, deflated(100_001))),
        ("eps.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\n(/etc/passwd) (r) file\nshowpage\n%%EOF\n"),
        ("empty.png", b""),
        ("short.png", pictures()["grey.png"][:-40]),
        ("colour.png", pictures()["colour.jpg"]),
        ("pages.png", pictures()["pages.tif"]),
        ("tiff.png", tiff()),
        ("array.npy", pictures()["grey.npy"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_masks_that_are_none(worker: Worker, tmp_path: Path, name: str, content: bytes) -> None:
    folder = folder_of(tmp_path, f"file_name,mask_file_name\n0.png,{name}\n")
    (folder / name).write_bytes(content)
    worker("dataset", path=str(folder)).refused("row 2", name)


# ---- archives ----------------------------------------------------------------------------------------------------------
def archive_of(path: Path, images: tuple[int, ...], labels: tuple[int, ...], kind: str = "|u1") -> None:
    """Write a compressed MedMNIST file of zeros without holding them."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in ("train", "val", "test"):
            for what, shape, dtype in (("images", images, "|u1"), ("labels", labels, kind)):
                with archive.open(f"{part}_{what}.npy", "w", force_zip64=True) as file:
                    file.write(npy(shape, dtype))
                    left = int(np.prod(shape)) * np.dtype(dtype).itemsize
                    while left > 0:
                        left -= file.write(bytes(min(left, 2**20)))


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ((1_500, 224, 224), (1_500, 1)),  # 75 MB in 75 kB
        ((10_000_000, 1, 1), (10_000_000, 1)),  # a row for each byte
        ((1, 28, 28), (1, 10_000_000)),
        ((1, 28, 28), (2, 1)),
        ((1, 28, 28, 28), (1, 1)),
        ((0, 28, 28), (0, 1)),
        ((1, 0, 28), (1, 1)),
    ],
    ids=str,
)
def test_bombs_in_archives(worker: Worker, tmp_path: Path, images: tuple[int, ...], labels: tuple[int, ...]) -> None:
    archive_of(tmp_path / "a.npz", images, labels)
    worker("manifest", path=str(tmp_path / "a.npz")).refused("a.npz")


def test_archives_that_lie(worker: Worker, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], object), allow_pickle=True)
    for content in (npy((2**62, 28, 28)), npy((-1, 28, 28)), buffer.getvalue(), b"\x93NUMPY\1\0\xff\xff" + b"(" * 65_535, b"\x93NUMPY\3\0"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("train_images.npy", content)
            archive.writestr("train_labels.npy", npy((1, 1)) + b"\0")
        worker("manifest", path=str(path)).refused("a.npz")


def test_the_command_line_says_one_line_and_exits_2(worker: Worker, tmp_path: Path) -> None:
    folder = folder_of(tmp_path, f"file_name,label,split\n../{ESCAPES}.png,{FORMULA},train\n")
    (tmp_path / "c.yaml").write_text(
        json.dumps(
            {
                "encoder": {"arch": "resnet18"},
                "tasks": {"t": {"kind": "classification", "classes": ["a", "b"]}},
                "data": [{"path": str(folder)}],
                "output": str(tmp_path / "out"),
                "image_size": 32,
            }
        ),
        encoding="utf-8",
    )
    shown = worker("command", argv=["finetune", "--config", str(tmp_path / "c.yaml")]).value
    assert shown["code"] == 2, shown
    assert shown["err"].count("\n") == 1, shown
    assert shown["err"].rstrip("\n").isprintable(), shown
