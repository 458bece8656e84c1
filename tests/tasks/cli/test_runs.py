"""The command line: what each command prints and writes, and one line and exit 2 for every fault of the input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.dicoms import write_dicom
from tests.tasks.cli.console import Capture, printed, refused
from tests.tasks.runs import TASKS, Records, put, rewrite, run_values
from tests.tiny import write_tiny_data
from umsrep.tasks import pictures
from umsrep.tasks import trainer as trainer_module
from umsrep.tasks.cli import finetune_main, main
from umsrep.tasks.segmentation import Segmentation
from umsrep.tasks.trainer import Report

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "draw_samples", lambda *_: None)
    monkeypatch.setattr(pictures, "draw_curves", lambda *_: None)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(data: Path | list[dict[str, Any]], **changes: Any) -> Path:
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump(run_values(data, tmp_path / "run", epochs=1) | changes))
        return path

    return write


# ---- finetune ------------------------------------------------------------------------------------------------------
def test_finetune_writes_the_run_and_prints_its_numbers(
    tiny_data: Path, tmp_path: Path, write: Callable[..., Path], capsys: Capture
) -> None:
    words = ("--epochs", "1", "--tasks.size.dropout=0.1", "--optimiser.learning_rate", "2e-3")
    out = printed(capsys, "finetune", "--config", write(tiny_data), *words)
    assert "auroc" in out
    assert f"Run folder: {tmp_path / 'run'}" in out
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["tasks"]["size"]["dropout"] == 0.1
    assert "holds a run already; pass --resume" in refused(capsys, "finetune", "--config", write(tiny_data))
    assert "Run folder" in printed(capsys, "finetune", "--config", write(tiny_data), *words, "--resume")
    line = refused(capsys, "finetune", "--config", write(tiny_data), "--resume")
    assert "the run began with optimiser.learning_rate = 0.002, not 0.001; go on with its config.yaml" in line
    assert finetune_main(["--config", str(write(tiny_data))]) == 2


def test_finetune_on_a_medmnist_file(tmp_path: Path, write: Callable[..., Path], capsys: Capture) -> None:
    generator = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for part, count in (("train", 8), ("val", 4), ("test", 4)):
        arrays[f"{part}_images"] = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        arrays[f"{part}_labels"] = (np.arange(count, dtype=np.uint8) % 2)[:, None]
    np.savez(tmp_path / "x.npz", **arrays)
    tasks = {"denoising": TASKS["denoising"], "finding": {"kind": "classification", "classes": ["0", "1"]}}
    assert "finding (test)" in printed(capsys, "finetune", "--config", write(tmp_path / "x.npz", tasks=tasks))


# ---- list, card, inspect -------------------------------------------------------------------------------------------


# ---- evaluate ------------------------------------------------------------------------------------------------------
def test_evaluate(trained: Report, tiny_data: Path, tmp_path: Path, capsys: Capture) -> None:
    words = ("evaluate", trained.model, tiny_data, "--workers", "0")
    metrics = json.loads(printed(capsys, *words, "--json"))
    assert metrics["size"]["auroc"] == pytest.approx(trained.test["size"]["auroc"])
    assert metrics["denoising"]["psnr"] == pytest.approx(trained.test["denoising"]["psnr"], abs=1e-4), (
        "level 25 is the default and the middle"
    )
    text = printed(capsys, *words, "--json", tmp_path / "new" / "m.json")
    assert "auroc" in text
    assert json.loads((tmp_path / "new" / "m.json").read_text()) == metrics
    only = json.loads(printed(capsys, *words, "--tasks", "size,disc", "--split", "validation", "--json"))
    assert list(only) == ["size", "disc"]
    (tmp_path / "file").write_text("")
    assert "cannot be written" in refused(capsys, *words, "--json", tmp_path / "file" / "m.json")


def test_evaluate_with_targets_of_its_own(trained: Report, tiny_data: Path, capsys: Capture) -> None:
    words = ["evaluate", str(trained.model), str(tiny_data), "--workers", "0", "--tasks", "size", "--json"]
    plain = json.loads(printed(capsys, *words))
    mapped = ["--targets.size.column", "finding_large", "--targets.size.map", "{'0': small, '1': large}"]
    assert json.loads(printed(capsys, *words, *mapped)) == plain
    assert json.loads(printed(capsys, *words, "--targets.size.column=label")) == plain
    assert "unknown key 'colum'; did you mean 'column'" in refused(capsys, *words, "--targets.size.colum", "x")
    assert "no head 'sise'; did you mean 'size'" in refused(capsys, *words, "--targets.sise.column", "x")
    assert "no column 'lable'; did you mean 'label'" in refused(capsys, *words, "--targets.size.column", "lable")


def test_a_misspelt_option_beside_targets_is_not_swallowed(trained: Report, tiny_data: Path, capsys: Capture) -> None:
    words = ["evaluate", str(trained.model), str(tiny_data), "--workers", "0", "--targets.size.column", "label"]
    assert "--splt" in refused(capsys, *words, "--splt", "train")


# ---- predict -------------------------------------------------------------------------------------------------------
def shape(path: Path) -> tuple[int, ...]:
    with Image.open(path) as image:
        return np.asarray(image).shape


def test_predict_writes_files_of_the_original_size(trained: Report, tiny_data: Path, tmp_path: Path, capsys: Capture) -> None:
    with Image.open(tiny_data / "images" / "01.png") as image:
        image.resize((100, 70)).save(tmp_path / "wide.png")
    files = [tiny_data / "images" / "00.png", tmp_path / "wide.png"]
    text = printed(capsys, "predict", trained.model, *files, "--out", tmp_path / "plain")
    assert str(tmp_path / "plain" / "predictions.json") in text
    for number, options in enumerate(
        (["--tile", "64"], ["--flips"], ["--tile", "64", "--flips", "--batch-size", "1"], ["--tasks", "disc,size"])
    ):
        out = tmp_path / str(number)
        summary = json.loads(printed(capsys, "predict", trained.model, *files, "--out", out, "--json", *options))
        assert summary == json.loads((out / "predictions.json").read_text())
        for entry, size in zip(summary, ((40, 48), (70, 100)), strict=True):
            assert shape(out / entry["disc"]["mask"]) == size
            assert shape(out / entry["disc"]["overlay"]) == (*size, 3)
            assert ("denoising" in entry) == ("--tasks" not in options)
            if "denoising" in entry:
                assert shape(out / entry["denoising"]["image"]) == size
            assert entry["size"]["label"] in ("small", "large")


def test_lenient_says_each_bent_rule_in_one_line(trained: Report, tiny_data: Path, tmp_path: Path, capsys: Capture) -> None:
    with Image.open(tiny_data / "images" / "00.png") as image:
        deep = np.asarray(image).astype(np.uint16) * 16
    pages = [Image.fromarray(deep) for _ in range(3)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "deep.png")
    words: tuple[str | Path, ...] = ("predict", trained.model, tmp_path / "stack.tif", tmp_path / "deep.png", "--out", tmp_path / "out")
    assert "3 frames; choose one with frame=0 ... 2" in refused(capsys, *words)
    assert "stack.tif frame 0: contract rule 'unit': uint16 pixels" in refused(capsys, *words, "--frame", "0")
    assert "(encoder.unit; predict and evaluate: --unit)" in refused(capsys, *words, "--frame", "0")
    assert "unknown unit '12 bit'" in refused(capsys, *words, "--unit", "12 bit")
    assert "names no task" in refused(capsys, *words, "--tasks", "")
    assert "a folder; name the files in it" in refused(capsys, *words[:2], tiny_data / "images", *words[4:])
    assert main([str(w) for w in (*words, "--frame", "0", "--unit", "12-bit")]) == 0
    assert "warning" not in capsys.readouterr().err
    for _ in range(2):  # each command says it anew
        assert main([str(w) for w in (*words, "--frame", "0", "--lenient", "--batch-size", "1")]) == 0
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("umsrep: warning: contract rule 'unit' bent: undeclared depth, scaled by the smallest n-bit range")
    folder = write_tiny_data(tmp_path / "data")
    pages[0].save(folder / "images" / "20.png")
    words = ("evaluate", trained.model, folder, "--workers", "0")
    assert "row 22 (images/20.png): " in refused(capsys, *words)
    assert main([str(w) for w in (*words, "--lenient")]) == 0
    assert capsys.readouterr().err.count("umsrep: warning: contract rule 'unit' bent") == 1


# ---- identity ------------------------------------------------------------------------------------------------------
_IDENTITY = {
    "PatientName": "Pimpernel^Scarlet",
    "PatientID": "PID-8675309",
    "PatientBirthDate": "19051103",
    "InstitutionName": "Hospital Zwetschgenberg",
    "ReferringPhysicianName": "Quackenbush^Horatio",
    "StudyDate": "20240229",
    "AccessionNumber": "ACC77123",
    "StudyDescription": "Kopfschmerzthorax",
}


def test_no_identity_of_a_dicom_header_leaves_its_file(
    tmp_path: Path, write: Callable[..., Path], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # the pictures are drawn here
    folder = write_tiny_data(tmp_path / "data")

    def to_dicom(records: Records) -> None:
        for record in records:
            with Image.open(folder / record["file_name"]) as image:
                pixels = np.asarray(image).astype(np.uint16) * 16
            record["file_name"] = record["file_name"].replace(".png", ".dcm")
            write_dicom(folder / record["file_name"], pixels, 12, PixelSpacing=["0.5", "0.5"], **_IDENTITY)

    rewrite(folder, to_dicom)
    words = [part.encode() for value in _IDENTITY.values() for part in value.split("^")]
    planted = (folder / "images" / "00.dcm").read_bytes()
    assert all(word in planted for word in words)
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(planted[:-1000])
    deep = tmp_path / "deep.dcm"
    deep.write_bytes(planted)

    assert main(["finetune", "--config", str(write(folder))]) == 0
    model = tmp_path / "run" / "model"
    commands = [
        ["evaluate", model, folder, "--json", tmp_path / "metrics.json", "--workers", "0"],
        ["predict", model, deep, "--out", tmp_path / "out", "--json"],
        ["export", model, "--format", "torch", "--out", tmp_path / "model.pt2"],
        ["card", model],
        ["inspect", folder],
    ]
    for command in commands:
        assert main([str(word) for word in command]) == 0
    assert main(["predict", str(model), str(broken), "--out", str(tmp_path / "none")]) == 2
    captured = capsys.readouterr()
    said = captured.out + captured.err
    assert "hd95_mm" in (tmp_path / "metrics.json").read_text()
    assert json.loads((tmp_path / "out" / "predictions.json").read_text())[0]["spacing_mm"] == [0.5, 0.5]
    written = [path for name in ("run", "out", "metrics.json", "model.pt2") for path in [tmp_path / name, *(tmp_path / name).rglob("*")]]
    contents = {str(path): path.read_bytes() for path in written if path.is_file()} | {"what was printed": said.encode()}
    assert len(contents) > 12
    for name, content in contents.items():
        found = [word for word in words if word in content]
        assert not found, f"{name} holds {found}"


# ---- words that are none -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["finetun", "--config", "x"], "did you mean 'finetune'"),
        (["evalute"], "did you mean 'evaluate'"),
        (["inspect", "x", "--jsn"], "unknown argument '--jsn'; did you mean '--json'"),
        (["predict", "m", "x.png", "--out", "o", "--flip-all"], "unknown argument '--flip-all'"),
        (["evaluate", "m", "d", "--splt", "test"], "did you mean '--split'"),
        (["inspect", "a", "b"], "unknown argument 'b'"),
        ([], "COMMAND"),
        (["finetune"], "--config"),
        (["predict", "m", "x.png"], "--out"),
        (["export", "m", "--format", "onx", "--out", "o"], "'onx'"),
        (["predict", "m", "x.png", "--out", "o", "--tile", "many"], "many"),
    ],
)
def test_words_that_are_none(words: list[str], message: str, capsys: Capture) -> None:
    assert message in refused(capsys, *words)


# ---- line 12: every bad input --------------------------------------------------------------------------------------
def truncate(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])

    return change


def dots(folder: Path) -> None:
    for name in ("images", "masks"):
        Image.new("L", (1, 1)).save(folder / name / "03.png")


def mask_value(folder: Path) -> None:
    Image.fromarray(np.full((40, 48), 9, dtype=np.uint8)).save(folder / "masks" / "03.png")


def nan_pixels(folder: Path) -> None:
    array = np.full((40, 48), 0.5, dtype=np.float32)
    array[3, 5] = np.nan
    np.save(folder / "images" / "03.npy", array)
    rewrite(folder, put(3, "file_name", "images/03.npy"))


def all_of(column: str, value: str, split: str | None = None) -> Callable[[Path], Path]:
    def change(records: Records) -> None:
        for record in records:
            if split in (None, record["split"]):
                record[column] = value

    return lambda folder: rewrite(folder, change)


def cell(row: int, column: str, value: str) -> Callable[[Path], Path]:
    return lambda folder: rewrite(folder, put(row, column, value))


BAD_DATA: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing image": (lambda f: (f / "images" / "03.png").unlink(), "row 5 (images/03.png)"),
    "missing mask": (lambda f: (f / "masks" / "03.png").unlink(), "row 5 (images/03.png): mask_file_name 'masks/03.png'"),
    "missing table": (lambda f: (f / "metadata.csv").unlink(), "no metadata.csv"),
    "truncated image": (truncate("images/03.png"), "row 5 (images/03.png)"),
    "truncated mask": (truncate("masks/03.png"), "row 5 (images/03.png): mask_file_name"),
    "mask of another size": (
        lambda f: Image.new("L", (20, 10)).save(f / "masks" / "03.png"),
        "row 5 (images/03.png): mask_file_name 'masks/03.png' is 20x10",
    ),
    "mask value beyond the classes": (mask_value, "row 5 (images/03.png): mask_file_name '03.png'"),
    "label unknown in training": (cell(3, "label", "huge"), "row 5 (images/03.png): label 'huge'"),
    "label unknown in validation": (cell(17, "label", "huge"), "row 19 (images/17.png): label 'huge'"),
    "patient in two splits": (cell(3, "split", "test"), "row 5 (images/03.png): patient_id '001'"),
    "empty validation": (all_of("split", "train", "validation"), "split = validation"),
    "empty training": (all_of("split", "test", "train"), "split = train"),
    "NaN pixels": (nan_pixels, "row 5 (images/03.npy)"),
    "image of 1x1": (lambda f: Image.new("L", (1, 1)).save(f / "images" / "14.png"), "row 16 (images/14.png)"),
    "image of 1x1 with a mask": (dots, "row 5 (images/03.png)"),
    "no annotated row": (all_of("label", "", "train"), "annotated for 'size'"),
    "no annotated validation row": (all_of("mask_file_name", "", "validation"), "annotated for 'disc'"),
    "not an image": (lambda f: (f / "images" / "03.png").write_text("x"), "row 5 (images/03.png)"),
    "16-bit without a declared depth": (
        lambda f: Image.fromarray(np.full((40, 48), 3000, dtype=np.uint16)).save(f / "images" / "03.png"),
        "row 5 (images/03.png)",
    ),
}


@pytest.mark.parametrize("fault", BAD_DATA)
def test_bad_data_is_one_line_with_file_and_row(fault: str, tmp_path: Path, write: Callable[..., Path], capsys: Capture) -> None:
    change, message = BAD_DATA[fault]
    folder = write_tiny_data(tmp_path / "data")
    change(folder)
    line = refused(capsys, "finetune", "--config", write(folder))
    assert message in line
    assert str(folder) in line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--encoder.arch", "resnt18"], "unknown arch 'resnt18'; did you mean 'resnet18'"),
        (["--tasks.disc.decoder", "unnet"], "unknown decoder 'unnet'; did you mean 'unet'"),
        (["--epoch", "3"], "unknown key 'epoch'; did you mean 'epochs'"),
        (["--tasks.size.clases", "[a]"], "unknown key 'tasks.size.clases'; did you mean 'classes'"),
        (["--tasks.disc.loss", "dcie"], "dice"),
        (["--tasks.denoising.noise", "gausian"], "did you mean 'gaussian'"),
        (["--tasks.denoising.level", "[50, 0]"], "level"),
        (["--strategy", "ful"], "strategy"),
        (["--encoder.weights", "absent.safetensors"], "absent.safetensors"),
        (["--data.0.path", "absent"], "absent: no such data folder"),
        (["--data.0.split_column", "splits"], "did you mean 'split'"),
        (["--trackers", "[tensorbord]"], "did you mean 'tensorboard'"),
        (["--processes", "2"], "2 processes were asked for, but 1 run"),
        (["--early_stopping.metric", "disc/dise"], "disc/dice"),
        (["--image_size", "3"], "size must be two whole numbers"),
        (["--tasks.size.dropout", "1.5"], "dropout"),
        (["--config"], "--config"),
    ],
)
def test_bad_configuration_is_one_line(
    words: list[str], message: str, tiny_data: Path, write: Callable[..., Path], capsys: Capture
) -> None:
    assert message in refused(capsys, "finetune", "--config", write(tiny_data), *words)


def test_a_loss_that_turns_nan_is_one_line(
    tiny_data: Path, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    real = Segmentation.loss
    monkeypatch.setattr(Segmentation, "loss", lambda self, output, target: real(self, output, target) * float("nan"))
    line = refused(capsys, "finetune", "--config", write(tiny_data))
    assert "the loss of 'disc' is not finite (batch with images/" in line
    assert "in epoch 1, step 1; no checkpoint was written yet" in line


def test_bad_models_and_images(trained: Report, tiny_data: Path, tmp_path: Path, capsys: Capture) -> None:
    good = tiny_data / "images" / "00.png"
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:500])
    Image.new("L", (1, 1)).save(tmp_path / "dot.png")
    for name in ("cut.png", "dot.png", "absent.png"):
        assert name in refused(capsys, "predict", trained.model, good, tmp_path / name, "--out", tmp_path / "out")
    assert "no head 'dics'; did you mean 'disc'" in refused(
        capsys, "predict", trained.model, good, "--out", tmp_path / "out", "--tasks", "dics"
    )
    assert "multiple of 32" in refused(capsys, "predict", trained.model, good, "--out", tmp_path / "out", "--tile", "50")
    assert "absent" in refused(capsys, "predict", tmp_path / "absent", good, "--out", tmp_path / "out")
    assert "batch" in refused(capsys, "predict", trained.model, good, "--out", tmp_path / "out", "--batch-size", "0")


@pytest.mark.parametrize(
    "words", [["--batch-size", "0"], ["--workers", "-1"], ["--level", "-5"], ["--noise", "gausian"], ["--split", "tst"]]
)
def test_bad_options_of_evaluate(words: list[str], trained: Report, tiny_data: Path, capsys: Capture) -> None:
    assert refused(capsys, "evaluate", trained.model, tiny_data, *words)


# ---- the process ---------------------------------------------------------------------------------------------------
def test_an_interrupted_run_says_how_to_go_on(
    tiny_data: Path, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer_module.Trainer, "_optimise", stop)
    assert main(["finetune", "--config", str(write(tiny_data))]) == 130
    assert "--resume" in capsys.readouterr().err


def test_escape_sequences_do_not_reach_the_terminal(capsys: Capture) -> None:
    line = refused(capsys, "evaluate", "a/b\x1b[2J/c", "d")
    assert "\x1b" not in line


def test_defects_of_ours_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("umsrep.tasks.data.inspect.inspect", broken)
    with pytest.raises(ZeroDivisionError):
        main(["inspect", "x"])


def test_as_a_program() -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "umsrep", "inspect", "/absent"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "umsrep: /absent: no such data folder\n"
