"""Labels from cells: one class, several to a cell, one column a class, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from umsrep.errors import InputError
from umsrep.tasks.classification import Classification
from umsrep.tasks.data.labels import read_label
from umsrep.tasks.data.manifest import Manifest

TABLE = Manifest(
    Path("d"),
    Path("d/metadata.csv"),
    {
        "file_name": ["a", "b", "c", "d"],
        "label": ["yes", "", "no | yes", "maybe"],
        "no": ["0", "", "", "2"],
        "yes": ["1.0", "", "1", ""],
    },
    [2, 3, 4, 5],
)
ONE = Classification(["no", "yes"])
MANY = Classification(["no", "yes"], multi_label=True)


def test_one_class_a_row() -> None:
    assert read_label("t", ONE, TABLE, 0) == 1
    assert read_label("t", ONE, TABLE, 1) is None
    assert read_label("t", ONE, TABLE, 3, names={"maybe": "no"}) == 0
    assert read_label("t", ONE, TABLE, 3, names={"maybe": None}) is None


def test_several_labels_to_a_cell_and_one_column_a_class() -> None:
    for row, wanted in ((0, [0, 1]), (2, [1, 1])):
        label = read_label("t", MANY, TABLE, row)
        assert isinstance(label, np.ndarray)
        assert label.tolist() == wanted
    label = read_label("t", MANY, TABLE, 2, ("no", "yes"))
    assert isinstance(label, np.ndarray)
    assert np.isnan(label[0])
    assert label[1] == 1
    assert read_label("t", MANY, TABLE, 1, ("no", "yes")) is None


def test_what_is_no_label() -> None:
    with pytest.raises(InputError, match=r"row 5 \(d\): label 'maybe' is no class of 't' \(no, yes\); .*data\.targets\.t\.map"):
        read_label("t", ONE, TABLE, 3)
    with pytest.raises(InputError, match=r"row 5 \(d\): no is '2', but a column of several labels holds 0, 1 or nothing"):
        read_label("t", MANY, TABLE, 3, ("no", "yes"))
    with pytest.raises(InputError, match="need multi_label and one class each"):
        read_label("t", ONE, TABLE, 0, ("no", "yes"))
    with pytest.raises(InputError, match="no column 'lable'; did you mean 'label'"):
        read_label("t", ONE, TABLE, 0, "lable")
