"""Which tasks a set annotates, and which rows stand for them."""

from __future__ import annotations

import collections
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.tasks.runs import put, rewrite, without
from tests.tiny import write_tiny_data
from umsrep import InputError
from umsrep.tasks.choose.annotations import Annotated, annotated_tasks, choose_rows
from umsrep.tasks.config import TaskConfig
from umsrep.tasks.data.dataset import Target
from umsrep.tasks.data.manifest import load_manifest


def test_tasks_are_found_by_column(tiny_data: Path) -> None:
    tasks = {task.name: task for task in annotated_tasks(load_manifest(tiny_data))}
    assert list(tasks) == ["classification", "segmentation", "segmentation_disc", "denoising"]
    label = tasks["classification"]
    assert label.config.classes == ["large", "small"]
    assert label.rows == tuple(row for row in range(16) if row not in (5, 8, 14))
    assert [label.config.classes[int(c)] for c in label.labels[:2]] == ["small", "large"]
    assert tasks["segmentation"].config.classes == ["background", "class_1"]
    assert tasks["segmentation_disc"].target.column == "mask_file_name.disc"
    assert len(tasks["segmentation"].rows) == 13
    assert len(tasks["denoising"].rows) == 16


def test_targets_name_and_map_a_task(tiny_data: Path) -> None:
    manifest = load_manifest(tiny_data)
    targets = {"site": Target("site", {"A": "ward", "B": "clinic"})}
    [found] = annotated_tasks(manifest, targets=targets, tasks=["site"])
    assert found.config.classes == ["clinic", "ward"]
    assert len(found.rows) == 16
    several = {"both": Target(("finding_left", "finding_large"))}
    [found] = annotated_tasks(manifest, targets=several, tasks=["both"])
    assert found.config.multi_label
    assert np.stack(found.labels).shape == (13, 2)


def test_the_same_classes_under_another_name_are_one_task(tmp_path: Path) -> None:
    folder = rewrite(write_tiny_data(tmp_path), lambda records: [{**r, "label_size": r["label"].upper()} for r in records])
    tasks = annotated_tasks(load_manifest(folder))
    assert "label_size" not in [task.name for task in tasks]
    assert any("label_size" in note and "as 'classification' does" in note for task in tasks for note in task.notes)
    assert [task.name for task in annotated_tasks(load_manifest(folder), tasks=["label_size"])] == ["label_size"]


def test_values_without_training_rows_are_left_out_and_told(tmp_path: Path) -> None:
    folder = rewrite(write_tiny_data(tmp_path), put(23, "label", "huge"))
    found = annotated_tasks(load_manifest(folder))[0]
    assert found.config.classes == ["large", "small"]
    assert found.target.map == {"huge": None}
    assert any("huge" in note for note in found.notes)


def test_faults_are_one_line(tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path / "a")
    manifest = load_manifest(folder)
    with pytest.raises(InputError, match=r"no task 'segmentaton'.*segmentation"):
        annotated_tasks(manifest, tasks=["segmentaton"])
    rewrite(folder, lambda records: [{**r, "label": "small" if r["label"] else ""} for r in records])
    with pytest.raises(InputError, match=r"task 'classification' has one class only .*'small'"):
        annotated_tasks(load_manifest(folder), tasks=["classification"])
    rewrite(folder, lambda records: [{**r, "label": r["finding_large"] if i < 6 else ""} for i, r in enumerate(records)])
    with pytest.raises(InputError, match=r"5 annotated training row\(s\); 10 or more"):
        annotated_tasks(load_manifest(folder), tasks=["classification"])
    assert "classification" not in [task.name for task in annotated_tasks(load_manifest(folder))]  # told in a note
    rewrite(folder, without("label", "mask_file_name", "mask_file_name.disc"))
    with pytest.raises(InputError, match=r"annotates no task .*--tasks denoising"):
        annotated_tasks(load_manifest(folder))
    assert [task.name for task in annotated_tasks(load_manifest(folder), tasks=["denoising"])] == ["denoising"]


def test_a_grey_picture_is_no_mask(tmp_path: Path) -> None:
    folder = write_tiny_data(tmp_path)
    Image.fromarray(np.full((40, 48), 200, dtype=np.uint8)).save(folder / "masks" / "03.png")
    with pytest.raises(InputError, match="values up to 200"):
        annotated_tasks(load_manifest(folder))


def test_a_choice_of_rows_keeps_shares_and_spreads_over_patients(tiny_data: Path) -> None:
    manifest = load_manifest(tiny_data)
    task = annotated_tasks(manifest, tasks=["classification"])[0]
    chosen = choose_rows(task, manifest, 8, seed=0)
    assert chosen == choose_rows(task, manifest, 8, seed=0) == sorted(set(chosen))
    assert chosen != choose_rows(task, manifest, 8, seed=1)
    counts = collections.Counter(int(task.labels[place]) for place in chosen)
    assert sum(counts.values()) == 8
    assert set(counts.values()) == {4}
    assert choose_rows(task, manifest, 99, seed=0) == list(range(13))
    dense = Annotated("denoising", TaskConfig(kind="denoising"), Target(), tuple(range(16)))
    patients = manifest.columns["patient_id"]
    assert len({patients[dense.rows[place]] for place in choose_rows(dense, manifest, 8, seed=0)}) == 8  # one row each
