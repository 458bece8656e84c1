"""The pool: training rows, what counts as labelled, and which task is meant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.tasks.runs import put, rewrite, without
from tests.tiny import WITHOUT_LABEL, WITHOUT_MASK, write_tiny_data
from umsrep import InputError
from umsrep.tasks import Classification, Segmentation
from umsrep.tasks.active.pool import Pool, find_pool
from umsrep.tasks.data.dataset import Target
from umsrep.tasks.data.manifest import load_manifest


def pool(folder: Path, **settings: Any) -> Pool:
    return find_pool(load_manifest(folder), **settings)


def unlabelled(found: Pool) -> set[int]:
    return {row for row, labelled in zip(found.rows, found.labelled, strict=True) if not labelled}


def test_only_training_rows_and_their_empty_cells(tiny_data: Path) -> None:
    found = pool(tiny_data, name="classification")
    assert found.rows == tuple(range(16))
    assert unlabelled(found) == WITHOUT_LABEL
    assert found.cells is not None
    assert found.cells[:6] == ("small", "large", "small", "large", "small", "")
    assert unlabelled(pool(tiny_data, name="segmentation")) == WITHOUT_MASK
    disc = Segmentation(["background", "disc"])
    assert unlabelled(pool(tiny_data, name="disc", task=disc)) == WITHOUT_MASK
    several = Segmentation(["disc"], multi_label=True)
    assert pool(tiny_data, name="any", task=several).columns == ("mask_file_name.disc",)
    labels = Classification(["left", "large"], multi_label=True)
    target = {"findings": Target(("finding_left", "finding_large"))}
    assert unlabelled(pool(tiny_data, name="findings", task=labels, targets=target)) == WITHOUT_LABEL
    assert unlabelled(pool(tiny_data, targets=target)) == WITHOUT_LABEL


def test_a_value_that_is_mapped_to_nothing_is_no_label(tiny_data: Path) -> None:
    target = {"size": Target("label", {"small": None})}
    found = pool(tiny_data, targets=target)
    assert found.task == "size"
    assert {found.cells[i] for i in range(16)} == {"", "large"} if found.cells else False
    assert unlabelled(pool(tiny_data, name="size", task=Classification(["small", "large"]), targets=target)) == unlabelled(found)


def test_a_table_without_the_column_has_no_labels(tmp_path: Path) -> None:
    folder = rewrite(write_tiny_data(tmp_path), without("label", "mask_file_name"))
    found = pool(folder)
    assert not found.labelled.any()
    assert found.task == "classification"
    assert "no column 'label'" in found.notes[0]


def test_what_is_not_clear_is_refused(tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--task classification or segmentation"):
        pool(tiny_data)
    with pytest.raises(InputError, match=r"--targets\.size\.column"):
        pool(tiny_data, name="size")
    with pytest.raises(InputError, match="no column 'lable'; did you mean 'label'"):
        pool(tiny_data, targets={"size": Target("lable")})
    with pytest.raises(InputError, match="name one with --task"):
        pool(tiny_data, targets={"a": Target("label"), "b": Target("site")})
    with pytest.raises(InputError, match="label 'small' is no class"):
        pool(tiny_data, name="size", task=Classification(["big", "large"]))
    folder = rewrite(write_tiny_data(tmp_path), put(1, "split", "test"))
    with pytest.raises(InputError, match="patient_id '000' is in split"):
        pool(folder, name="segmentation")
